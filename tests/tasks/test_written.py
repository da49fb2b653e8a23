"""Tagged calls against Qwen3.5's own chat template (TRL's copy): it writes what we read, and we write what it does."""

from __future__ import annotations

from importlib.resources import files

import pytest

import zoo
from arttune.prompts import telling_tools
from arttune.tasks.calls import asked, grade
from arttune.tasks.written import read, write

FUNCTION = {
    "name": "find",
    "description": "Find.",
    "parameters": {
        "type": "object",
        "properties": {
            "text": {"type": "string"},
            "count": {"type": "integer"},
            "share": {"type": "float"},
            "deep": {"type": "boolean"},
            "within": {"type": "array", "items": {"type": "string"}},
            "how": {"type": "dict"},
        },
        "required": ["text"],
    },
}
CALLS = [
    ("find", {"text": "two\nlines, 5", "count": 3, "share": 0.5, "deep": True, "within": ["a", "b"], "how": {"a": 1}}),
    ("find", {"text": "5"}),
]


@pytest.fixture
def tokenizer():
    template = (files("trl") / "chat_templates" / "qwen3_5_nothink.jinja").read_text(encoding="utf-8")
    return zoo._bytes(zoo.SPECIALS, template)


def test_the_template_writes_calls_as_we_do(tokenizer):
    made = [{"type": "function", "function": {"name": name, "arguments": values}} for name, values in CALLS]
    turns = [{"role": "user", "content": "ask"}, {"role": "assistant", "content": "", "tool_calls": made}]
    rendered = tokenizer.apply_chat_template(turns, tokenize=False)
    assert write(CALLS, tagged=True) in rendered
    assert read(rendered, [FUNCTION]) == CALLS


def test_a_prompt_tells_tools_as_the_template_and_is_answered_so(tokenizer):
    turn = {"role": "user", "content": "ask"}
    problem = asked([turn], [FUNCTION], [("find", {"text": ["5"]})], "I look: " + write(CALLS[1:]), "")
    (told,) = telling_tools([problem], tokenizer)
    theirs = tokenizer.apply_chat_template([turn], tools=problem.tools, tokenize=False, add_generation_prompt=True)
    assert tokenizer.apply_chat_template(told.prompt, tokenize=False, add_generation_prompt=True) == theirs
    assert told.completion == "I look: " + write(CALLS[1:], tagged=True)
    assert grade(told, told.completion).correct
    (plain,) = telling_tools([problem], zoo.tokenizer())
    assert plain.completion == problem.completion


@pytest.mark.parametrize(
    ("inner", "found"),
    [
        ("<function=f>\n</function>", ("f", {})),
        ("<function=f>\n<parameter=a>\n1\n</parameter>\n</function>", ("f", {"a": "1"})),
        ("<function=f><parameter=a>1</parameter></function>", ("f", {"a": "1"})),
        ("<function=find>\n<parameter=count>\nmany\n</parameter>\n</function>", ("find", {"count": "many"})),
        ("<function=find>\n<parameter=deep>\nFalse\n</parameter>\n</function>", ("find", {"deep": False})),
        ("<function=f>\n<parameter=a>\n1\n</function>", None),
        ("<function=f>\nwords\n</function>", None),
        ("<function=f>", None),
    ],
)
def test_what_is_malformed_is_known(inner, found):
    assert read(f"so <tool_call>\n{inner}\n</tool_call>", [FUNCTION]) == (None if found is None else [found])
