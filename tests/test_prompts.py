"""Where the picture goes: the same text that transformers' processors build."""

from __future__ import annotations

import json

import pytest
from datasets import Dataset, DatasetDict
from PIL import Image

import zoo
from arttune import ArtConfig, prepare
from arttune.errors import BadInput
from arttune.families import FAMILIES
from arttune.prompts import PAD, fix_template, placeholder, with_picture, with_tools, without_picture

TURNS = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is 2 + 2?"}]


def processor_ids(name: str, conversation: list[dict]) -> list[int]:
    family = FAMILIES[name]
    processor = zoo.processor(name)
    picture = Image.new("RGB", (family.default_side, family.default_side))
    text = processor.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True)
    return processor(text=[text], images=[picture])["input_ids"][0]


def our_ids(name: str, conversation: list[dict]) -> list[int]:
    shown = with_picture(conversation, ArtConfig(family=name).tokens)
    text = zoo.tokenizer().apply_chat_template(shown, tokenize=False, add_generation_prompt=True)
    return zoo.tokenizer()(text)["input_ids"]


def test_token_ids_equal_the_processors(family_name):
    parts = [{"type": "image"}, {"type": "text", "text": TURNS[1]["content"]}]
    assert our_ids(family_name, TURNS) == processor_ids(family_name, [TURNS[0], {"role": "user", "content": parts}])


def test_the_picture_comes_before_the_question():
    """Fails if the placeholders are put behind the text: a server shows the picture where its part stands."""
    after = [{"type": "text", "text": TURNS[1]["content"]}, {"type": "image"}]
    assert our_ids("qwen2_5_vl", TURNS) != processor_ids("qwen2_5_vl", [TURNS[0], {"role": "user", "content": after}])
    content = with_picture(TURNS, 64)[1]["content"]
    assert content.startswith(placeholder(64))
    assert content.endswith("What is 2 + 2?")


def test_only_the_first_user_turn_gets_the_picture():
    turns = [*TURNS, {"role": "assistant", "content": "4"}, {"role": "user", "content": "Sure?"}]
    shown = with_picture(turns, 4)
    assert [PAD in m["content"] for m in shown] == [False, True, False, False]
    assert turns[1]["content"] == "What is 2 + 2?", "the caller's messages are left alone"


@pytest.mark.parametrize(
    ("columns", "touched"),
    [
        ({"prompt": "hi", "completion": "ho"}, ["prompt"]),
        ({"prompt": TURNS, "chosen": [{"role": "assistant", "content": "4"}], "rejected": [TURNS[1]]}, ["prompt"]),
        ({"messages": TURNS}, ["messages"]),
        ({"text": "hi"}, ["text"]),
        ({"chosen": TURNS, "rejected": TURNS}, ["chosen", "rejected"]),
    ],
)
def test_prepare_knows_the_columns_of_trl(columns, touched):
    prepared = prepare(Dataset.from_list([columns]), zoo.tokenizer(), ArtConfig(family="qwen2_5_vl"))
    for name in columns:
        assert str(prepared[0][name]).count(PAD) == (64 if name in touched else 0), name


def test_prepare_takes_a_stream_and_one_split():
    config, row = ArtConfig(family="qwen2_5_vl"), {"prompt": TURNS, "completion": "4"}
    stream = prepare(Dataset.from_list([row] * 3).to_iterable_dataset(), zoo.tokenizer(), config)
    assert [str(one["prompt"]).count(PAD) for one in stream] == [64] * 3
    both = DatasetDict(train=Dataset.from_list([row]), test=Dataset.from_list([row]))
    with pytest.raises(BadInput, match="one split of the data set; it has train, test"):
        prepare(both, zoo.tokenizer(), config)
    parts = [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]
    with pytest.raises(BadInput, match="must be a string"):
        prepare(Dataset.from_list([{"messages": parts}]), zoo.tokenizer(), config)


def test_the_picture_goes_as_it_came():
    assert without_picture(with_picture(TURNS, 64)) == TURNS


def test_a_string_that_a_template_made_has_the_picture_where_the_template_puts_it():
    def apply(turns):
        return zoo.tokenizer().apply_chat_template(turns, tokenize=False)

    assert with_picture(apply(TURNS), 4) == apply(with_picture(TURNS, 4))
    with pytest.raises(BadInput, match="without a user turn"):
        with_picture(apply(TURNS[:1]), 4)


def test_prepare_is_called_once():
    config = ArtConfig(family="qwen2_5_vl")
    once = prepare(Dataset.from_list([{"prompt": "hi", "completion": "ho"}]), zoo.tokenizer(), config)
    with pytest.raises(BadInput, match="called once"):
        prepare(once, zoo.tokenizer(), config)


def test_prepare_needs_a_family_a_place_and_the_tokens():
    dataset = Dataset.from_list([{"prompt": "hi", "completion": "ho"}])
    with pytest.raises(ValueError, match="no family yet"):
        prepare(dataset, zoo.tokenizer(), ArtConfig())
    with pytest.raises(BadInput, match="no column"):
        prepare(dataset.rename_column("prompt", "input"), zoo.tokenizer(), ArtConfig(family="qwen2_5_vl"))
    with pytest.raises(BadInput, match="without a user turn"):
        with_picture([TURNS[0]], 4)


def test_fixed_arguments_are_as_if_given_each_time():
    """The reference is transformers' own way to give them."""
    free, fixed = zoo.plain_tokenizer(), zoo.plain_tokenizer()
    template = "{% if thinking is false %}\n{{ mood ~ 2 * times ~ '\n' }}{% endif %}\n" + free.chat_template
    free.chat_template = fixed.chat_template = template
    arguments = {"thinking": False, "mood": 'it\'s "so"', "times": 3}
    fix_template(fixed, arguments)
    for turns in (TURNS, TURNS[:1]):
        wanted = free.apply_chat_template(turns, tokenize=False, add_generation_prompt=True, **arguments)
        assert fixed.apply_chat_template(turns, tokenize=False, add_generation_prompt=True) == wanted
        assert wanted != free.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)


def test_arguments_that_no_template_could_take():
    tokenizer = zoo.plain_tokenizer()
    with pytest.raises(BadInput, match="template: a-b=1 is no argument"):
        fix_template(tokenizer, {"a-b": 1})
    with pytest.raises(BadInput, match="template: a=None is no argument"):
        fix_template(tokenizer, {"a": None})
    tokenizer.chat_template = None
    with pytest.raises(BadInput, match="no chat template that could take a"):
        fix_template(tokenizer, {"a": 1})
    fix_template(tokenizer, {})


TOOL = {"type": "function", "function": {"name": "now", "description": "The <time>", "parameters": {"type": "object"}}}
# The part of Qwen2.5's chat template that is about tools.
QWEN = (
    "{%- macro turn(role, content) %}{{ '<|im_start|>' + role + '\n' + content + '<|im_end|>\n' }}{%- endmacro %}"
    "{%- if messages[0].role == 'system' %}{%- set system = messages[0].content %}{%- set rest = messages[1:] %}"
    "{%- else %}{%- set system = 'You are Qwen.' %}{%- set rest = messages %}{%- endif %}"
    "{%- if tools %}{%- set told %}\n\n# Tools\n\n<tools>{% for tool in tools %}\n{{ tool | tojson }}{% endfor %}\n"
    '</tools>\n{"name": <function-name>, "arguments": <args-json-object>}{%- endset %}'
    "{{- turn('system', system + told) }}{%- else %}{{- turn('system', system) }}{%- endif %}"
    "{%- for message in rest %}{{- turn(message.role, message.content) }}{%- endfor %}"
)


@pytest.mark.parametrize("system", [[], [{"role": "system", "content": "Be brief."}]])
def test_tools_are_told_as_the_template_tells_them(system):
    tokenizer = zoo.plain_tokenizer()
    tokenizer.chat_template = QWEN
    talk = [*system, {"role": "user", "content": "Now?"}]
    told = tokenizer.apply_chat_template(talk, tools=[TOOL], tokenize=False)
    shown = with_tools(talk, [TOOL], tokenizer)
    assert tokenizer.apply_chat_template(shown, tokenize=False) == told
    assert [turn["role"] for turn in shown] == ["system", "user"]
    assert '"The <time>"' in shown[0]["content"] or "The \\u003ctime\\u003e" in shown[0]["content"]
    assert with_tools(talk, [], tokenizer) == talk


@pytest.mark.parametrize("template", [None, QWEN.replace("<args-json-object>", "<xml>")])
def test_a_template_that_has_no_words_for_tools_gets_qwens(template):
    """It knows none, or wants calls written in another way."""
    tokenizer = zoo.plain_tokenizer()
    tokenizer.chat_template = template or tokenizer.chat_template
    talk = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Now?"},
        {"role": "user", "content": "?"},
    ]
    shown = with_tools(talk, [TOOL], tokenizer)
    assert [shown[0], shown[2]] == [talk[0], talk[2]]
    assert shown[1]["content"].startswith("# Tools\n")
    assert json.dumps(TOOL) in shown[1]["content"]
    assert shown[1]["content"].endswith("</tool_call>\n\nNow?")
