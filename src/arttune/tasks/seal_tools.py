"""Seal-Tools: one or several calls, some of which need the output of another (Wu et al. 2024, arXiv 2405.08355).

As in the paper, the outputs of calls have names, `API_call_0` and so on, in the order of the calls, and a later call
may have such a name for a value. The eight problems whose calls are not all offered are left out. Data Apache-2.0.

`scripts/tool_use_data.py` makes the rows out of GitHub's fairyshine/Seal-Tools, each of the two records that it has of
an `id`: that of `Seal-Tools_Dataset/*.jsonl` (`query`, `calling`) and that of
`Seal-Tools_Dataset/dataset_for_finetune/*.json` (`conversations`).
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from arttune.errors import BadInput
from arttune.tasks import calls
from arttune.tasks.sources import own_file, problems_of, read_jsonl
from arttune.tasks.task import Problem, Task

TYPES = {"str": "string", "int": "integer", "float": "float", "bool": "boolean"}
NESTED = (
    "\n\nA value may be an output of an earlier call. Outputs are named API_call_0, API_call_1, ... through all calls, "
    "as many for each call as its function lists."
)
MARK = "api_list = "


def seal_tools(data: Path | None = None) -> Task:
    """The task; `data` stands in for whichever split is loaded."""

    def load(split: str) -> list[Problem]:
        found = read_jsonl(data or own_file("seal_tools", split), ("query", "calling", "conversations"))
        problems = problems_of(found, _problem, "Seal-Tools")
        return [one for one in problems if calls.grade(one, str(one.completion)).correct]

    about = "one to five calls of many functions, 1,400 to train on"
    return Task("seal_tools", about, load, calls.grade, calls.reward, 256)


def _problem(row: dict[str, Any], where: str) -> Problem:
    try:
        offered = ast.literal_eval(row["conversations"][0]["value"].split(MARK, 1)[1].split("\n", 1)[0])
    except (IndexError, SyntaxError, ValueError):
        raise BadInput(f"{where}: the first of conversations has no line 'api_list = [...]'") from None
    functions = [_function(one) for one in offered]
    kinds = {one["name"]: one["parameters"]["properties"] for one in functions}
    calling: list[calls.Call] = [
        (
            one["api"],
            {name: _typed(value, kinds.get(one["api"], {}).get(name)) for name, value in one["parameters"].items()},
        )
        for one in row["calling"]
    ]
    answers = [(name, calls.exactly(arguments)) for name, arguments in calling]
    prompt = [{"role": "user", "content": row["query"] + NESTED}]
    return calls.asked(prompt, functions, answers, calls.write(calling), where)


def _function(offered: dict[str, Any]) -> dict[str, Any]:
    """A function as BFCL declares it; its outputs are named in its description."""
    properties = {
        name: {"type": TYPES[about["type"]], "description": about["description"]}
        for name, about in offered["parameters"].items()
    }
    description = f"{offered['api_description']}. Outputs: {', '.join(offered['responses'])}"
    parameters = {"type": "dict", "properties": properties, "required": offered["required"]}
    return {"name": offered["api_name"], "description": description, "parameters": parameters}


def _typed(value: Any, declared: dict[str, Any] | None) -> Any:
    """Numbers and truth values that the data set has written as text, as their declared type."""
    kind = (declared or {}).get("type")
    try:
        if kind == "integer" and isinstance(value, str):
            return int(value)
        if kind == "float" and isinstance(value, (str, int)):
            return float(value)
    except ValueError:
        return value  # the name of an output
    if kind == "boolean" and isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    return value
