"""SGD: the next service call in a dialogue (Rastogi et al. 2020, arXiv 1909.05855; CC BY-SA 4.0).

A problem is a dialogue up to a turn of the user. Right is the one call that the assistant made then, or none where it
asked back. Values are accepted in their canonical form (dates as 2019-03-08, times as 13:00) and as the user said them.
The three turns whose call the service's own schema does not allow are left out.

`scripts/tool_use_data.py` makes the rows out of GitHub's google-research-datasets/dstc8-schema-guided-dialogue, one of
a dialogue up to a turn of the system: its `services`; `history`, the turns before as `speaker` and `utterance`;
`user_frames`, the frames of the last of these; and `turn`, that of the system itself. `schema_<split>.jsonl` has the
objects of the split's schema.json.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from arttune.errors import BadInput
from arttune.tasks import calls
from arttune.tasks.sources import own_file, problems_of, read_jsonl
from arttune.tasks.task import Message, Problem, Task

# The day on which all dialogues play, and what the services take.
TODAY = "Today is Friday, 2019-03-01. Dates are written like 2019-03-08, times like 13:00."
ROLES = {"USER": "user", "SYSTEM": "assistant"}


def sgd(data: Path | None = None) -> Task:
    """The task; `data` stands in for whichever split is loaded, its `schema_<split>.jsonl` lies beside it."""

    def load(split: str) -> list[Problem]:
        turns = data or own_file("sgd", split)
        schema = read_jsonl(turns.with_name(f"schema_{split}.jsonl"), ("service_name", "slots", "intents"))
        services = {row["service_name"]: row for _, row in schema}
        found = read_jsonl(turns, ("services", "history", "turn", "user_frames"))
        problems = problems_of(found, lambda row, where: _problem(row, services, where), "SGD")
        return [one for one in problems if calls.grade(one, str(one.completion)).correct]

    return Task("sgd", "the next service call in a dialogue, 4,800 to train on", load, calls.grade, calls.reward, 128)


def _problem(row: dict[str, Any], services: dict[str, Any], where: str) -> Problem:
    unknown = [name for name in row["services"] if name not in services]
    if unknown:
        raise BadInput(f"{where}: the schema has no service {', '.join(unknown)}")
    # Two services may have a function of the same name: then that of the service which the user is with.
    last = [frame["service"] for frame in row["user_frames"]]
    offered = {
        intent["name"]: (services[name], intent)
        for name in sorted(row["services"], key=last.__contains__)
        for intent in services[name]["intents"]
    }
    functions = [_function(service, intent) for service, intent in offered.values()]
    made = [frame["service_call"] for frame in row["turn"]["frames"] if "service_call" in frame]
    calling: list[calls.Call] = [(one["method"], one["parameters"]) for one in made]
    spoken = [frame["state"]["slot_values"] for frame in row["user_frames"]]
    answers = [(name, _accepted(arguments, offered[name][1], spoken)) for name, arguments in calling]
    prompt: list[Message] = [{"role": "system", "content": TODAY}]
    prompt += [{"role": ROLES[turn["speaker"]], "content": turn["utterance"]} for turn in row["history"]]
    completion = calls.write(calling) or str(row["turn"]["utterance"])
    return calls.asked(prompt, functions, answers, completion, where)


def _function(service: dict[str, Any], intent: dict[str, Any]) -> dict[str, Any]:
    """An intent as a function whose arguments, all of them text, are its slots."""
    slots = {slot["name"]: slot for slot in service["slots"]}
    names = [*intent["required_slots"], *intent["optional_slots"]]
    properties = {
        name: {"type": "string", "description": slots[name]["description"]}
        | ({"enum": slots[name]["possible_values"]} if slots[name]["is_categorical"] else {})
        for name in names
    }
    parameters = {"type": "object", "properties": properties, "required": intent["required_slots"]}
    return {"name": intent["name"], "description": intent["description"], "parameters": parameters}


def _accepted(arguments: dict[str, str], intent: dict[str, Any], spoken: list[dict[str, Any]]) -> calls.Accepted:
    """What was called and how the user had said it; what has a default may be left out where that was called."""
    found: calls.Accepted = {name: [default, ""] for name, default in intent["optional_slots"].items()}
    for name, value in arguments.items():
        said = [form for values in spoken for form in values.get(name, [])]
        found[name] = [value, *said, *([""] if intent["optional_slots"].get(name) == value else [])]
    return found
