"""The command line: `arttune train | eval | compare | verify | lm-eval | gallery | film | serve-command | info | ...`.

Results go to stdout, everything else to stderr. Exit codes: 0 done, 1 failed while running, 2 bad usage or input.
"""

from __future__ import annotations

import os
import sys

import datasets
import transformers

from arttune.cli import compare, harness, look, score, show, train
from arttune.cli.base import app, say
from arttune.errors import BadInput, Failed

__all__ = ["app", "compare", "harness", "look", "main", "score", "show", "train"]


def main() -> None:
    """Entry point: turns exceptions into one line and an exit code."""
    transformers.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    try:
        app()
    except BadInput as error:
        say(" ".join(str(error).split()))
        sys.exit(2)
    except Failed as error:
        say(f"failed: {' '.join(str(error).split())}")
        sys.exit(1)
    except Exception as error:
        if os.environ.get("ARTTUNE_DEBUG"):
            raise
        say(f"failed: {type(error).__name__}: {' '.join(str(error).split())} (ARTTUNE_DEBUG=1 shows where)")
        sys.exit(1)
