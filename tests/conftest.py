"""Shared fixtures. Threads are fixed so that timings and rounding do not depend on the machine."""

from __future__ import annotations

import os
import signal
from pathlib import Path

# huggingface_hub reads this when it is first imported, so it stands before the imports.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import pytest
import torch

import zoo
from arttune.objectives.head import suit_cpu

torch.set_num_threads(2)
suit_cpu()  # for good, in the whole process, as training has it: no test's outcome may hang on which ran before it
# In a shell's background Ctrl-C is ignored, by `make test` and by all that it starts; some tests send one.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def threads() -> None:
    """As many in each test, whatever the ones before it asked for: a run of one thread sets that for the process."""
    torch.set_num_threads(2)


@pytest.fixture(params=zoo.NAMES)
def family_name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def tiny_folder(tmp_path: Path) -> Path:
    """A tiny Qwen2.5-VL checkpoint folder, as `--model` takes it."""
    folder = tmp_path / "tiny"
    zoo.tiny("qwen2_5_vl").save_pretrained(folder)
    zoo.tokenizer().save_pretrained(folder)
    return folder
