"""Tool calls: when one is right, and what a wrong one is worth.

One is right as the Berkeley Function Calling Leaderboard (BFCL, Patil et al. 2025) has it: the function's name,
arguments of the declared types, each with one of its accepted values, none missing and none too many. Several calls may
come in any order. How they are written is in `written.py`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from arttune.tasks.task import Grade, Message, Problem
from arttune.tasks.written import Call, parameters_of, read, write

__all__ = ["Accepted", "Call", "asked", "exactly", "grade", "read", "reward", "right", "schema", "write"]

Accepted = dict[str, list[Any]]  # of each argument the values that are right; "" among them: it may be left out

# What a declared type is in Python, by the names of BFCL and of JSON Schema.
TYPES: dict[str, type] = {
    "string": str,
    "any": str,
    "integer": int,
    "float": float,
    "number": float,
    "boolean": bool,
    "array": list,
    "tuple": list,
    "dict": dict,
    "object": dict,
}
# JSON Schema's names for those of BFCL that it does not know.
SCHEMA = {"dict": "object", "float": "number", "tuple": "array", "any": "string"}
WRONG, NAMED = 0.1, 0.25  # rewards of a wrong call: at least, and what a right name and its arguments add


def asked(
    prompt: list[Message],
    functions: list[dict[str, Any]],
    answers: list[tuple[str, Accepted]],
    completion: str | None,
    where: str,
) -> Problem:
    """The problem of calling `functions` as `answers` have it; `completion` is what to supervise on."""
    columns = {"functions": functions, "answers": answers}
    return Problem(prompt, completion, completion, columns, where, schema(functions))


def grade(problem: Problem, text: str) -> Grade:
    """Right if the calls are those of the problem's `answers`; `formatted` unless one is malformed."""
    calls = read(text, problem.columns["functions"])
    if calls is None:
        return Grade(False, False)
    return Grade(right(problem.columns["functions"], problem.columns["answers"], calls), True)


def reward(problem: Problem, text: str) -> float:
    """1.0 if right, 0.0 if malformed or without a call where one was wanted; between 0.1 and 0.6 by how much is right.

    Each wanted call is worth as much: half of that for its name, half for the share of its arguments that are right.
    """
    calls, answers = read(text, problem.columns["functions"]), problem.columns["answers"]
    if calls is not None and right(problem.columns["functions"], answers, calls):
        return 1.0
    if not calls:
        return 0.0
    worth, left = 0.0, list(calls)
    for name, accepted in answers:
        shares = [_share(problem.columns["functions"], accepted, call) if call[0] == name else -1.0 for call in left]
        if shares and max(shares) >= 0:
            worth += NAMED + NAMED * max(shares)
            left.pop(shares.index(max(shares)))
    return WRONG + worth / max(len(answers), len(calls))


def right(functions: list[dict[str, Any]], answers: Sequence[tuple[str, Accepted]], calls: Sequence[Call]) -> bool:
    """Whether `calls` are the wanted ones, in any order. `functions` are as BFCL or JSON Schema declare them."""
    left = list(calls)
    for name, accepted in answers:
        found = next((i for i, call in enumerate(left) if call[0] == name and _same(functions, accepted, call)), None)
        if found is None:
            return False
        left.pop(found)
    return not left


def exactly(arguments: dict[str, Any]) -> Accepted:
    """What is accepted where only one value of each argument is known to be right."""
    return {name: [_nested(value)] for name, value in arguments.items()}


def schema(functions: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Functions as chat templates and servers take them for `tools`."""
    return [{"type": "function", "function": _renamed(function)} for function in functions]


def _renamed(declared: Any) -> Any:
    if isinstance(declared, dict):
        kind = declared.get("type")
        named = {"type": SCHEMA[kind]} if isinstance(kind, str) and kind in SCHEMA else {}
        return {name: _renamed(value) for name, value in declared.items()} | named
    return [_renamed(value) for value in declared] if isinstance(declared, list) else declared


def _nested(value: Any) -> Any:
    """Objects as BFCL lists them: of each of their fields the accepted values."""
    if isinstance(value, dict):
        return {name: [field] for name, field in value.items()}
    if isinstance(value, list):
        return [_nested(item) if isinstance(item, dict) else item for item in value]
    return value


def _same(functions: list[dict[str, Any]], accepted: Accepted, call: Call) -> bool:
    """Whether the arguments of a call are right: BFCL's `simple_function_checker`."""
    name, arguments = call
    parameters = parameters_of(functions, name)
    properties = parameters.get("properties", {})
    return (
        all(one in arguments for one in parameters.get("required", []))
        and all(one in properties and one in accepted for one in arguments)
        and all(one in arguments or "" in values for one, values in accepted.items())
        and all(_fits(properties[one], accepted[one], value) for one, value in arguments.items())
    )


def _share(functions: list[dict[str, Any]], accepted: Accepted, call: Call) -> float:
    """Which part of the arguments that are there or should be is right."""
    properties = parameters_of(functions, call[0]).get("properties", {})
    names = {*call[1], *(name for name, values in accepted.items() if "" not in values)}
    good = [
        name in call[1] and name in properties and name in accepted and _fits(properties[name], accepted[name], value)
        for name in names
        for value in [call[1].get(name)]
    ]
    return sum(good) / len(good) if good else 1.0


def _fits(declared: dict[str, Any], accepted: list[Any], value: Any) -> bool:
    """Whether `value` is of the declared type and among the accepted ones."""
    kind = TYPES.get(str(declared.get("type")), str)
    items = declared.get("items")
    inner = TYPES.get(str(items.get("type")), str) if kind is list and isinstance(items, dict) else None
    if kind is float and type(value) is int:
        try:
            value = float(value)
        except OverflowError:
            return False
    typed, variable = _typed(value, accepted, kind, inner)
    if not typed:
        return False
    if variable:  # a name that stands for a value, which only BFCL's Java tasks have: compared as it is
        return value in accepted
    if kind is dict:
        return any(_object(value, one) for one in accepted if one != "")
    if kind is list and inner is dict:
        return any(len(value) == len(one) and all(map(_object, value, one)) for one in accepted)
    if kind is str:
        return _bare(value) in [_bare(one) for one in accepted if isinstance(one, str)]
    if kind is list:
        return [_bare(item) for item in value] in [[_bare(item) for item in one] for one in accepted]
    return value in accepted


def _typed(value: Any, accepted: list[Any], kind: type, inner: type | None) -> tuple[bool, bool]:
    """BFCL's `type_checker`: whether the type is right, and whether it is that of the accepted values alone."""
    given = next((type(one) for one in accepted if one != ""), None)
    if type(value) is kind and _inside(value, accepted, inner):
        return True, given not in (None, kind)
    return (True, True) if given is not None and type(value) is given else (False, False)


def _inside(value: Any, accepted: list[Any], inner: type | None) -> bool:
    """Whether the items of a list have the types of those of some accepted value."""
    return inner is None or any(
        not isinstance(one, list) or all(_typed(item, one, inner, None)[0] for item in value) for one in accepted
    )


def _object(value: Any, accepted: Any) -> bool:
    """BFCL's `dict_checker`, of one accepted object."""
    return (
        isinstance(value, dict)
        and all(
            name in accepted and _bare(field) in [_bare(one) for one in accepted[name]] for name, field in value.items()
        )
        and all(name in value or "" in fields for name, fields in accepted.items())
    )


def _bare(value: Any) -> Any:
    """Text without spaces, most punctuation and letter case, as BFCL compares it; anything else as it is."""
    return re.sub(r"[ ,./\-_*^]", "", value).lower().replace("'", '"') if isinstance(value, str) else value
