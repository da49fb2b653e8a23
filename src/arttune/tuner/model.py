"""`ArtModel`: a frozen multimodal model that looks at a canvas.

Batches are plain text. The prompt carries the placeholder tokens, and this tuner puts the picture behind them: it
runs the vision tower once on the canvas, hands the model the features (`mm_encoder_outputs`), the token types and
the grid that its multi-dimensional positions need, and lets the model do the rest. Trainers that call `forward`
with `labels` or with TRL's `fused_lm_head` need not know.
"""

from __future__ import annotations

import re
import warnings
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from dataclasses import fields
from functools import cached_property
from typing import Any, ClassVar

import torch
from peft.tuners.tuners_utils import BaseTuner
from torch import nn

from arttune.errors import BadInput
from arttune.families import detect
from arttune.filling import Filling, generated
from arttune.machine import sound_attention
from arttune.passes import repeated
from arttune.prefix import Plan, left_aligned, moved, plan
from arttune.states import kinds
from arttune.tree import Positions, stand_in
from arttune.tuner.config import ArtConfig
from arttune.tuner.layer import ArtLayer

PIXELS = ("pixel_values", "pixel_values_videos", "image_grid_thw", "video_grid_thw", "mm_encoder_outputs")


class ArtModel(BaseTuner):
    """The tuner behind `get_peft_model(model, ArtConfig())`; holds one `ArtLayer`."""

    prefix = "art_"
    tuner_layer_cls = ArtLayer
    target_module_mapping: ClassVar[dict[str, list[str]]] = {}

    def _prepare_adapter_config(self, peft_config: ArtConfig, model_config: dict[str, Any]) -> ArtConfig:
        family = detect(model_config)
        if peft_config.family not in (None, family.name):
            raise BadInput(
                f"this painting or config is for {peft_config.family}, but the model is {family.title} "
                f"({family.name}); paint one for this family"
            )
        peft_config.resolve(family)
        return peft_config

    @classmethod
    def _remove_adapter_name_from_key(cls, key: str, adapter_name: str) -> str:
        """A canvas has parts of its own (`art_canvas.<adapter>.gamut.low`): the name is not where PEFT looks for it."""
        return key.replace(f".art_canvas.{adapter_name}.", ".art_canvas.")

    def _check_target_module_exists(self, peft_config: ArtConfig, key: str) -> bool:
        return re.fullmatch(str(peft_config.target_modules), key) is not None

    def _create_and_replace(
        self,
        peft_config: ArtConfig,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,
        parameter_name: str | None = None,
    ) -> None:
        sound_attention()  # here, where every script with a canvas comes by
        # A copy of its own: TRL makes its reference adapter from the very config object of the trained one.
        own = copy(peft_config)
        self.peft_config[adapter_name] = own
        if isinstance(target, ArtLayer):
            target.update_layer(adapter_name, own)
            return
        setattr(parent, target_name, ArtLayer(target, adapter_name, own))

    def _unload_and_optionally_merge(self, merge: bool = True, **_: Any) -> nn.Module:
        if merge:
            raise ValueError(
                "a picture cannot be merged into weights; use unload(), and send art.png with each request"
            )
        for module in list(self.model.modules()):
            for name, child in module.named_children():
                if isinstance(child, ArtLayer):
                    setattr(module, name, child.base_layer)
        del self.model.peft_config  # PEFT warns of a second adapter where it finds one
        return self.model

    @property
    def layer(self) -> ArtLayer:
        """The layer that holds the canvases."""
        return art_layer(self.model)

    @property
    def backbone(self) -> Any:
        """Vision tower and text model without the language-model head."""
        return self.model.base_model

    @cached_property
    def _filling(self) -> Filling:
        return Filling()

    def seen(self) -> Any:
        """The features of the canvas, whose `pooler_output` is a list of one `(tokens, hidden)`. The tower runs.

        The pixels go in as float32 and are cast by the tower's own patch embedding, as the processor's would be.
        """
        style = self.layer.canvas(self.layer.current).tower
        if style is None or not self._learns():
            return self._look(self.layer.pixels())
        with style.watching(getattr(self.backbone, self.layer.family.tower), self._look):
            return self._look(self.layer.pixels())

    def _look(self, pixels: torch.Tensor) -> Any:
        return self.backbone.get_image_features(self.layer.family.patches(pixels), self.grid(), return_dict=True)

    def features(self, rows: int, pictures: int) -> dict[str, Any]:
        """The keyword arguments with which `rows` rows, of which `pictures` run the picture's tokens, see the canvas.

        The tower runs once, whatever the number of rows.
        """
        return repeated(self.seen(), pictures) | {"image_grid_thw": self.grid().expand(rows, -1)}

    def grid(self) -> torch.Tensor:
        """The canvas's `image_grid_thw` `(1, 3)`."""
        canvas = self.layer.canvas(self.layer.current).start
        return torch.tensor([self.layer.family.grid((canvas.shape[1], canvas.shape[2]))], device=canvas.device)

    def _placeholders(self, input_ids: torch.Tensor | None, given: dict[str, Any]) -> torch.Tensor | None:
        """The 0/1 map `(batch, length)` of picture tokens, or None where the model is to be called as it is."""
        past = given.get("past_key_values")
        if input_ids is None:
            if given.get("inputs_embeds") is None or past is not None:
                return None
            raise ValueError("ART needs input_ids: it finds the picture's place by its placeholder tokens")
        if past is not None and past.get_seq_length() > 0:
            return None
        clash = [name for name in PIXELS if given.get(name) is not None]
        if clash:
            raise ValueError(
                f"the batch brings pictures of its own ({', '.join(clash)}); with ART the canvas is the picture. "
                "Use a text dataset, arttune.prepare and a plain tokenizer"
            )
        types = (input_ids == self.model.config.image_token_id).long()
        counts = types.sum(dim=1)
        tokens = self.layer.configs[self.layer.current].tokens
        if self.layer.disable_adapters and not bool(counts.any()):
            return None
        if not bool((counts == tokens).all()):
            row = int((counts != tokens).nonzero()[0])
            raise ValueError(
                f"row {row} of the batch has {int(counts[row])} picture placeholders, the canvas needs {tokens}. "
                "Put them in with arttune.prepare(dataset, tokenizer, config), and do not truncate (max_length=None)"
            )
        return types

    def forward(
        self, input_ids: torch.Tensor | None = None, attention_mask: torch.Tensor | None = None, **kwargs: Any
    ) -> Any:
        """The model's own forward, with the picture behind the placeholders of every row.

        What rows have in common runs once (`tree.py`). With TRL's fused head, and in training with `labels`, only the
        positions that have a label are projected onto the vocabulary. TRL's outputs come back in the full
        `(batch, length - 1)` shape; in training `logits` are those of the labels, `(1, labels, vocabulary)`.
        """
        types = self._placeholders(input_ids, kwargs)
        if types is None or input_ids is None:
            return self.model(input_ids=input_ids, attention_mask=attention_mask, **kwargs)
        _check_positions(kwargs.get("position_ids"))
        labels = kwargs.get("labels")
        if labels is not None:  # where all tokens have one, the picture's are still not for the model to say
            unsaid = torch.isin(labels, labels.new_tensor(vision_tokens(self.model.config)))
            labels = kwargs["labels"] = labels.masked_fill(unsaid, -100)
        mask = None if labels is None else labels[:, 1:] != -100
        fused = bool(kwargs.get("fused_lm_head"))
        wanted = _wanted(input_ids, mask, kwargs) if fused or mask is None or self._learns() else None
        tree, lead = None, None
        if self._may_share(kwargs):
            full = torch.ones_like(input_ids) if attention_mask is None else attention_mask
            ids, aligned, lead = left_aligned(input_ids, full)  # trainers that generate pad on the left
            inner = None if wanted is None else (wanted[0], wanted[1] - lead[wanted[0]])
            shown = moved(types, lead)
            tree = plan(ids, aligned, shown, inner)
            if tree is not None:
                input_ids, attention_mask, wanted, types = ids, aligned, inner, shown
        kwargs |= self.features(len(input_ids), len(input_ids) if tree is None else 1) | {"mm_token_type_ids": types}
        if kwargs.get("logits_to_keep") and wanted is not None:
            kwargs["logits_to_keep"] = 0  # all of what is wanted
        if wanted is not None and labels is not None and mask is not None:
            kwargs |= of_labels(labels, mask, kwargs)
        with self._sharing(wanted, tree, lead):
            output = self.model(input_ids=input_ids, attention_mask=attention_mask, **kwargs)
        return output if mask is None or wanted is None or not fused else spread(output, mask)

    def _learns(self) -> bool:
        return self.training and torch.is_grad_enabled()

    def _sharing(
        self, wanted: Positions | None, tree: Plan | None, lead: torch.Tensor | None
    ) -> AbstractContextManager[None]:
        if tree is None and wanted is None:
            return nullcontext()
        return stand_in(self.backbone, wanted, tree, lead)

    def _may_share(self, kwargs: dict[str, Any]) -> bool:
        """Whether one prefix may serve the batch: not where some layer's states are unknown here, or for a caller that
        wants the cache, inner outputs or positions of its own."""
        wants = ("past_key_values", "output_hidden_states", "output_attentions")
        scoring = torch.is_grad_enabled() or kwargs.get("labels") is not None
        return (
            bool(kinds(self.model.config))
            and (kwargs.get("use_cache") is False or (kwargs.get("use_cache") is None and scoring))
            and not any(kwargs.get(name) for name in wants)
            and kwargs.get("position_ids") is None
            and not self._reenters()
        )

    def _reenters(self) -> bool:
        """Whether layers are checkpointed in torch's older way, whose second run does not see the prefix's states."""
        if not (self.training and self.model.is_gradient_checkpointing):
            return False
        layer = self.backbone.language_model.layers[0]
        settings = getattr(layer._gradient_checkpointing_func, "keywords", {})
        reenters = bool(settings.get("use_reentrant", True))
        if reenters:
            warnings.warn(
                "gradient checkpointing with use_reentrant=True runs every row whole, which takes far longer, and the "
                "style `tower` has no effect; give "
                'gradient_checkpointing_kwargs={"use_reentrant": False}',
                stacklevel=2,
            )
        return reenters

    def generate(self, inputs: torch.Tensor | None = None, **kwargs: Any) -> Any:
        """The model's own `generate`, with the picture in place and no vision token ever sampled."""
        input_ids = kwargs.pop("input_ids", None) if inputs is None else inputs
        types = self._placeholders(input_ids, kwargs)
        kwargs["suppress_tokens"] = sorted({*(kwargs.get("suppress_tokens") or []), *vision_tokens(self.model.config)})
        if types is None or input_ids is None:
            return self.model.generate(input_ids=input_ids, **kwargs)
        kwargs.pop("mm_token_type_ids", None)  # a processor's, which knows of no picture
        given = {"input_ids": input_ids} | kwargs
        filled = self._filling(self.model, given, self)
        if not filled:
            seen = self.features(len(input_ids), len(input_ids))
            return self.model.generate(input_ids=input_ids, mm_token_type_ids=types, **kwargs, **seen)
        return generated(self.model, given, filled)


def vision_tokens(config: Any) -> list[int]:
    """The ids of a model's vision tokens, never to be sampled: a completion that has one cannot be read again."""
    names = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
    return sorted({getattr(config, name) for name in names if getattr(config, name, None) is not None})


def _check_positions(given: torch.Tensor | None) -> None:
    """Raise for positions of one dimension: with those the model would take the picture for a line of text."""
    if given is not None and given.dim() < 3:
        raise ValueError(
            f"the batch brings position_ids {tuple(given.shape)}, but a picture has positions in three dimensions, "
            "which the model makes itself. Leave them out: no padding_free, no packing"
        )


def art_layer(model: nn.Module) -> ArtLayer:
    """The layer that holds the canvases of a model wrapped with ART."""
    return next(m for m in model.modules() if isinstance(m, ArtLayer))


def _wanted(ids: torch.Tensor, mask: torch.Tensor | None, kwargs: dict[str, Any]) -> Positions | None:
    """Rows and columns whose hidden states are asked for: those with a label, or the last ones; None for all."""
    if mask is not None:
        return labelled(mask)
    last = kwargs.get("logits_to_keep")
    if not isinstance(last, int) or not 0 < last < ids.shape[1]:
        return None
    columns = torch.arange(ids.shape[1] - last, ids.shape[1], device=ids.device).expand(len(ids), -1)
    return torch.arange(len(ids), device=ids.device)[:, None].expand_as(columns), columns


def labelled(mask: torch.Tensor) -> Positions | None:
    """Rows and columns, each `(1, labels)`, of what `mask` says has a label; None if nothing has."""
    rows, columns = mask.nonzero(as_tuple=True)
    return (rows[None], columns[None]) if len(rows) else None


def of_labels(labels: torch.Tensor, mask: torch.Tensor, kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a forward pass, `kwargs` so far, whose head sees the positions of `mask` alone, in one row."""
    alone = labels[:, 1:][mask].unsqueeze(0)
    return {
        "shift_labels": alone,  # what the loss looks at
        "labels": None if kwargs.get("fused_lm_head") else alone,
    }


def spread(compact: Any, mask: torch.Tensor) -> Any:
    """TRL's per-token outputs `(1, labels)` back in the shape of `mask`, zero where there is no label."""
    for item in fields(compact):
        value = getattr(compact, item.name)
        if isinstance(value, torch.Tensor) and value.dim() == 2:
            spread = value.new_zeros(mask.shape).masked_scatter(mask.to(value.device), value)
            setattr(compact, item.name, spread)
    compact.label_mask = mask
    return compact
