"""Tasks: upstream formats, generated problems, and a user's own files with everything that can be wrong in them."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import pytest

from arttune.errors import BadInput
from arttune.tasks import Problem, get_task, hold_out
from arttune.tasks.generate import entries
from arttune.tasks.gym import gym
from arttune.tasks.svamp import _spelled

SVAMP = {
    "Body": "Jack has 8 pens and loses 3.0",
    "Question": "How many are left?",
    "Equation": "( 8.0 - 3.0 )",
    "Answer": 5.0,
}
GSM8K = {"question": "How many?", "answer": "She sells 16 - 3 = <<16-3=13>>13 eggs.\nThat is 1,300.\n#### 1,300"}


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_svamp(tmp_path):
    task = get_task("svamp", lines(tmp_path / "s.jsonl", SVAMP))
    (problem,) = task.load("test")
    assert problem.prompt[0]["content"] == (
        "Jack has 8 pens and loses 3.0 How many are left?\n\nEnd your response with: Answer: <number>"
    )
    assert problem.completion == "8 - 3 = 5\nAnswer: 5"
    assert task.grade(problem, problem.completion).correct


@pytest.mark.parametrize(
    ("equation", "spelled"),
    [("( ( 22.0 - 36.0 ) + 30.0 )", "((22 - 36) + 30) = 5\n"), ("( 8.0 / 2.5 )", "8 / 2.5 = 5\n"), ("", "")],
)
def test_equations_are_spelled_as_people_write_them(equation, spelled):
    assert _spelled(equation, "5") == spelled


def test_gsm8k(tmp_path):
    task = get_task("gsm8k", lines(tmp_path / "g.jsonl", GSM8K))
    (problem,) = task.load("train")
    assert problem.completion == "She sells 16 - 3 = 13 eggs.\nThat is 1,300.\nAnswer: 1300"
    assert task.grade(problem, "Answer: $1,300").correct


def test_aqua(tmp_path):
    row = {
        "question": "What is 7 x 12?",
        "options": ["A)83", "B)84", "C)85", "D)86", "E)None of these"],
        "rationale": "12 x 7 = 84\nSo it is 84.\nThe correct answer is B",
        "correct": "B",
    }
    problem = get_task("aqua", lines(tmp_path / "a.jsonl", row)).load("train")[0]
    assert problem.question.startswith("What is 7 x 12?\nA) 83\nB) 84\n")
    assert problem.completion == "12 x 7 = 84\nSo it is 84.\nAnswer: B"
    for text, verdict in (
        ("Answer: B", (True, True)),
        ("Answer: (B) 84", (True, True)),
        ("Answer: **B**", (True, True)),
        ("Answer: B) A bus", (True, True)),
        ("Answer: C", (False, True)),
        ("Answer: B or C", (False, False)),
        ("Answer: B, C or D", (False, False)),
        ("Answer: (B) and (C), I think", (False, False)),
        ("Answer: A, B, C, D, E", (False, False)),
        ("Answer: Bees", (False, False)),
        ("B", (False, False)),
    ):
        grade = get_task("aqua").grade(problem, text)
        assert (grade.correct, grade.formatted) == verdict, text


def test_math500(tmp_path):
    row = {"problem": "Convert $(0,3)$ to polar coordinates.", "answer": "\\left( 3, \\frac{\\pi}{2} \\right)"}
    task = get_task("math500", lines(tmp_path / "m.jsonl", row))
    (problem,) = task.load("test")
    for text, right in (
        ("Answer: $(3, \\frac{\\pi}{2})$", True),
        ("Answer: (3, \\pi/2)", True),
        ("Answer: \\boxed{(3, \\frac{\\pi}{2})}", True),
        ("Answer: (3, \\pi)", False),
        ("(3, \\frac{\\pi}{2})", False),
    ):
        assert task.grade(problem, text).correct == right, text
    with pytest.raises(BadInput, match="no problems to train on"):
        task.load("train")


@pytest.mark.parametrize(
    ("gold", "said", "right"),
    [
        *(("6", said, True) for said in ("6", "$6$", "**6**", "6.", "6 square units", "x = 6", r"\boxed{6}", r"\(6\)")),
        *(("6", said, False) for said in ("5 or 6", "not 6", "1, 2, 3, 4, 5, 6", "5, 6", "7", "six")),
        *((r"\frac{3}{4}", said, True) for said in ("3/4", "3/4.", "0.75", r"$\frac34$")),
        ("(1,2)", "(1, 2)", True),
        (r"10\%", "10%", True),
    ],
)
def test_an_answer_of_math500_is_read_as_a_whole(tmp_path, gold, said, right):
    task = get_task("math500", lines(tmp_path / "m.jsonl", {"problem": "?", "answer": gold}))
    (problem,) = task.load("test")
    assert task.grade(problem, f"So\nAnswer: {said}").correct == right


def test_the_data_folder_is_read_gzip_or_not(tmp_path, monkeypatch):
    (tmp_path / "svamp").mkdir()
    lines(tmp_path / "svamp" / "test.jsonl", SVAMP, SVAMP)
    with gzip.open(tmp_path / "svamp" / "train.jsonl.gz", "wt") as handle:
        handle.write(json.dumps(SVAMP) + "\n")
    monkeypatch.setenv("ARTTUNE_DATA", str(tmp_path))
    assert len(get_task("svamp").load("test")) == 2
    assert len(get_task("svamp").load("train")) == 1
    (tmp_path / "gsm8k").mkdir()
    with pytest.raises(BadInput, match=r"gsm8k/test\.jsonl"):
        get_task("gsm8k").load("test")
    with pytest.raises(BadInput, match=r"aqua.* could not be fetched"):
        get_task("aqua").load("test")  # no folder of that: asks the hub, which tests do not have
    monkeypatch.setenv("ARTTUNE_DATA", str(tmp_path / "away"))
    with pytest.raises(BadInput, match="away, which is no folder"):
        get_task("aqua").load("test")


def test_every_gold_answer_of_the_real_data_is_graded_right():
    import os

    if not os.environ.get("ARTTUNE_DATA"):
        pytest.skip("ARTTUNE_DATA is not set: the real benchmark files are not here")
    for name in ("svamp", "gsm8k", "aqua"):
        task = get_task(name)
        for split in ("train", "test"):
            wrong = [p for p in task.load(split) if not task.grade(p, p.completion).correct]
            assert not wrong, (name, split, wrong[:3])


@pytest.mark.parametrize("name", ["family_relationships", "simple_equations", "number_sorting"])
def test_reasoning_gym_problems_are_scored_by_their_own_scorer(name):
    task = get_task(f"reasoning_gym:{name}")
    train, test = task.load("train"), task.load("test")
    assert len(train) == 1000
    assert len(test) >= 150
    assert not {p.question for p in train} & {p.question for p in test}
    for problem in test[:20]:
        assert task.grade(problem, problem.completion).correct
        assert not task.grade(problem, problem.answer).formatted
        assert not task.grade(problem, "Answer: certainly not this").correct
        assert task.reward(problem, problem.completion) == 1.0
        assert 0.1 <= task.reward(problem, "Answer: certainly not this") < 0.5
        assert task.reward(problem, problem.answer) == 0.0
    assert [p.question for p in get_task(f"reasoning_gym:{name}").load("test")] == [p.question for p in test]


@pytest.mark.parametrize("name", ["isomorphic_strings", "list_functions", "ransom_note", "word_ladder"])
def test_generated_problems_are_the_same_in_every_process(name, monkeypatch):
    """Those of reasoning-gym that go through sets of texts, or draw from Python's global generator."""
    found = []
    for hashes in ("1", "2"):
        monkeypatch.setenv("PYTHONHASHSEED", hashes)
        found.append(entries.__wrapped__(name, 40, 7))
    assert found[0] == found[1]
    assert len({str(entry["question"]) for entry in found[0]}) > 20


def test_your_own_file_in_all_its_shapes(tmp_path):
    talk = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
    path = lines(
        tmp_path / "own.jsonl",
        {"prompt": "1 + 1", "completion": "Answer: 2", "answer": 2},
        {"prompt": talk, "completion": [{"role": "assistant", "content": "Answer: 3"}], "answer": "3"},
        {"messages": [*talk, {"role": "assistant", "content": "Answer: 4"}], "answer": "4", "level": 7},
        {"prompt": "2 + 3", "answer": "5", "completion": "Answer: 5"},
        {"prompt": "2 + 4", "answer": "6", "completion": "Answer: 6"},
    )
    task = get_task(str(path))
    train, test = task.load("train"), task.load("test")
    assert (len(train), len(test)) == (4, 1)
    assert [p.completion for p in train] == ["Answer: 2", "Answer: 3", "Answer: 4", "Answer: 5"]
    assert [p.completion for p in test] == ["Answer: 6"]
    assert train[2].prompt == talk
    assert train[2].columns == {"level": 7}
    assert task.grade(train[0], "Answer: 2.0").correct, "all answers are numbers, so they are compared as numbers"
    assert [task.reward(train[0], text) for text in ("Answer: 2.0", "Answer: 3", "2", "")] == [1.0, 0.1, 0.01, 0.0]
    assert len(get_task(str(path), data=path).load("test")) == 5


@pytest.mark.parametrize(
    ("rows", "reply", "correct"),
    [
        ([{"prompt": "capital of France?", "answer": "Paris"}], "paris.", True),
        ([{"prompt": "half?", "answer": "1/2"}], "1/3", False),
        ([{"prompt": "when?", "answer": "10:30"}], "10:45", False),
        ([{"prompt": "say red", "completion": "red!"}], "Red!", True),
        ([{"prompt": "say red", "completion": "red!"}], "blue!", False),
        ([{"prompt": "1 + 1", "completion": "1 + 1 = 2\nAnswer: 2"}], "so, Answer: 2.0", True),
        ([{"prompt": "1 + 1", "completion": "1 + 1 = 2\nAnswer: 2"}], "2", False),
    ],
)
def test_own_answers_are_graded_in_the_form_the_file_has(tmp_path, rows, reply, correct):
    task = get_task(str(lines(tmp_path / "own.jsonl", *rows)))
    (problem,) = task.load("test")
    assert task.grade(problem, reply).correct is correct
    assert (task.reward(problem, reply) == 1.0) is correct


@pytest.mark.parametrize(
    ("grader", "right", "wrong"),
    [
        ("number", "Answer: 2.0", "Answer: 1/2"),
        ("exact", "Answer: 2", "Answer: 2.0"),
        ("math", "Answer: 4/2", "Answer: 3"),
    ],
)
def test_a_grader_can_be_chosen(tmp_path, grader, right, wrong):
    """Of `2`: as a number, as that very text, or as what it is worth."""
    row = {"prompt": "1 + 1", "completion": "1 + 1 = 2\nAnswer: 2", "answer": "2"}
    task = get_task(str(lines(tmp_path / "own.jsonl", row)), grader=grader)
    (problem,) = task.load("test")
    assert task.grade(problem, right).correct
    assert not task.grade(problem, wrong).correct


def test_every_reasoning_gym_task_grades_its_own_answers_right(monkeypatch):
    """All of them: multi-line grids, tasks without a gold answer, and scorers that raise on nonsense."""
    import reasoning_gym
    from reasoning_gym.factory import DATASETS

    module = sys.modules[gym.__module__]
    monkeypatch.setattr(module, "SIZES", {"train": 3, "test": 2})

    def here(name: str, size: int, seed: int) -> list[dict]:
        try:
            return list(reasoning_gym.create_dataset(name, size=size, seed=seed))
        except Exception as error:
            raise ValueError(str(error)) from error

    monkeypatch.setattr(module, "entries", here)  # in this process: two new ones for each task would take minutes
    unmade = []
    for name in sorted(DATASETS):
        try:
            task = get_task(f"reasoning_gym:{name}")
        except BadInput as error:
            unmade.append(str(error))
            continue
        for problem in task.load("train"):
            assert task.grade(problem, "Answer: 2 and 3 of nothing").formatted, "whatever its scorer makes of that"
            if problem.completion is not None:
                assert task.grade(problem, problem.completion).correct, name
    assert all("settings of its own" in complaint for complaint in unmade)
    assert len(unmade) <= 2, unmade


def test_what_is_trained_on_is_not_scored_on(tmp_path):
    rows = [{"prompt": str(i % 7), "answer": "a"} for i in range(20)]
    task = get_task(
        str(lines(tmp_path / "own.jsonl", *rows, {"prompt": "x", "answer": "a"}, {"prompt": "y", "answer": "a"}))
    )
    train, test = ([p.question for p in task.load(split)] for split in ("train", "test"))
    assert test == ["y"]
    assert not {*train} & {*test}


def test_the_kept_fifth_of_your_file_is_spread_over_it(tmp_path):
    path = lines(tmp_path / "own.jsonl", *({"prompt": str(i), "answer": "a"} for i in range(12)))
    task = get_task(str(path))
    assert [p.question for p in task.load("test")] == ["1", "6", "11"]
    assert [p.question for p in task.load("train")] == ["0", "2", "3", "4", "5", "7", "8", "9", "10"]


def test_your_own_tools_are_a_list_or_the_text_of_one(tmp_path):
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    row = {"prompt": "f of 2?", "answer": "4"}
    rows = [row | {"tools": tools}, row | {"tools": json.dumps(tools)}, row | {"tools": None}, row]
    found = get_task(str(lines(tmp_path / "own.jsonl", *rows, row))).load("train")
    assert [problem.tools for problem in found] == [tools, tools, [], []]
    with pytest.raises(BadInput, match=r"bad\.jsonl, line 1: tools must be a list of functions"):
        get_task(str(lines(tmp_path / "bad.jsonl", row | {"tools": "f"})))


def test_calls_in_your_own_messages_are_written_as_text(tmp_path):
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x": 2}'}}
    asked = {"role": "user", "content": "f of 2?"}
    spoken = {"role": "assistant", "content": "Let me see.", "tool_calls": [call]}
    silent = {"role": "assistant", "content": None, "tool_calls": [{"name": "f", "arguments": {"x": 2}}]}
    told = '<tool_call>\n{"name": "f", "arguments": {"x": 2}}\n</tool_call>'
    rows = [
        {"messages": [asked, spoken, {"role": "tool", "content": "4"}, {"role": "assistant", "content": "4"}]},
        {"messages": [asked, silent]},
        {"messages": [asked, {"role": "assistant", "content": "None.", "tool_calls": None}]},
    ]
    found = get_task(str(lines(tmp_path / "own.jsonl", *rows, rows[0]))).load("train")
    assert [turn["content"] for turn in found[0].prompt] == ["f of 2?", f"Let me see.\n{told}", "4"]
    assert [one.completion for one in found] == ["4", told, "None."]
    wrong = {"role": "assistant", "content": "", "tool_calls": [{"name": "f", "arguments": "x=2"}]}
    with pytest.raises(BadInput, match=r"line 1: messages: tool_calls must be a list of functions"):
        get_task(str(lines(tmp_path / "own.jsonl", {"messages": [asked, wrong]})))


def test_one_reply_with_a_marker_is_not_the_form_of_a_file(tmp_path):
    rows = [{"prompt": str(i), "completion": "To answer: yes." if i == 3 else f"number {i}"} for i in range(5)]
    task = get_task(str(lines(tmp_path / "own.jsonl", *rows)))
    assert all(task.grade(one, one.completion).correct for split in ("train", "test") for one in task.load(split))


def test_your_own_reward(tmp_path, monkeypatch):
    (tmp_path / "my_rewards.py").write_text(
        "def long_enough(completions, level, **kwargs):\n"
        "    texts = [c[0]['content'] for c in completions]\n"
        "    return [None if t == 'pass' else 1.0 if len(t) >= n else 0.2 for t, n in zip(texts, level)]\n"
        "def for_plain_text(completions, **kwargs):\n"
        "    return [float(c.endswith('.')) for c in completions]\n"
    )
    monkeypatch.chdir(tmp_path)
    path = lines(tmp_path / "own.jsonl", {"prompt": "Say more.", "completion": "more", "level": 3})
    task = get_task(str(path), reward="my_rewards:long_enough")
    (problem,) = task.load("test")
    assert task.grade(problem, "abc").correct
    assert not task.grade(problem, "ab").correct
    assert not task.grade(problem, "pass").correct
    assert [task.reward(problem, text) for text in ("abc", "ab", "pass")] == [1.0, 0.2, None]
    lines(path, {"prompt": "Say more.", "level": 1})
    assert get_task(str(path), reward="my_rewards:long_enough").load("test"), "without an answer it is tried on another"
    with pytest.raises(BadInput, match=r"'my_rewards:for_plain_text' failed on .*own\.jsonl, line 1.*endswith"):
        get_task(str(path), reward="my_rewards:for_plain_text")


def test_trls_own_rewards_are_rewards(tmp_path):
    path = lines(tmp_path / "own.jsonl", {"prompt": "2 + 3?", "completion": "$5$", "solution": "$5$"})
    task = get_task(str(path), reward="trl.rewards:accuracy_reward")
    (problem,) = task.load("test")
    assert task.grade(problem, r"It is \boxed{5}.").correct
    assert not task.grade(problem, "$6$").correct


def test_a_preference_is_scored_by_its_chosen_reply(tmp_path):
    pair = {"prompt": "1 + 1", "chosen": [{"role": "assistant", "content": "Answer: 2"}], "rejected": "Answer: 3"}
    task = get_task(str(lines(tmp_path / "own.jsonl", pair)))
    (problem,) = task.load("test")
    assert problem.completion is None
    assert problem.columns == {"chosen": "Answer: 2", "rejected": "Answer: 3"}
    without = {"prompt": "1", "completion": "2", "chosen": None, "rejected": None}
    (problem,) = get_task(str(lines(tmp_path / "own.jsonl", without))).load("test")
    assert problem.columns == {}
    assert task.grade(problem, "Answer: 2").correct
    assert not task.grade(problem, "Answer: 3").correct


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('{"prompt": "a", "completion": "b"}\n{"prompt": "a"}\n', "line 2: neither completion nor answer"),
        ('{"prompt": "a", "completion": "b"}\n\nnot json\n', "line 3: not JSON"),
        ('["prompt"]\n', "line 1: a list, not a JSON object"),
        ('{"question": "a"}\n', "line 1: no field prompt or messages; it has question"),
        ('{"prompt": [], "answer": "b"}\n', "prompt must be a list of messages"),
        ('{"messages": [{"role": "user"}], "answer": "b"}\n', "messages must be a list of messages"),
        ('{"messages": [{"role": "assistant", "content": "b"}]}\n', "no user turn"),
        ('{"prompt": "a", "answer": null}\n', "line 1: neither completion nor answer"),
        ('{"prompt": "a", "chosen": "b"}\n', "line 1: chosen alone"),
        ('{"prompt": "a", "chosen": "b", "rejected": 5}\n', "line 1: rejected is 5; it must be text"),
        ('\n{"prompt": "a", "completion": 5}\n', "line 2: completion is 5; it must be text"),
        ("", "has no problems in it"),
    ],
)
def test_a_bad_file_is_named_with_its_line(tmp_path, text, complaint):
    path = tmp_path / "own.jsonl"
    path.write_text(text)
    with pytest.raises(BadInput, match=complaint) as caught:
        get_task(str(path)).load("train")
    assert "own.jsonl" in str(caught.value)


def test_a_bad_upstream_file_is_named_with_its_line(tmp_path):
    with pytest.raises(BadInput, match=r"s\.jsonl, line 2: no field Question"):
        get_task("svamp", lines(tmp_path / "s.jsonl", SVAMP, {"Body": "x", "Answer": 1})).load("test")
    with pytest.raises(BadInput, match="Answer 'many' is not a number"):
        get_task("svamp", lines(tmp_path / "s.jsonl", SVAMP | {"Answer": "many"})).load("test")
    with pytest.raises(BadInput, match="no '#### N' line"):
        get_task("gsm8k", lines(tmp_path / "g.jsonl", {"question": "q", "answer": "5"})).load("test")
    row = {"question": "q", "options": "A)1", "rationale": "r", "correct": "A"}
    with pytest.raises(BadInput, match=r"a\.jsonl, line 1: not as AQuA-RAT publishes its rows"):
        get_task("aqua", lines(tmp_path / "a.jsonl", row)).load("test")
    with pytest.raises(BadInput, match=r"m\.jsonl, line 1: not as MATH-500 publishes its rows"):
        get_task("math500", lines(tmp_path / "m.jsonl", {"problem": 5, "answer": "5"})).load("test")
    with pytest.raises(BadInput, match="no such file"):
        get_task("svamp", tmp_path / "missing.jsonl").load("test")
    (tmp_path / "zip.jsonl.gz").write_bytes(b"not gzip")
    with pytest.raises(BadInput, match="cannot be read"):
        get_task("svamp", tmp_path / "zip.jsonl.gz").load("test")


def test_how_own_answers_are_graded_is_told_by_both_files(tmp_path):
    path = lines(tmp_path / "own.jsonl", {"prompt": "1 + 1?", "answer": "2"})
    test = lines(
        tmp_path / "test.jsonl", {"prompt": "Half?", "answer": "1/2"}, {"prompt": "France?", "answer": "Paris"}
    )
    task = get_task(str(path), test)
    half, france = task.load("test")
    assert not task.grade(half, "1").correct
    assert task.grade(france, "Paris").correct


def test_unknown_names(tmp_path):
    with pytest.raises(BadInput, match="unknown task 'svamq'; there are svamp, gsm8k"):
        get_task("svamq")
    with pytest.raises(BadInput, match="did you mean family_relationships"):
        get_task("reasoning_gym:family")
    path = lines(tmp_path / "own.jsonl", {"prompt": "a", "answer": "b"})
    with pytest.raises(BadInput, match="unknown grader"):
        get_task(str(path), grader="vibes")
    for reward in ("nocolon", "no_such_module_here:f", "json:no_such_function", "json:__name__"):
        with pytest.raises(BadInput, match="reward"):
            get_task(str(path), reward=reward)
    with pytest.raises(BadInput, match="grade of its own"):
        get_task("svamp", grader="exact")


def test_hold_out_is_disjoint_complete_and_seeded():
    problems = [Problem([{"role": "user", "content": str(i)}]) for i in range(100)]
    rest, kept = hold_out(problems, 15, seed=1)
    assert len(kept) == 15
    assert sorted([*rest, *kept], key=lambda p: int(p.question)) == problems
    assert hold_out(problems, 15, seed=1) == (rest, kept)
    assert hold_out(problems, 15, seed=2) != (rest, kept)
    assert len(hold_out(problems[:10], 50, seed=1)[1]) == 2, "never more than a fifth"
