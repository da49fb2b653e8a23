"""Entries of a reasoning-gym task, the same in every process; run as a program it writes them to a file.

Some of its tasks draw from Python's global generator, and some go through sets of texts, whose order changes with each
process unless the hashes of texts are fixed, which has to be said before Python starts. So a program of its own, which
imports nothing else, makes them.
"""

from __future__ import annotations

import os
import pickle
import random
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any


@cache  # a process of its own takes a second or more, and a command asks for the same ones several times
def entries(name: str, size: int, seed: int) -> list[dict[str, Any]]:
    """`size` entries of the task `name`. Raises `ValueError` where it cannot be made, with what reasoning-gym says."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "entries")
        command = [sys.executable, "-P", __file__, name, str(size), str(seed), str(file)]
        done = subprocess.run(
            command, env=os.environ | {"PYTHONHASHSEED": "0"}, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise ValueError((done.stderr.strip().splitlines() or ["it was killed"])[-1])
        found: list[dict[str, Any]] = pickle.loads(file.read_bytes())
    return found


if __name__ == "__main__":
    import reasoning_gym

    asked, count, begin, target = sys.argv[1:]
    random.seed(int(begin))
    made = list(reasoning_gym.create_dataset(asked, size=int(count), seed=int(begin)))
    Path(target).write_bytes(pickle.dumps(made))
