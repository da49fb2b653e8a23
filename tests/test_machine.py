"""`auto` is the faster precision; kept memory stays; plain attention gives what the fused kernel gives."""

from __future__ import annotations

import resource
import subprocess
import sys
import time

import pytest
import torch

import zoo
from arttune.machine import BF16, device, fast_attention, precision

FAULTS = """
import resource, sys, torch
from arttune.machine import keep_memory
if sys.argv[1] == "kept":
    assert keep_memory()
for _ in range(30):
    if _ == 10:
        begun = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(10_000_000)  # 40 MB: glibc gives blocks of more than 32 MB back at once, always
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - begun)
"""


def test_auto_is_the_precision_that_multiplies_faster_here():
    """Forward and backward matrix products; where the hardware has bfloat16 it wins by far, and loses by far if not."""

    def seconds(dtype: torch.dtype) -> float:
        weight = torch.randn(256, 256, dtype=dtype, device=device())
        taken = []
        for _ in range(5):
            rows = torch.randn(128, 256, dtype=dtype, device=device(), requires_grad=True)
            begun = time.perf_counter()
            for _ in range(4):
                torch.nn.functional.linear(rows, weight).sum().backward()
            float(rows.grad[0, 0])
            taken.append(time.perf_counter() - begun)
        return min(taken)

    times = {name: seconds(getattr(torch, name)) for name in ("bfloat16", "float32")}
    assert times[precision("auto")] < 1.5 * min(times.values()), times


@pytest.mark.parametrize("name", BF16)
def test_auto_goes_by_the_processor_and_a_choice_stands(name, monkeypatch):
    monkeypatch.setenv("ARTTUNE_DEVICE", "cpu")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, name: True})
    assert precision("auto") == "bfloat16"
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, name: False})
    assert precision("auto") == "float32"
    assert precision("bfloat16") == "bfloat16"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc")
def test_kept_memory_is_not_fetched_again():
    pages = 40_000_000 // resource.getpagesize()

    def faults(how: str) -> int:
        done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True)
        return int(done.stdout)

    assert faults("system") > 10 * pages, "twenty tensors, each of fresh pages"
    assert faults("kept") < pages, "twenty tensors in the same memory"


@pytest.mark.parametrize("name", zoo.NAMES)
def test_plain_attention_gives_the_same_logits_and_only_on_cpu(name):
    model = zoo.tiny(name)
    ids = torch.randint(10, 50, (2, 9), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        fused = model(input_ids=ids).logits
        fast_attention(model)
        plain = model(input_ids=ids).logits
    assert model.model.language_model.config._attn_implementation == "eager"
    assert torch.allclose(plain, fused, atol=1e-5)
