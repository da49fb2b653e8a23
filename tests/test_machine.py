"""`auto` is the faster precision; plain attention gives what the fused kernel gives; memory once taken is kept."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import zoo
from arttune.attention import PLAIN
from arttune.machine import BF16, device, fast_attention, precision, total_memory


@pytest.mark.slow  # a timing, which other work on the cores could turn
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


@pytest.mark.parametrize("name", zoo.NAMES)
def test_plain_attention_gives_the_same_logits_and_only_on_cpu(name):
    model = zoo.tiny(name)
    ids = torch.randint(10, 50, (2, 9), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        fused = model(input_ids=ids).logits
        fast_attention(model)
        plain = model(input_ids=ids).logits
    assert model.model.language_model.config._attn_implementation == PLAIN
    assert model.model.visual.config._attn_implementation == PLAIN
    assert torch.allclose(plain, fused, atol=1e-5)


@pytest.mark.skipif(not Path("/proc/meminfo").is_file(), reason="the kernel's own figure is what it is compared with")
def test_memory_is_what_the_kernel_says(monkeypatch):
    monkeypatch.setenv("ARTTUNE_DEVICE", "cpu")
    told = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    assert total_memory() == pytest.approx(int(told["MemTotal"].split()[0]) * 1024, rel=0.01)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library keeps memory in ways of its own")
def test_freed_memory_is_kept():
    """Pages that the system hands out (minor faults) when 256 MiB are taken, freed and taken again.

    By itself glibc gives back most or, by the luck of what lies on top, next to nothing; here it starts out giving all.
    """
    program = """
import resource, sys, torch
from arttune.machine import keep_freed_memory
assert sys.argv[1] == "as it is" or keep_freed_memory()
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    held = [torch.ones(2**21) for _ in range(32)]
    del held
    found = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(found)
"""

    generous = {**os.environ, "GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=65536:glibc.malloc.trim_threshold=65536"}

    def faults(how: str) -> int:
        run = subprocess.run([sys.executable, "-c", program, how], env=generous, capture_output=True, check=True)
        return int(run.stdout)

    assert faults("kept") < faults("as it is") / 10


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library keeps memory in ways of its own")
def test_what_was_kept_is_handed_back_where_memory_is_scarce():
    """256 MiB between small pieces that stay, so that the heap cannot just end earlier."""
    program = """
import psutil, torch
from arttune import machine
assert machine.keep_freed_memory()
resident = lambda: psutil.Process().memory_info().rss >> 20
before = resident()
stays, goes = [], []
for _ in range(256):
    goes.append(torch.ones(2**18))
    stays.append(torch.ones(2**8))
taken = resident()
goes.clear()
kept = resident()
left = []
for machine.SCARCE in (0, 1):
    machine.make_room()
    left.append(resident() - before)
print(taken - before, kept - before, *left)
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    taken, kept, plenty, scarce = map(int, run.stdout.split())
    assert min(taken, kept, plenty) > 240
    assert scarce < 40
