"""What users give as text: YAML files, `name=value` lists, and values that must be of a type."""

from __future__ import annotations

import math
import re
import types
import typing
from pathlib import Path
from typing import Any

import yaml

from arttune.errors import BadInput

SCIENTIFIC = re.compile(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+")
KINDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


def named_values(setting: str, text: str | None) -> dict[str, Any]:
    """What `text`, the value of `setting`, names: `name=value,name=[value,value]`, each value read as YAML.

    Raises `BadInput`.
    """
    found = {}
    for part in re.split(r",(?![^\[{]*[\]}])", text or ""):  # not at the commas in brackets
        name, equals, value = part.strip().partition("=")
        if name and not equals:
            raise BadInput(f"{setting}: {part.strip()!r} has no value; write name=value,name=value")
        if name:
            try:
                read = yaml.safe_load(value)
                # YAML takes 1e-3, without a dot, for text.
                found[name.strip()] = float(read) if isinstance(read, str) and SCIENTIFIC.fullmatch(read) else read
            except yaml.YAMLError:
                raise BadInput(
                    f"{setting}: {part.strip()!r} is not readable; write name=value,name=[value,value]"
                ) from None
    return found


def named_numbers(setting: str, text: str | None) -> dict[str, float]:
    """`named_values` that are all numbers of at least 0. Raises `BadInput`."""
    found = {}
    for name, value in named_values(setting, text).items():
        number = checked(f"{setting}: {name}", value, float)
        if not 0 <= number < math.inf:
            raise BadInput(f"{setting}: {name} is {value}; it cannot be negative, and must be finite")
        found[name] = number
    return found


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file that is a mapping; names may be written as the flags are. Raises `BadInput` otherwise."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadInput(f"{path} is not readable YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise BadInput(f"{path} must hold `name: value` lines, as `arttune train --help` names them")
    return {str(name).replace("-", "_"): value for name, value in values.items()}


def checked(name: str, value: Any, hint: Any) -> Any:
    """`value` as the setting's type; an int where a float is wanted will do. Raises `BadInput`."""
    container, inner = typing.get_origin(hint), typing.get_args(hint)
    if container in (list, dict):
        if not isinstance(value, container):
            raise BadInput(f"{name} is {value!r}; it must be a {'list' if container is list else 'list for each name'}")
        if container is list:
            return [checked(name, one, inner[0]) for one in value]
        return {key: checked(f"{name}: {key}", one, inner[1]) for key, one in value.items()}
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if value is None and type(None) in kinds:
        return None
    kind = next(k for k in kinds if k is not type(None))
    if kind is float and isinstance(value, str):  # YAML reads 1e-3 as text
        try:
            return float(value)
        except ValueError:
            pass
    if kind is bool and isinstance(value, bool):
        return value
    if isinstance(value, bool) or not isinstance(value, (kind, int) if kind is float else kind):
        raise BadInput(f"{name} is {value!r}; it must be {KINDS[kind]}")
    return kind(value)
