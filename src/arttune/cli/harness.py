"""`arttune lm-eval`."""

from __future__ import annotations

import sys

import typer

from arttune.cli.base import app
from arttune.errors import BadInput

PASSED = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


@app.command("lm-eval", context_settings=PASSED)
def lm_eval(context: typer.Context) -> None:
    """lm-evaluation-harness with the model `arttune`: --model_args pretrained=smol,painting=runs/svamp/art.png."""
    try:
        from arttune import harness
    except ImportError as error:
        raise BadInput(f"lm-evaluation-harness is not installed ({error}); pip install 'arttune[lm-eval]'") from None
    sys.argv = ["lm-eval", *context.args]
    harness.cli_evaluate()
