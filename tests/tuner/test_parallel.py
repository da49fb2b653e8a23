"""Data parallelism through accelerate, and gradient accumulation: the same rows a step make the same picture."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch

SCRIPT = Path(__file__).with_name("parallel.py")


def painted(file: Path, processes: int, batch: int, accumulate: int) -> torch.Tensor:
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    command = [sys.executable, *launch, str(SCRIPT), str(file), str(batch), str(accumulate)]
    environment = os.environ | {"PYTHONPATH": str(SCRIPT.parent.parent), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return torch.load(file).int()


def test_two_processes_that_accumulate_paint_what_one_batch_paints(tmp_path):
    """What accumulation does alone is in `objectives/test_sft.py`."""
    alone = painted(tmp_path / "1.pt", 1, 4, 1)
    found = painted(tmp_path / "2.pt", 2, 1, 2)
    assert ((found - alone).abs() <= 1).float().mean() > 0.99
    other = painted(tmp_path / "3.pt", 1, 2, 1)  # half of the rows a step
    assert ((other - alone).abs() <= 1).float().mean() < 0.9, "what is compared depends on the rows"
