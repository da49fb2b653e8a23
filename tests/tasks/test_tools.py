"""Tool-use tasks: upstream formats, and that their own calls are right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import zoo
from arttune.errors import BadInput
from arttune.tasks import Problem, calls, get_task
from tasks.test_tasks import lines

BUSES = {
    "service_name": "Buses_1",
    "slots": [
        {"name": "to", "description": "Where to", "is_categorical": False, "possible_values": []},
        {"name": "day", "description": "When", "is_categorical": False, "possible_values": []},
        {"name": "seats", "description": "How many", "is_categorical": True, "possible_values": ["1", "2"]},
    ],
    "intents": [
        {
            "name": "FindBus",
            "description": "Find a bus",
            "required_slots": ["to", "day"],
            "optional_slots": {"seats": "1"},
        }
    ],
}
TURN = {
    "services": ["Buses_1"],
    "history": [
        {"speaker": "USER", "utterance": "A bus to Rome"},
        {"speaker": "SYSTEM", "utterance": "When?"},
        {"speaker": "USER", "utterance": "Next Friday"},
    ],
    "user_frames": [{"service": "Buses_1", "state": {"slot_values": {"to": ["Rome"], "day": ["next Friday"]}}}],
    "turn": {
        "frames": [{"service_call": {"method": "FindBus", "parameters": {"to": "Rome", "day": "2019-03-08"}}}],
        "utterance": "Here is one.",
    },
}


def only(name: str, data: Path, split: str = "test") -> Problem:
    (problem,) = get_task(name, data).load(split)
    return problem


def dialogue(tmp_path: Path, **changes: Any) -> Problem:
    lines(tmp_path / "schema_test.jsonl", BUSES, BUSES | {"service_name": "Buses_2"})
    return only("sgd", lines(tmp_path / "t.jsonl", TURN | changes))


def right(name: str, problem: Problem, *made: calls.Call) -> bool:
    return get_task(name).grade(problem, calls.write(made)).correct


def test_sgd(tmp_path):
    problem = dialogue(tmp_path)
    assert [turn["role"] for turn in problem.prompt] == ["system", "user", "assistant", "user"]
    assert "2019-03-01" in problem.prompt[0]["content"]
    assert calls.read(problem.completion or "") == [("FindBus", {"to": "Rome", "day": "2019-03-08"})]
    (tool,) = problem.tools
    assert tool["function"]["parameters"]["required"] == ["to", "day"]
    assert tool["function"]["parameters"]["properties"]["seats"]["enum"] == ["1", "2"]
    assert right("sgd", problem, ("FindBus", {"to": "rome", "day": "next friday"})), "as the user said it"
    assert right("sgd", problem, ("FindBus", {"to": "Rome", "day": "2019-03-08", "seats": "1"})), "the default"
    assert not right("sgd", problem, ("FindBus", {"to": "Rome", "day": "2019-03-08", "seats": "2"}))
    assert not right("sgd", problem, ("FindBus", {"to": "Rome"}))
    assert not right("sgd", problem)


def test_sgd_where_the_assistant_asks_back(tmp_path):
    problem = dialogue(tmp_path, turn={"frames": [{"actions": []}], "utterance": "From where?"})
    assert problem.completion == "From where?"
    assert get_task("sgd").grade(problem, "Where do you start?").correct
    assert not right("sgd", problem, ("FindBus", {"to": "Rome", "day": "2019-03-08"}))


def test_sgd_offers_one_function_of_a_name(tmp_path):
    other = TURN["user_frames"][0] | {"service": "Buses_2"}
    problem = dialogue(tmp_path, services=["Buses_2", "Buses_1"], user_frames=[other])
    assert [tool["function"]["name"] for tool in problem.tools] == ["FindBus"]


def test_sgd_says_what_it_lacks(tmp_path, monkeypatch):
    with pytest.raises(BadInput, match=r"t\.jsonl, line 1: the schema has no service Trains_1"):
        dialogue(tmp_path, services=["Trains_1"])
    monkeypatch.delenv("ARTTUNE_DATA", raising=False)
    for name in ("sgd", "seal_tools"):
        with pytest.raises(BadInput, match=f"{name} is not on the Hugging Face hub.*ARTTUNE_DATA"):
            get_task(name).load("train")


def test_seal_tools(tmp_path):
    offered = [
        {
            "api_name": "area",
            "api_description": "The area",
            "parameters": {"w": {"type": "float", "description": "Width"}, "n": {"type": "int", "description": "N"}},
            "required": ["w"],
            "responses": {"size": {"type": "float", "description": "It"}},
        }
    ]
    calling = [
        {"api": "area", "parameters": {"w": "40.7", "n": "3"}, "responses": ["API_call_0"]},
        {"api": "area", "parameters": {"w": "API_call_0"}, "responses": ["API_call_1"]},
    ]
    told = [{"from": "human", "value": f"Choose.\nInput:\napi_list = {offered!r}\ntask_instruction = 'x'"}]
    row = {"query": "How large?", "calling": calling, "conversations": told}
    problem = only("seal_tools", lines(tmp_path / "s.jsonl", row))
    assert problem.question.startswith("How large?\n\nA value may be an output")
    assert "Outputs: size" in problem.tools[0]["function"]["description"]
    made = [("area", {"w": 40.7, "n": 3}), ("area", {"w": "API_call_0"})]
    assert calls.read(problem.completion or "") == made
    assert right("seal_tools", problem, *made)
    assert not right("seal_tools", problem, ("area", {"w": "40.7", "n": 3}), made[1])
    with pytest.raises(BadInput, match="line 1: the first of conversations has no line 'api_list"):
        only("seal_tools", lines(tmp_path / "b.jsonl", row | {"conversations": [{"value": "api_list = [f("}]}))


def test_bfcl(tmp_path):
    function = {
        "name": "f",
        "description": "F",
        "parameters": {"type": "dict", "properties": {"a": {"type": "float"}}, "required": ["a"]},
    }
    asked = {"id": "multiple_0", "question": [[{"role": "user", "content": "Five?"}]], "function": [function]}
    folder = tmp_path / "multiple"
    folder.mkdir()
    lines(folder / "test.jsonl", asked)
    lines(folder / "possible_answer.jsonl", {"id": "multiple_0", "ground_truth": [{"f": {"a": [5.0]}}]})
    for data in (tmp_path, folder):
        problem = only("bfcl:multiple", data)
        assert right("bfcl", problem, ("f", {"a": 5}))
        assert problem.tools[0]["function"]["parameters"]["type"] == "object"
    lines(folder / "possible_answer.jsonl", {"id": "multiple_1", "ground_truth": []})
    with pytest.raises(BadInput, match=r"test\.jsonl, line 1: possible_answer has no line with this id"):
        only("bfcl:multiple", tmp_path)
    with pytest.raises(BadInput, match="no problems to train on"):
        get_task("bfcl").load("train")
    with pytest.raises(BadInput, match="has no folder simple_python; for one category's own folder use bfcl:"):
        get_task("bfcl", folder).load("test")
    lines(folder / "test.jsonl", asked | {"question": [[], []]})
    lines(folder / "possible_answer.jsonl", {"id": "multiple_0", "ground_truth": []})
    with pytest.raises(BadInput, match=r"test\.jsonl, line 1: not as BFCL publishes its rows"):
        only("bfcl:multiple", tmp_path)
    with pytest.raises(BadInput, match="no category 'java'; there are simple_python"):
        get_task("bfcl:java")


def test_toolmind(tmp_path):
    tool = {
        "name": "now",
        "description": "Time",
        "parameters": {"type": "object", "properties": {"zone": {"type": "string"}}},
    }
    call = {"function": {"name": "now", "arguments": {"zone": "Oslo"}}}
    user = {"role": "user", "content": "What time is it in Oslo?"}
    whole = {
        "tools": [{"type": "function", "function": tool}],
        "conversations": [
            user,
            {"role": "assistant", "content": "<think>Oslo.</think>", "tool_calls": [call]},
            {"role": "tool", "content": "12:00"},
            {"role": "assistant", "content": "Noon."},
        ],
    }
    plain = whole | {"conversations": [user, {"role": "assistant", "content": "I cannot know."}]}
    other = whole | {"tools": [{"type": "function", "function": tool | {"name": "clock"}}]}
    text = {name: json.dumps(value) for name, value in whole.items()}
    odd = whole | {"tools": [{"function": {"name": "now", "parameters": None}}]}
    paid = {"function": {"name": "pay", "arguments": {"items": [{"price": 3}]}}}
    untyped = {
        "tools": [{"function": {"name": "pay", "parameters": {"properties": {"items": {"type": "array"}}}}}],
        "conversations": [user, {"role": "assistant", "tool_calls": [paid]}],
    }
    named = [
        whole | {"conversations": [{"role": "user", "content": f"{i}: Oslo?"}, *whole["conversations"][1:]]}
        for i in range(19)
    ]
    nothing = whole | {"conversations": [user]}
    path = lines(tmp_path / "t.jsonl", whole, *named, text, whole, plain, other, odd, untyped, nothing)
    train, test = (get_task("toolmind", path).load(split) for split in ("train", "test"))
    assert [one.question for one in test] == ["0: Oslo?"]  # the last has a prompt that is also one to train on
    assert len(train) == 20
    problem = train[0]
    assert problem.prompt == [user]
    assert calls.read(problem.completion or "") == [("now", {"zone": "Oslo"})]
    assert right("toolmind", problem, ("now", {"zone": "Oslo"}))
    assert json.loads(json.dumps(problem.tools)) == whole["tools"]
    wrong = lines(tmp_path / "w.jsonl", whole, whole | {"conversations": [{"content": "no role"}]})
    with pytest.raises(BadInput, match=r"w.jsonl, line 2: not as ToolMind publishes its rows .KeyError: 'role'"):
        get_task("toolmind", wrong).load("train")


@zoo.REAL
def test_real_dialogues_and_queries_are_read():
    """But for calls that their own schema does not allow, as many as the notes on SGD and Seal-Tools count."""
    for name, split, count in (
        *(("sgd", "train", 4797), ("sgd", "test", 360)),
        *(("seal_tools", "train", 1395), ("seal_tools", "test", 324)),
    ):
        problems = get_task(name).load(split)
        assert len(problems) == count
        assert all(problem.tools for problem in problems)
    irrelevant = get_task("bfcl:irrelevance").load("test")
    assert all(problem.columns["answers"] == [] for problem in irrelevant)
    every = get_task("bfcl").load("test")
    assert len(every) == 1276
    assert len({Path(one.where.split(",")[0]).parent.name for one in every[:7]}) == 7
