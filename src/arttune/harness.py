"""lm-evaluation-harness (EleutherAI) with a painting: its model `arttune`, so that its tasks run with the picture.

    arttune lm-eval run --model arttune --model_args pretrained=smol,painting=runs/svamp/art.png \\
        --tasks gsm8k_cot_zeroshot --apply_chat_template

Releases after 0.4.13 find the model by themselves (`lm-eval run --model arttune ...`).
"""

from __future__ import annotations

import hashlib
import logging
from typing import Any

import torch
from lm_eval.__main__ import cli_evaluate
from lm_eval.api.registry import register_model
from lm_eval.models.huggingface import HFLM

from arttune.canvas import Painting
from arttune.errors import BadInput
from arttune.evaluate import plainly
from arttune.loading import load
from arttune.models import load_model
from arttune.prompts import START, fix_template, placeholder, with_picture
from arttune.scoring import of_another, painting_file
from arttune.tuner import art_layer

__all__ = ["ArtLM", "cli_evaluate"]


# What is passed on to the harness's own class.
TAKEN = (
    *("batch_size", "max_batch_size", "max_length", "truncation", "logits_cache", "add_bos_token", "prefix_token_id"),
    *("softmax_dtype", "mixed_precision_dtype", "think_end_token", "enable_thinking", "chat_template_args"),
)


@register_model("arttune")
class ArtLM(HFLM):  # type: ignore[misc]  # the harness has no types
    """The harness's transformers model that looks at a painting.

    `pretrained` is what `arttune eval --model` takes, by default the painting's own model or else smol; `painting` a
    PNG or run folder (none: the text alone); `dtype` bfloat16, float32 or auto, the faster here; `TAKEN` are as with
    `hf`. The picture stands in the first user turn, or, without a chat template, before everything else. Likelihoods
    are those of a text behind the picture, so a task whose requests have no context, or are whole documents, is
    refused. Raises `BadInput`.
    """

    def __init__(
        self, pretrained: str | None = None, painting: str | None = None, dtype: str = "auto", **rest: Any
    ) -> None:
        unknown = sorted(set(rest) - {*TAKEN, "device"})
        if unknown:
            raise BadInput(
                f"the model arttune has no {', '.join(unknown)}; "
                f"it takes pretrained, painting, dtype, {', '.join(TAKEN)}"
            )
        if painting and str(rest.get("batch_size", "")).startswith("auto"):
            raise BadInput("batch_size auto is tried out on texts without the picture; give a number")
        art = painting_file(painting) if painting else None
        made = Painting.load(art).provenance if art else None
        pretrained = pretrained or (made and made.model) or "smol"
        loaded = load_model(pretrained, dtype)
        if art is not None:
            for warning in of_another(art, "painted", made.model if made else None, pretrained, loaded):
                logging.getLogger(__name__).warning(warning)
        fix_template(loaded.tokenizer, made.template if made else {})
        model = loaded.model
        model.generation_config = plainly(model.generation_config, loaded.tokenizer.pad_token_id)
        self.picture, self.sha = 0, ""
        if art is not None:
            self.sha = hashlib.sha256(art.read_bytes()).hexdigest()[:12]
            model = load(model, art)
            self.picture = art_layer(model).configs["default"].tokens
        rest.pop("device", None)  # the model is where it is
        super().__init__(pretrained=model, tokenizer=loaded.tokenizer, **rest)

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The conversation as text, with the picture."""
        shown = with_picture(chat_history, self.picture) if self.picture else chat_history
        return str(super().apply_chat_template(shown, add_generation_prompt))

    @property
    def tokenizer_name(self) -> str:
        """What the harness keeps cached requests under: prompts differ by their picture."""
        return f"{super().tokenizer_name}{self.sha}"

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Log-probabilities of continuations behind the picture and their contexts."""
        if self.picture and any(not request.args[0] for request in requests):
            raise BadInput(
                "this task has requests without a context, where the picture would be part of what is judged"
            )
        return list(super().loglikelihood(requests, disable_tqdm))

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        """Log-probabilities of whole documents, of the text alone."""
        if self.picture:
            raise BadInput("this task judges whole documents, and the picture would be part of them")
        return list(super().loglikelihood_rolling(requests, disable_tqdm))

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        before, after = super()._encode_pair(self._shown(context), continuation)
        if self.picture and len(before) + len(after) > self.max_length + 1:  # the harness would cut from the left
            raise _too_long(self.max_length)
        return before, after

    def tok_batch_encode(
        self,
        strings: list[str],
        padding_side: str = "left",
        left_truncate_len: int | None = None,
        truncation: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids and mask `(rows, length)`. Raises `BadInput` if a row is so long that its picture would be cut."""
        shown = [self._shown(one) for one in strings]
        ids, mask = super().tok_batch_encode(shown, padding_side, left_truncate_len, truncation)
        pads = (ids == self.model.config.image_token_id).sum(dim=1)
        if self.picture and bool((pads != self.picture).any()):
            raise _too_long(left_truncate_len)
        return ids, mask

    def _shown(self, text: str) -> str:
        return text if not self.picture or START in text else placeholder(self.picture) + text


def _too_long(most: int | None) -> BadInput:
    return BadInput(f"a prompt is longer than {most} tokens; cutting it would cut the picture")
