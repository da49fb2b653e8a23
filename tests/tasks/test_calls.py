"""Calls are read from completions, and right where the Berkeley leaderboard's own checker says so."""

from __future__ import annotations

import copy
import importlib
import random
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import zoo
from arttune.tasks import Problem, calls, get_task
from arttune.tasks.bfcl import CATEGORIES

WHEEL = "bfcl-eval==2026.3.23"
WEATHER = {
    "name": "weather",
    "parameters": {
        "type": "dict",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}, "share": {"type": "float"}},
        "required": ["city"],
    },
}
OSLO = ("weather", {"city": ["Oslo", "Oslo, Norway"], "days": [3, ""], "share": ["", 0.5]})
ROME = ("weather", {"city": ["Rome"], "days": [1]})


def asked(*answers: tuple[str, calls.Accepted]) -> Problem:
    return Problem([], columns={"functions": [WEATHER], "answers": list(answers)})


def said(*arguments: dict[str, Any], name: str = "weather") -> str:
    return calls.write([(name, one) for one in arguments])


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("It is sunny.", []),
        ('<tool_call>\n{"name": "f", "arguments": {"a": [1]}}\n</tool_call>', [("f", {"a": [1]})]),
        ('So:<tool_call>{"name": "f", "arguments": {}}</tool_call> and <tool_call>{"name": "g"}</tool_call>',
         [("f", {}), ("g", {})]),
        ('<tool_call>{"name": "f", "arguments": {}}', None),
        ('<tool_call>{"name": "f", "arguments": {}</tool_call>', None),
        ('<tool_call>{"name": "f", "arguments": "a=1"}</tool_call>', None),
        ('<tool_call>["f", {}]</tool_call>', None),
        ('<tool_call>{"arguments": {}}</tool_call>', None),
        ("<tool_call>" + "[" * 100_000 + "</tool_call>", None),
    ],
)  # fmt: skip
def test_read(text, found):
    assert calls.read(text) == found


def test_what_is_written_is_read():
    made = [("f", {"a": "<é>", "b": [1.5, None, {"c": True}]}), ("g", {})]
    assert calls.read(calls.write(made)) == made


@pytest.mark.parametrize(
    ("text", "right"),
    [
        (said({"city": "oslo norway", "days": 3}), True),
        (said({"city": "Oslo"}), True),
        (said({"city": "Oslo", "share": 0.5}), True),
        (said({"city": "Oslo", "days": "3"}), False),
        (said({"city": "Oslo", "days": 4}), False),
        (said({"city": "Oslo", "wind": 1}), False),
        (said({"days": 3}), False),
        (said({"city": "Oslo"}, {"city": "Oslo"}), False),
        (said({"city": "Oslo"}, name="Weather"), False),
        ("Oslo", False),
    ],
)
def test_one_call(text, right):
    problem = asked(OSLO)
    assert calls.grade(problem, text).correct == right
    assert (calls.reward(problem, text) == 1.0) == right


def test_several_calls_come_in_any_order():
    problem = asked(OSLO, ROME)
    assert calls.grade(problem, said({"city": "Rome", "days": 1}, {"city": "Oslo"})).correct
    assert not calls.grade(problem, said({"city": "Rome"}, {"city": "Oslo"})).correct, "days had to be there"


def test_where_no_call_is_right_any_is_wrong():
    problem = asked()
    assert calls.grade(problem, "For which city?").correct
    assert not calls.grade(problem, said({"city": "Oslo"})).correct
    assert not calls.grade(problem, "<tool_call>{}</tool_call>").formatted


def test_rewards_rise_with_what_is_right():
    problem = asked(OSLO, ROME)
    texts = [
        "<tool_call>{</tool_call>",
        said({"city": "Paris"}, name="news"),
        said({"city": "Paris"}),
        said({"city": "Oslo"}),
        said({"city": "Oslo"}, {"city": "Rome"}),
        said({"city": "Oslo"}, {"city": "Rome", "days": 1}),
    ]
    rewards = [calls.reward(problem, text) for text in texts]
    assert rewards[0] == calls.reward(problem, "I do not know.") == 0.0
    assert rewards == sorted(rewards)
    assert len(set(rewards)) == len(rewards)
    assert rewards[-2] < 0.7 < rewards[-1] == 1.0


def test_what_no_type_holds_is_wrong_and_no_failure():
    functions = [
        {
            "name": "f",
            "parameters": {
                "type": "dict",
                "properties": {"x": {"type": "float"}, "xs": {"type": "array", "items": {"type": "dict"}}},
            },
        },
        {"name": "bare", "parameters": None},
    ]
    answers = [("f", {"x": [1.0], "xs": [[{"a": ["1"]}], ""]})]
    problem = calls.asked([{"role": "user", "content": "?"}], functions, answers, None, "")
    for arguments in ({"x": 10**400}, {"x": 1, "xs": ["a"]}):
        assert not calls.grade(problem, calls.write([("f", arguments)])).correct
        assert calls.reward(problem, calls.write([("f", arguments)])) < 1
    assert calls.grade(problem, calls.write([("f", {"x": 1})])).correct
    for tagged in (True, False):
        assert not calls.grade(problem, calls.write([("bare", {"a": 1})], tagged)).correct


def test_schema_has_the_names_of_json_schema():
    found = calls.schema([{"name": "f", "parameters": {"type": "dict", "properties": {"type": {"type": "float"}}}}])
    inner = {"type": "object", "properties": {"type": {"type": "number"}}}
    assert found == [{"type": "function", "function": {"name": "f", "parameters": inner}}]


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., bool]]:
    """The leaderboard's checker, installed aside without the many packages that its models would need."""
    folder = tmp_path_factory.mktemp("bfcl")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder), WHEEL]
    if subprocess.run(pip, capture_output=True, check=False).returncode:
        pytest.skip(f"{WHEEL} cannot be installed here")
    before = set(sys.modules)
    # What it imports for other languages and for the names of models.
    plain: Any = SimpleNamespace(underscore_to_dot=False)
    stands: dict[str, dict[str, Any]] = {
        "bfcl_eval.constants.model_config": {"MODEL_CONFIG_MAPPING": defaultdict(lambda: plain)},
        "bfcl_eval.eval_checker.ast_eval.type_convertor.java_type_converter": {"java_type_converter": None},
        "bfcl_eval.eval_checker.ast_eval.type_convertor.js_type_converter": {"js_type_converter": None},
    }
    for name, holds in stands.items():
        module = ModuleType(name)
        vars(module).update(holds)
        sys.modules[name] = module
    sys.path.insert(0, str(folder))
    try:
        checker = importlib.import_module("bfcl_eval.eval_checker.ast_eval.ast_checker").ast_checker
        python = importlib.import_module("bfcl_eval.constants.enums").Language.PYTHON

        def check(functions: list[Any], made: list[calls.Call], answers: list[Any], category: str) -> bool:
            found = [{name: arguments} for name, arguments in made]
            wanted = [{name: accepted} for name, accepted in answers]
            return bool(checker(functions, found, wanted, python, category, "model")["valid"])

        yield check
    finally:
        sys.path.remove(str(folder))
        for name in set(sys.modules) - before:
            if name.startswith("bfcl_eval"):
                del sys.modules[name]


def taken(chance: random.Random, accepted: Any) -> Any:
    """One of the accepted values, as a completion would have it."""
    if isinstance(accepted, dict) and all(isinstance(values, list) and values for values in accepted.values()):
        chosen = {name: chance.choice(values) for name, values in accepted.items()}
        return {name: taken(chance, value) for name, value in chosen.items() if value != ""}
    if isinstance(accepted, list):
        return [taken(chance, value) if isinstance(value, dict) else value for value in accepted]
    return accepted


def changed(chance: random.Random, value: Any) -> Any:
    """Something like `value`, or not at all."""
    like: list[Any] = [None, [], {}, "", 0, 1, 1.5, True, [1], ["a"], [{}], {"a": 1}, str(value)]
    if isinstance(value, str):
        like += [value.upper(), value.replace(" ", ""), value.replace(" ", "-"), value + "!", value + ".", [value]] * 3
    elif isinstance(value, (int, float)):
        like += [float(value), int(value), -value, bool(value)] * 4
    elif isinstance(value, list):
        like += [value[::-1], value[:1], value + value, [str(item) for item in value]] * 4
    elif isinstance(value, dict):
        like += [value | {"new": 1}, {k: str(v).upper() for k, v in value.items()}, dict(list(value.items())[1:])] * 5
    return chance.choice(like)


def mutated(chance: random.Random, made: list[calls.Call]) -> list[calls.Call]:
    """A right answer, with up to two changes."""
    made = copy.deepcopy(made)
    for _ in range(chance.choice([0, 1, 1, 1, 2])):
        if not made:
            break
        name, arguments = chance.choice(made)
        key = chance.choice([*arguments, "extra"])
        kind = chance.randrange(10)
        if kind == 0:
            made.remove((name, arguments))
        elif kind == 1:
            made.append(copy.deepcopy((name, arguments)))
        elif kind == 2:
            made[made.index((name, arguments))] = (name + "s", arguments)
        elif kind == 3:
            chance.shuffle(made)
        elif kind == 4:
            arguments.pop(key, None)
        else:
            arguments[key] = changed(chance, arguments.get(key))
    return made


@zoo.REAL
@pytest.mark.parametrize("category", [one for one in CATEGORIES if one != "irrelevance"])
def test_the_official_checker_agrees(category, official):
    """On each problem's answer, three times with changes: 3,468 answers in all."""
    chance, seen = random.Random(0), {True: 0, False: 0}
    for problem in get_task(f"bfcl:{category}").load("test"):
        functions, answers = problem.columns["functions"], problem.columns["answers"]
        for _ in range(3):
            right = []
            for name, accepted in answers:
                chosen = {one: chance.choice(values) for one, values in accepted.items() if values}
                arguments = {one: taken(chance, value) for one, value in chosen.items() if value != ""}
                right.append((name, arguments))
            made = mutated(chance, right)
            theirs = official(functions, made, answers, category)
            ours = calls.grade(problem, calls.write(made)).correct
            assert ours == theirs, (problem.where, made, answers)
            assert (calls.reward(problem, calls.write(made)) == 1.0) == theirs
            seen[theirs] += 1
    assert min(seen.values()) > 50, "neither right nor wrong ones are rare"
