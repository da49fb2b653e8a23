"""Where the picture goes in a conversation: at the start of the first user turn, before any text.

That is where the chat templates of all Qwen-VL models put an image part that comes first, so a stock server given
the picture and then the question builds the very same tokens.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import partial
from typing import Any

from datasets import Dataset, DatasetDict, IterableDataset, IterableDatasetDict
from transformers import PreTrainedTokenizerBase

from arttune.errors import BadInput
from arttune.tasks import Problem
from arttune.tasks.written import TAGGED, WRITTEN, read, write
from arttune.tuner.config import ArtConfig

START, PAD, END = "<|vision_start|>", "<|image_pad|>", "<|vision_end|>"
VIDEO = "<|video_pad|>"
TURN, USER = "<|im_start|>", "<|im_start|>user\n"  # as the chat templates of all Qwen-VL models write them
NOWHERE = "a conversation without a user turn has no place for the picture"
MARK = "\u2042"  # stands for a text, to find where a template puts it


def placeholder(tokens: int) -> str:
    """The text that a processor would expand one picture of `tokens` tokens into."""
    return START + PAD * tokens + END


def with_picture(conversation: Any, tokens: int) -> Any:
    """A conversation (list of messages) or string with the placeholders of a canvas of `tokens` tokens in place.

    In a string that a chat template has made that is at the start of the first user turn, too, else of the string.
    `tokens` is `ArtConfig.tokens`. Raises `BadInput` if there is no user turn, or if the picture is already there.
    """
    if isinstance(conversation, str):
        _refuse_twice(conversation)
        before, turn, text = conversation.partition(USER)
        if turn:
            return before + turn + placeholder(tokens) + text
        if TURN in conversation:
            raise BadInput(NOWHERE)
        return placeholder(tokens) + conversation
    messages = [dict(message) for message in conversation]
    for message in messages:
        if message.get("role") == "user":
            if not isinstance(message.get("content"), str):
                raise BadInput(
                    "a user turn's content must be a string: ART's batches are text, the canvas is the picture"
                )
            _refuse_twice(message["content"])
            message["content"] = placeholder(tokens) + message["content"]
            return messages
    raise BadInput(NOWHERE)


def without_picture(conversation: list[dict[str, str]]) -> list[dict[str, str]]:
    """A conversation as it was before `with_picture`, for a server that gets the picture itself."""
    messages = [dict(message) for message in conversation]
    turn = next(message for message in messages if message["role"] == "user")
    turn["content"] = re.sub(f"^{re.escape(START)}(?:{re.escape(PAD)})+{re.escape(END)}", "", turn["content"])
    return messages


def with_instruction(conversation: list[dict[str, str]], instruction: str) -> list[dict[str, str]]:
    """A conversation whose last user turn ends with `instruction`: what one writes who has no painting."""
    messages = [dict(message) for message in conversation]
    turn = next(message for message in reversed(messages) if message["role"] == "user")
    turn["content"] = f"{turn['content']}\n\n{instruction}"
    return messages


def with_prefix(conversation: list[dict[str, str]], text: str) -> list[dict[str, str]]:
    """A conversation whose first user turn begins with `text` and a new line: where a picture would stand."""
    at = next(i for i, turn in enumerate(conversation) if turn["role"] == "user")
    turn = {"role": "user", "content": f"{text}\n{conversation[at]['content']}"}
    return [*conversation[:at], turn, *conversation[at + 1 :]]


# What Qwen's chat templates say of tools.
TOOLS = (
    "# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are provided with function "
    "signatures within <tools></tools> XML tags:\n<tools>\n{tools}\n</tools>\n\nFor each function call, return a json "
    "object with function name and arguments within <tool_call></tool_call> XML tags:\n<tool_call>\n"
    '{{"name": <function-name>, "arguments": <args-json-object>}}\n</tool_call>'
)

WAYS = ('"arguments": <args-json-object>', TAGGED)  # of writing calls, by what templates say of them


def with_tools(
    conversation: list[dict[str, str]], tools: list[dict[str, Any]], tokenizer: PreTrainedTokenizerBase
) -> list[dict[str, str]]:
    """A conversation that says of `tools` what the chat template would say, had it been given them.

    What it would put into the system turn stands there as text, so that all who take conversations (trainers, servers)
    come to the very same tokens and need not know of tools. Where the template does not take any, or wants calls to be
    written in a way that is not read here (`tasks.written`), the first user turn begins with what Qwen's say.
    """
    if not tools:
        return conversation
    rest = conversation[1:] if conversation[0]["role"] == "system" else conversation
    apply = partial(tokenizer.apply_chat_template, tokenize=False)
    told = str(apply(conversation, tools=tools))
    head, _, tail = str(apply([{"role": "system", "content": MARK}, *rest])).partition(MARK)
    if any(way in told for way in WAYS) and told.startswith(head) and told.endswith(tail):
        system = {"role": "system", "content": told[len(head) : len(told) - len(tail)]}
        if apply([system, *rest]) == told:
            return [system, *rest]
    words = TOOLS.format(tools="\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools))
    return with_prefix(conversation, f"{words}\n")


def telling_tools(problems: list[Problem], tokenizer: PreTrainedTokenizerBase) -> list[Problem]:
    """Problems whose prompts say of their tools what `with_tools` does, and whose completions call as they say."""
    told = [replace(one, prompt=with_tools(one.prompt, one.tools, tokenizer)) for one in problems]
    return [_as_asked(one) if one.tools and TAGGED in one.prompt[0]["content"] else one for one in told]


def _as_asked(problem: Problem) -> Problem:
    pair = {name: _tagged(problem.columns[name]) for name in ("chosen", "rejected") if name in problem.columns}
    completion = None if problem.completion is None else _tagged(problem.completion)
    said = [
        turn | {"content": _tagged(turn["content"])} if turn["role"] == "assistant" else turn for turn in problem.prompt
    ]
    return replace(problem, prompt=said, completion=completion, columns=problem.columns | pair)


def _tagged(text: str) -> str:
    """`text` with its calls as Qwen3.5 writes them."""

    def rewritten(found: re.Match[str]) -> str:
        return write(read(found[0]) or [], tagged=True) or found[0]

    return WRITTEN.sub(rewritten, text)


def lengths(problems: list[Problem], tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """How many tokens the prompt of each problem has, as the chat template words it, without a picture."""
    return [len(ids) for ids in tokens(problems, tokenizer)]


def tokens(problems: list[Problem], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """The prompt of each problem as the model reads it, without a picture."""
    texts = [tokenizer.apply_chat_template(one.prompt, tokenize=False, add_generation_prompt=True) for one in problems]
    found: list[list[int]] = tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []
    return found


def worded(
    problems: list[Problem], tokenizer: PreTrainedTokenizerBase, most: int | None = None, limit: int | None = None
) -> list[Problem]:
    """Problems as a model is asked them: tools told, prompts of at most `most` tokens, the first `limit` of those."""
    if most is None:
        return telling_tools(problems[:limit], tokenizer)
    told = telling_tools(problems, tokenizer)
    return [one for one, length in zip(told, lengths(told, tokenizer), strict=True) if length <= most][:limit]


def fix_template(tokenizer: PreTrainedTokenizerBase, arguments: dict[str, Any]) -> None:
    """Make `arguments` (`{"enable_thinking": False}`) part of the chat template, so that whoever applies it has them.

    Raises `BadInput` where there is no template, or for a value that is not text, a number or true or false.
    """
    if arguments and not isinstance(tokenizer.chat_template, str):
        raise BadInput(f"template: this tokenizer has no chat template that could take {', '.join(arguments)}")
    for name, value in arguments.items():
        if not name.isidentifier() or not isinstance(value, (str, int, float, bool)):
            raise BadInput(f"template: {name}={value} is no argument; write name=true, name=3 or name=text")
    fixed = "".join(f"{{% set {name} = {json.dumps(value)} %}}" for name, value in arguments.items())
    tokenizer.chat_template = fixed + tokenizer.chat_template if fixed else tokenizer.chat_template


def _refuse_twice(text: str) -> None:
    if PAD in text:
        raise BadInput("the picture's placeholders are already in the text; arttune.prepare is called once")


def check_tokenizer(tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise `BadInput` unless each vision token is one token of `tokenizer`."""
    missing = [t for t in (START, PAD, END) if len(tokenizer(t, add_special_tokens=False)["input_ids"]) != 1]
    if missing:
        raise BadInput(f"this tokenizer does not know {', '.join(missing)}; use the tokenizer of the multimodal model")


def prepare(
    dataset: Dataset | IterableDataset, tokenizer: PreTrainedTokenizerBase, config: ArtConfig
) -> Dataset | IterableDataset:
    """A text dataset with the picture's placeholders put in, ready for any TRL trainer.

    The columns are TRL's: `prompt` (string or messages), `messages`, `text`, and, where there is no `prompt`,
    `chosen` and `rejected`. `config` must know its family: after `get_peft_model`, or `ArtConfig(family=...)`.
    """
    check_tokenizer(tokenizer)
    tokens = config.tokens
    if isinstance(dataset, (DatasetDict, IterableDatasetDict)):
        raise BadInput(f"pass one split of the data set; it has {', '.join(dataset)}")
    columns = dataset.column_names or list(next(iter(dataset)))
    targets = (
        ["prompt"] if "prompt" in columns else [c for c in ("messages", "text", "chosen", "rejected") if c in columns]
    )
    if not targets:
        raise BadInput(
            f"no column to put the picture in; need prompt, messages, text or chosen/rejected, got {columns}"
        )

    def put(row: dict[str, Any]) -> dict[str, Any]:
        return {name: with_picture(row[name], tokens) for name in targets}

    return dataset.map(put)
