"""How tool calls are written: in `<tool_call>` tags, as JSON (Qwen2.5, Qwen3) or as tagged parameters (Qwen3.5).

Either is read wherever it comes; which of them a model is asked for is its chat template's affair (`prompts.py`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

Call = tuple[str, dict[str, Any]]  # a function's name, and its arguments

OPEN, CLOSE = "<tool_call>", "</tool_call>"
WRITTEN = re.compile(f"{OPEN}(.*?){CLOSE}", re.DOTALL)
TAGGED = "<function="
FUNCTION = re.compile(r"\s*<function=([^>\n]+)>(.*)</function>\s*", re.DOTALL)
PARAMETER = re.compile(r"\s*<parameter=([^>\n]+)>\n?(.*?)\n?</parameter>\s*", re.DOTALL)
TEXTS = ("string", "any")  # types whose values are not JSON when tagged


def write(calls: Sequence[Call], tagged: bool = False) -> str:
    """A completion that makes these calls."""
    made = [_tags(*call) if tagged else _json(*call) for call in calls]
    return "\n".join(f"{OPEN}\n{call}\n{CLOSE}" for call in made)


def _json(name: str, arguments: dict[str, Any]) -> str:
    return json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)


def _tags(name: str, arguments: dict[str, Any]) -> str:
    values = {
        key: json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else str(value)
        for key, value in arguments.items()
    }
    inner = "".join(f"<parameter={key}>\n{value}\n</parameter>\n" for key, value in values.items())
    return f"<function={name}>\n{inner}</function>"


def read(text: str, functions: Sequence[dict[str, Any]] = ()) -> list[Call] | None:
    """The calls in a completion, none in plain text; None where one is malformed.

    `functions`, as BFCL or JSON Schema declare them, tell of what type a tagged value is; without them it is text.
    """
    bodies = WRITTEN.findall(text)
    if len(bodies) != text.count(OPEN):
        return None
    calls = [_tagged(body, functions) if body.lstrip().startswith(TAGGED) else _object(body) for body in bodies]
    return None if None in calls else [call for call in calls if call is not None]


def _object(body: str) -> Call | None:
    try:
        call = json.loads(body)
    except (ValueError, RecursionError):
        return None
    name, arguments = (call.get("name"), call.get("arguments", {})) if isinstance(call, dict) else (None, None)
    return (name, arguments) if isinstance(name, str) and isinstance(arguments, dict) else None


def _tagged(body: str, functions: Sequence[dict[str, Any]]) -> Call | None:
    whole = FUNCTION.fullmatch(body)
    if whole is None or PARAMETER.sub("", whole[2]).strip():
        return None
    properties = parameters_of(functions, whole[1]).get("properties", {})
    found = PARAMETER.findall(whole[2])
    return whole[1], {name: _value(text, properties.get(name, {}).get("type")) for name, text in found}


def parameters_of(functions: Sequence[dict[str, Any]], name: str) -> dict[str, Any]:
    """The parameters of a function by name; empty if there is none such."""
    return next((one for one in functions if one["name"] == name), {}).get("parameters") or {}


def _value(text: str, kind: Any) -> Any:
    """`text` as a value of the declared type, or, where it is none, as text."""
    if kind is None or kind in TEXTS:
        return text
    if kind == "boolean" and text.lower() in ("true", "false"):  # the template writes Python's
        return text.lower() == "true"
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
