"""Tiny random models of the four families, a byte tokenizer for them, and transformers' own processors.

Nothing here is fetched. The weights are random but larger than usual, so that attention is far from uniform and a
wrong position or a misplaced patch shows in the logits.
"""

from __future__ import annotations

import os
from functools import cache

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForImageTextToText,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLProcessor,
    Qwen2VLConfig,
    Qwen2VLProcessor,
    Qwen3_5Config,
    Qwen3VLConfig,
    Qwen3VLProcessor,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from arttune.families import FAMILIES, Family
from arttune.models.graft import RENDER
from arttune.prompts import END, PAD, START, VIDEO

NAMES = list(FAMILIES)
REAL = pytest.mark.skipif("ARTTUNE_DATA" not in os.environ, reason="ARTTUNE_DATA names no folder with real data in it")
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", START, END, PAD, VIDEO]
CHATML = (
    RENDER
    + "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + render(message['content']) + "
    + "'<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@cache
def tokenizer() -> PreTrainedTokenizerFast:
    """Every byte is a token; the vision and ChatML tokens come after."""
    return _bytes(SPECIALS, CHATML)


def plain_tokenizer() -> PreTrainedTokenizerFast:
    """The same without vision tokens, and with a template that takes text alone: what a text model brings."""
    return _bytes(SPECIALS[:3], CHATML.removeprefix(RENDER).replace("render(message['content'])", "message['content']"))


def _bytes(specials: list[str], template: str) -> PreTrainedTokenizerFast:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE({letter: i for i, letter in enumerate(letters)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        additional_special_tokens=specials,
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
    )
    made.chat_template = template
    return made


def tiny(name: str, dtype: torch.dtype = torch.float32, seed: int = 0) -> PreTrainedModel:
    """A random model of the family `name`, two to four layers deep, in evaluation mode."""
    ids = {s: tokenizer().convert_tokens_to_ids(s) for s in SPECIALS}
    text = {
        "vocab_size": len(tokenizer()),
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "bos_token_id": None,
        "eos_token_id": ids["<|im_end|>"],
        "pad_token_id": ids["<|endoftext|>"],
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]},
    }
    marks = {
        "image_token_id": ids[PAD],
        "video_token_id": ids[VIDEO],
        "vision_start_token_id": ids[START],
        "vision_end_token_id": ids[END],
    }
    if name == "qwen2_vl":
        vision = {"depth": 2, "embed_dim": 32, "num_heads": 2, "hidden_size": 64}
        config = Qwen2VLConfig(text_config=text, vision_config=vision, **marks)
    elif name == "qwen2_5_vl":
        vision = {"depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "out_hidden_size": 64}
        config = Qwen2_5_VLConfig(text_config=text, vision_config=vision | {"fullatt_block_indexes": [1]}, **marks)
    else:
        vision = {"depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "out_hidden_size": 64}
        vision |= {"num_position_embeddings": 256}
        if name == "qwen3_vl":
            text |= {"head_dim": 16}
            config = Qwen3VLConfig(text_config=text, vision_config=vision | {"deepstack_visual_indexes": [0]}, **marks)
        else:
            rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1]}
            text |= {
                "head_dim": 32,
                "num_hidden_layers": 4,
                "linear_key_head_dim": 16,
                "linear_value_head_dim": 16,
                "linear_num_key_heads": 2,
                "linear_num_value_heads": 4,
                "rope_parameters": rope | {"partial_rotary_factor": 0.25},
            }
            config = Qwen3_5Config(text_config=text, vision_config=vision, **marks)
    # The recurrent layers of Qwen3.5 amplify: at the others' gain its loss is too rough to differentiate.
    gain = 0.2 if name == "qwen3_5" else 1.5
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForImageTextToText.from_config(config, dtype=torch.float32)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() > 1:
                    parameter.normal_(std=gain / parameter[0].numel() ** 0.5)
    return model.to(dtype).eval().requires_grad_(False)


def image_processor(family: Family) -> Qwen2VLImageProcessorPil:
    """transformers' own image processor with the family's released settings."""
    return Qwen2VLImageProcessorPil(
        patch_size=family.patch,
        merge_size=family.merge,
        temporal_patch_size=family.frames,
        image_mean=list(family.mean),
        image_std=list(family.std),
        size={"shortest_edge": family.min_pixels, "longest_edge": family.max_pixels},
    )


def processor(name: str) -> Qwen2VLProcessor:
    """transformers' own processor of the family (pictures and text; no video, which needs torchvision)."""
    kind = {"qwen2_vl": Qwen2VLProcessor, "qwen2_5_vl": Qwen2_5_VLProcessor}.get(name, Qwen3VLProcessor)

    # A base class that is chosen at run time is beyond the type checker.
    class PictureProcessor(kind):  # type: ignore[misc, valid-type]
        """The same without its video part."""

        def check_argument_for_proper_class(self, argument_name, argument):
            if argument_name != "video_processor":
                return super().check_argument_for_proper_class(argument_name, argument)
            return None

    return PictureProcessor(image_processor(FAMILIES[name]), tokenizer(), None, chat_template=CHATML)
