"""The graft: a text model joined to a small vision tower as an ordinary Qwen2.5-VL checkpoint.

The text weights are copied bit for bit; what they lack (biases of zero, embeddings of the four vision tokens) is
added so that text logits do not change. The result is a folder that transformers, PEFT, TRL and vLLM load as it is.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import (
    GenerationConfig,
    PreTrainedTokenizerBase,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
)

from arttune.errors import BadInput
from arttune.families import by_name
from arttune.models.text import TextModel
from arttune.prompts import END, PAD, START, VIDEO

FAMILY = by_name("qwen2_5_vl")
TOWER = {
    "depth": 4,
    "hidden_size": 192,
    "num_heads": 3,
    "intermediate_size": 768,
    "fullatt_block_indexes": [0, 1, 2, 3],
}

# Turns a message's content, a string or a list of parts, into text; a picture becomes its placeholder.
RENDER = (
    "{%- macro render(content) -%}{%- if content is string -%}{{ content }}{%- elif content is iterable -%}"
    "{%- for part in content -%}{%- if part['type'] == 'image' or 'image' in part or 'image_url' in part -%}"
    f"{START}{PAD}{END}"
    "{%- elif 'text' in part -%}{{ part['text'] }}{%- endif -%}{%- endfor -%}{%- endif -%}{%- endmacro -%}"
)


def graft(
    text: TextModel, seed: int = 0, tower: Path | None = None
) -> tuple[Qwen2_5_VLForConditionalGeneration, PreTrainedTokenizerBase]:
    """A float32 Qwen2.5-VL model around `text`, and its tokenizer.

    Its vision tower is the trained one in the safetensors file `tower` (`save_tower`), or a seeded random one. The
    random one is scaled so that the tokens of a noise picture have the norm of the text embeddings: at the usual
    initialisation they are several times larger and drown the text.
    """
    tokenizer = _with_vision_tokens(text.tokenizer)
    shape, weights = (TOWER, None) if tower is None else read_tower(tower)
    config = _config(text, tokenizer, shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen2_5_VLForConditionalGeneration(config).float().eval()
    _copy_text(text, model)
    if weights is None:
        _scale_tower(model, seed)
    else:
        model.model.visual.load_state_dict(weights)
    model.generation_config = GenerationConfig(
        bos_token_id=config.text_config.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return model, tokenizer


def save(model: Qwen2_5_VLForConditionalGeneration, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write a complete checkpoint folder: weights, tokenizer with chat template, and the processors' settings."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    pixels = {
        "size": {"shortest_edge": FAMILY.min_pixels, "longest_edge": FAMILY.max_pixels},
        "patch_size": FAMILY.patch,
        "merge_size": FAMILY.merge,
        "temporal_patch_size": FAMILY.frames,
        "image_mean": list(FAMILY.mean),
        "image_std": list(FAMILY.std),
        "processor_class": "Qwen2_5_VLProcessor",
    }
    for name, kind in (("preprocessor", "image"), ("video_preprocessor", "video")):
        settings = {f"{kind}_processor_type": f"Qwen2VL{kind.capitalize()}Processor"} | pixels
        (folder / f"{name}_config.json").write_text(json.dumps(settings, indent=2) + "\n")


def save_tower(tower: Any, path: Path, about: dict[str, str]) -> None:
    """Write a vision tower's weights in float16, with its shape and `about` in the file's metadata.

    Two bytes a weight; float16 keeps three bits more of each than bfloat16.
    """
    halves = {name: weight.half().contiguous().cpu() for name, weight in tower.state_dict().items()}
    shape = {name: getattr(tower.config, name) for name in TOWER}
    save_file(halves, path, about | {"format": "pt", "shape": json.dumps(shape)})


def read_tower(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """The shape and the float32 weights that `save_tower` wrote."""
    with safe_open(path, "pt") as file:
        # What safe_open gives is no mapping: it has keys, but cannot be iterated.
        weights = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
        return json.loads(file.metadata()["shape"]), weights


def _with_vision_tokens(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    known = tokenizer.get_vocab()
    tokenizer.add_special_tokens(
        {"additional_special_tokens": [t for t in (START, END, PAD, VIDEO) if t not in known]},
        replace_extra_special_tokens=False,
    )
    if tokenizer.pad_token_id in (None, tokenizer.eos_token_id):
        tokenizer.pad_token = "<|endoftext|>"
    template = tokenizer.chat_template
    if PAD not in template:
        content = re.compile(r"(message|messages\[0\])(\['content'\]|\[\"content\"\]|\.content)")
        tokenizer.chat_template = RENDER + content.sub(r"render(\1\2)", template)
    return tokenizer


def _config(text: TextModel, tokenizer: PreTrainedTokenizerBase, shape: dict[str, Any]) -> Qwen2_5_VLConfig:
    old = text.model.config
    ids = {t: tokenizer.convert_tokens_to_ids(t) for t in (START, END, PAD, VIDEO)}
    half = (getattr(old, "head_dim", None) or old.hidden_size // old.num_attention_heads) // 2
    kept = [
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "max_position_embeddings",
        "rms_norm_eps",
        "tie_word_embeddings",
    ]
    return Qwen2_5_VLConfig(
        text_config={name: getattr(old, name) for name in kept}
        | {
            "vocab_size": max(old.vocab_size, len(tokenizer)),
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": old.rope_parameters["rope_theta"],
                # Qwen2.5-VL gives a quarter of the rotary frequencies to time, the rest to height and width.
                "mrope_section": [half // 4, (half - half // 4) // 2, (half - half // 4) // 2],
            },
            "bos_token_id": old.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        vision_config=shape | {"out_hidden_size": old.hidden_size, "patch_size": FAMILY.patch},
        image_token_id=ids[PAD],
        video_token_id=ids[VIDEO],
        vision_start_token_id=ids[START],
        vision_end_token_id=ids[END],
        tie_word_embeddings=old.tie_word_embeddings,
        dtype="float32",
    )


@torch.no_grad()
def _copy_text(text: TextModel, model: Qwen2_5_VLForConditionalGeneration) -> None:
    target = dict(model.model.language_model.named_parameters())
    source = dict(text.model.model.named_parameters())
    if set(source) - set(target):
        raise BadInput(f"the graft has no place for the text model's {', '.join(sorted(set(source) - set(target)))}")
    for name, parameter in target.items():
        if name == "embed_tokens.weight":
            _copy_rows(source[name], parameter)
            for mark in (model.config.vision_start_token_id, model.config.vision_end_token_id):
                if mark >= len(source[name]):
                    parameter[mark] = _break(text)
        elif name in source:
            parameter.copy_(source[name])
        elif name.endswith(".bias"):
            parameter.zero_()
        else:
            raise ValueError(f"the text model has no weight for {name}")
    if not model.config.tie_word_embeddings:
        _copy_rows(text.model.lm_head.weight, model.lm_head.weight)


def _copy_rows(old: torch.Tensor, new: torch.Tensor) -> None:
    """Vocabulary rows; a token the text model does not have gets the mean row, whose logit is never near the top."""
    new[: len(old)].copy_(old)
    new[len(old) :].copy_(old.mean(dim=0))


def _break(text: TextModel) -> torch.Tensor:
    """The embedding `(width,)` of the marks before and after a picture: read as a line break, never written.

    Two marks with the mean row in front cost GSM8K 0.16 nats a token with smol, two line breaks 0.013. But where the
    embeddings are also the output head, a row like the line break's is as likely an answer. So it is shorter, and
    moved against the mean hidden state, which takes 15 nats off its logit: 0.016 nats, and at most once in 700 times an
    answer where a line break is certain.
    """
    rows = text.model.get_input_embeddings().weight
    # An even sample of the vocabulary, read as one text, has the same common direction as real text, and needs none.
    sample = torch.arange(0, len(rows), max(1, len(rows) // 512))[None]
    common = text.model.model(input_ids=sample).last_hidden_state[0].mean(dim=0)
    newline = text.tokenizer("\n", add_special_tokens=False)["input_ids"]
    return 0.7 * rows[newline[-1]] - 15 * common / common.square().sum()


@torch.no_grad()
def _scale_tower(model: Qwen2_5_VLForConditionalGeneration, seed: int) -> None:
    side = FAMILY.default_side
    noise = torch.rand(3, side, side, generator=torch.Generator().manual_seed(seed))
    grid = torch.tensor([FAMILY.grid((side, side))])
    tokens = model.model.get_image_features(FAMILY.patches(noise), grid, return_dict=True).pooler_output[0]
    wish = model.get_input_embeddings().weight.norm(dim=1).mean()
    last: Any = model.model.visual.merger.mlp[2]
    factor = wish / tokens.norm(dim=1).mean()
    last.weight.mul_(factor)
    last.bias.mul_(factor)
