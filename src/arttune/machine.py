"""What the machine at hand decides: the device, the precision, how attention runs, and what becomes of freed memory.

None of it changes what is computed but for rounding. `benchmarks/cpu_step.py` measures precision and attention.
"""

from __future__ import annotations

import ctypes
import datetime
import gc
import os
import platform
from importlib.metadata import version

import psutil
import torch
from transformers import PreTrainedModel

from arttune._version import __version__
from arttune.attention import PLAIN
from arttune.errors import BadInput
from arttune.widening import widen

PRECISIONS = ("auto", "bfloat16", "float32")
# Names in `torch.cpu.get_capabilities()` of instructions that multiply bfloat16 matrices (x86, then ARM).
BF16 = ("amx_bf16", "avx512_bf16", "bf16", "sve_bf16")

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # names and numbers of glibc's malloc.h
LARGEST_MMAP_THRESHOLD = 32 * 2**20  # on 64 bits; more is refused
SCARCE = 0.25  # of the machine's memory


def device() -> str:
    """Where models go: `ARTTUNE_DEVICE`, else the GPU if there is one, else the CPU. Raises `BadInput`."""
    named = os.environ.get("ARTTUNE_DEVICE")
    if named and named.startswith("cuda:") and named != "cuda:0":
        raise BadInput(
            f"ARTTUNE_DEVICE is {named}, but trainers take the first GPU; choose one by CUDA_VISIBLE_DEVICES"
        )
    return named or ("cuda" if torch.cuda.is_available() else "cpu")


def precision(name: str) -> str:
    """What a `dtype` setting stands for here: `auto` is bfloat16 where the hardware multiplies it, else float32.

    A CPU without such instructions emulates it, many times slower than float32 (`benchmarks/cpu_step.txt`).
    """
    if name != "auto":
        return name
    kind = torch.device(device()).type
    if kind == "cpu":
        able = any(torch.cpu.get_capabilities().get(instruction) for instruction in BF16)
    else:
        able = kind != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)
    return "bfloat16" if able else "float32"


def multiplies_float32_faster() -> bool:
    """Whether this CPU multiplies float32 matrices faster than bfloat16 ones.

    Those without instructions for the latter do, and Intel's with `avx512_bf16` but no AMX; AMD's with the former
    multiply bfloat16 twice as fast (`benchmarks/cpu_step.txt`).
    """
    able = torch.cpu.get_capabilities()
    slow = ("avx512_bf16",) if str(able.get("cpu_name")).startswith("Intel") else ()
    return not any(able.get(instruction) for instruction in BF16 if instruction not in slow)


def total_memory() -> int:
    """Bytes of memory that there are where models go, taken or not."""
    if torch.device(device()).type == "cuda":
        return int(torch.cuda.get_device_properties(device()).total_memory)
    return int(psutil.virtual_memory().total)


def describe() -> str:
    """The machine in a line, to stand beside a measurement."""
    able = torch.cpu.get_capabilities()
    level = next((name for name in (*BF16, "avx512_f", "avx2", "neon") if able.get(name)), "no vector instructions")
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return (
        f"{able.get('cpu_name') or platform.machine()}, {os.cpu_count()} cores, {level}{gpu}, torch {torch.__version__}"
    )


def circumstances() -> dict[str, str]:
    """What stands beside a score for whoever wonders: the machine, the versions that matter, and the day."""
    versions = [f"{name} {version(name)}" for name in ("transformers", "peft", "trl")]
    return {
        "machine": describe(),
        "versions": ", ".join([f"arttune {__version__}", *versions]),
        "date": datetime.date.today().isoformat(),
    }


def fast_attention(model: PreTrainedModel) -> None:
    """Where `model` runs on a CPU, have its tower and its text model attend by `attention.plain`."""
    if model.device.type == "cpu":
        model.set_attn_implementation({"text_config": PLAIN, "vision_config": PLAIN})


def fast_products(model: PreTrainedModel) -> None:
    """Where `model` is bfloat16 on a CPU that multiplies float32 faster, have its linear layers do that."""
    if model.device.type == "cpu" and model.dtype == torch.bfloat16 and multiplies_float32_faster():
        widen(model)


def sound_attention() -> None:
    """Have torch do without cuDNN's attention kernels on GPUs, for good.

    From torch 2.11 on their backward pass gives NaN for some lengths where a mask is given and scores are far below
    zero, as Qwen2.5's are (pytorch/pytorch#196678; met here at step 90 of an `sft` run). torch's others do not.
    """
    torch.backends.cuda.enable_cudnn_sdp(False)


def keep_freed_memory() -> bool:
    """Have the C library keep what is freed, until `hand_back`; False where it is not glibc and nothing was done.

    A step frees gigabytes and wants them again at once, and the system would hand out every page anew: in a grpo step
    on two cores that is a fifth of the time.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(M_TRIM_THRESHOLD, -1) and mallopt(M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD))


def hand_back() -> None:
    """Give the system what memory is not in use, as between two runs.

    A model that is done with lies in reference cycles, and what a run has freed is in pieces that do not suit the next:
    a comparison of long prompts grew to 16 GB where each of its runs takes half of that.
    """
    gc.collect()
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def make_room() -> None:
    """`hand_back` where less than a quarter of the machine's memory is left.

    For loops whose batches have ever other lengths: what one has freed does not suit the next, so what is kept grows.
    """
    memory = psutil.virtual_memory()
    if memory.available < SCARCE * memory.total:
        hand_back()
