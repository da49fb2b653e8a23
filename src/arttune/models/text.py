"""Reads the text model and tokenizer that a graft starts from: a transformers folder or one GGUF file.

transformers dequantises GGUF weights itself; what it leaves out are details of the tokenizer (whether digits are
split one by one, which regex cuts words), and those are restored here from the file's `tokenizer.ggml.pre`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from gguf import GGUFReader
from tokenizers import Regex, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from arttune.errors import BadInput

SUPPORTED = ("llama", "qwen2")
# Qwen2's word regex, from transformers' Qwen2Tokenizer.
QWEN2_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass
class TextModel:
    """A float32 causal language model and its tokenizer."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase


def read_text_model(source: Path) -> TextModel:
    """Load a Llama- or Qwen2-type text model from a folder or a `.gguf` file, in float32.

    Raises `BadInput` for another architecture or an unreadable file.
    """
    if source.is_dir():
        model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(source)
    elif source.is_file():
        model, tokenizer = _from_gguf(source)
    else:
        raise BadInput(f"{source}: no such file or folder; give a transformers folder or a .gguf file")
    if model.config.model_type not in SUPPORTED:
        raise BadInput(
            f"{source} is a {model.config.model_type} model; the graft takes {' and '.join(SUPPORTED)} types"
        )
    kind = model.config.rope_parameters["rope_type"]
    if kind != "default":
        raise BadInput(f"{source} scales its rotary positions ({kind}); the graft takes models with plain ones")
    if tokenizer.chat_template is None:
        raise BadInput(f"{source}: its tokenizer has no chat template; the graft takes chat models")
    return TextModel(model.eval(), tokenizer)


def _from_gguf(path: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    try:
        field = GGUFReader(path).get_field("tokenizer.ggml.pre")
    except (ValueError, OSError, KeyError, IndexError) as error:
        raise BadInput(f"{path} is no readable GGUF file ({error}); fetch it again") from None
    kind = str(field.contents()) if field is not None else ""
    model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    cut: list[pre_tokenizers.PreTokenizer]
    if kind == "smollm":
        cut = [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    elif kind == "qwen2":
        cut = [
            pre_tokenizers.Split(Regex(QWEN2_WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    else:
        raise BadInput(f"{path}: tokenizer type {kind!r} is not known here; give the model as a transformers folder")
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(cut)
    return model, tokenizer
