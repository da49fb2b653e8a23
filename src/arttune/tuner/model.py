"""`ArtModel`: a frozen multimodal model that looks at a canvas.

Batches are plain text. The prompt carries the placeholder tokens, and this tuner puts the picture behind them: it
runs the vision tower once on the canvas, hands the model the features (`mm_encoder_outputs`), the token types and
the grid that its multi-dimensional positions need, and lets the model do the rest. Trainers that call `forward`
with `labels` or with TRL's `fused_lm_head` need not know.
"""

from __future__ import annotations

import re
from contextlib import nullcontext
from copy import copy
from dataclasses import fields
from typing import Any, ClassVar

import torch
from peft.tuners.tuners_utils import BaseTuner
from torch import nn
from transformers import Cache, StaticCache

from arttune.decoding import fixed, replayed, replays
from arttune.errors import BadInput
from arttune.families import detect
from arttune.machine import sound_attention
from arttune.prefix import Positions, left_aligned, prefix_first, rows_of, run_prefix, shared_length, stand_in
from arttune.tuner.config import ArtConfig
from arttune.tuner.layer import ArtLayer

# With any of these, `generate` runs in a way that a cache filled beforehand does not suit.
OWN_CACHE = ("past_key_values", "cache_implementation", "num_beams", "num_return_sequences", "assistant_model")
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

    def features(self, rows: int, pictures: int) -> dict[str, Any]:
        """The keyword arguments with which `rows` rows, of which `pictures` run the picture's tokens, see the canvas.

        The tower runs once, whatever the number of rows. The pixels go in as float32 and are cast by the tower's own
        patch embedding, exactly as the processor's would be.
        """
        layer = self.layer
        pixels = layer.pixels()
        grid = torch.tensor([layer.family.grid((pixels.shape[1], pixels.shape[2]))], device=pixels.device)
        seen = self.backbone.get_image_features(layer.family.patches(pixels), grid, return_dict=True)
        return {
            "mm_encoder_outputs": {"image": _repeated(seen, pictures)},
            "image_grid_thw": grid.expand(rows, -1),
        }

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

        With TRL's fused head only the positions that have a label are projected onto the vocabulary; the outputs come
        back in the full `(batch, length - 1)` shape.
        """
        types = self._placeholders(input_ids, kwargs)
        if types is None or input_ids is None:
            return self.model(input_ids=input_ids, attention_mask=attention_mask, **kwargs)
        kwargs["mm_token_type_ids"] = types
        labels = kwargs.get("labels")
        mask = None if labels is None else labels[:, 1:] != -100
        may_share = self._may_share(kwargs)
        fused = bool(kwargs.get("fused_lm_head")) and mask is not None and bool(mask.any())
        wanted: Positions | None = None
        if fused and mask is not None:
            rows, columns = mask.nonzero(as_tuple=True)
            if attention_mask is not None and may_share:  # trainers that generate pad on the left
                input_ids, attention_mask, lead = left_aligned(input_ids, attention_mask)
                columns = columns - lead[rows]
                types = kwargs["mm_token_type_ids"] = (input_ids == self.model.config.image_token_id).long()
            wanted = (rows, columns)
        shared = shared_length(input_ids, attention_mask, wanted) if may_share else 0
        if bool(types[0, shared:].any()):
            shared = 0  # the common prefix ends before the picture does: nothing worth sharing
        kwargs |= self.features(len(input_ids), 1 if shared else len(input_ids))
        if wanted is None or labels is None or mask is None:
            with stand_in(self.backbone, shared, None) if shared else nullcontext():
                return self.model(input_ids=input_ids, attention_mask=attention_mask, **kwargs)
        kwargs |= {"labels": None, "shift_labels": labels[:, 1:][mask].unsqueeze(0)}
        with stand_in(self.backbone, shared, wanted):
            compact = self.model(input_ids=input_ids, attention_mask=attention_mask, **kwargs)
        return _spread(compact, mask)

    def _may_share(self, kwargs: dict[str, Any]) -> bool:
        """Whether one prefix may serve the batch: not for recurrent models, checkpointing, or a caller that wants
        the cache, inner outputs or positions of its own."""
        wants = ("past_key_values", "output_hidden_states", "output_attentions")
        scoring = torch.is_grad_enabled() or kwargs.get("labels") is not None
        return (
            self.layer.family.shares_prefix
            and (kwargs.get("use_cache") is False or (kwargs.get("use_cache") is None and scoring))
            and not any(kwargs.get(name) for name in wants)
            and kwargs.get("position_ids") is None
            and not (self.training and self.model.is_gradient_checkpointing)
        )

    def generate(self, inputs: torch.Tensor | None = None, **kwargs: Any) -> Any:
        """The model's own `generate`, with the picture in place and no vision token ever sampled."""
        input_ids = kwargs.pop("input_ids", None) if inputs is None else inputs
        types = self._placeholders(input_ids, kwargs)
        kwargs["suppress_tokens"] = sorted({*(kwargs.get("suppress_tokens") or []), *vision_tokens(self.model.config)})
        if types is None or input_ids is None:
            return self.model.generate(input_ids=input_ids, **kwargs)
        filled = self._filled_cache(input_ids, kwargs)
        if not filled:
            seen = self.features(len(input_ids), len(input_ids))
            return self.model.generate(input_ids=input_ids, mm_token_type_ids=types, **kwargs, **seen)
        fast = isinstance(filled["past_key_values"], StaticCache)
        with replayed(self.backbone.language_model) if fast else nullcontext():
            output = self.model.generate(**(kwargs | filled))
        sequences = output if isinstance(output, torch.Tensor) else output.sequences
        sequences[:, : input_ids.shape[1]] = input_ids  # padded as it came
        return output

    @torch.no_grad()
    def _filled_cache(self, input_ids: torch.Tensor, kwargs: dict[str, Any]) -> dict[str, Any]:
        """What `generate` takes to go on from the prefix of all rows, run once; empty where nothing can be shared."""
        asked = kwargs.get("generation_config") or self.model.generation_config
        wants = [kwargs.get(name, getattr(asked, name, None)) for name in OWN_CACHE]
        cached = kwargs.get("use_cache", getattr(asked, "use_cache", None)) is not False
        if not cached or not self.layer.family.shares_prefix or any(value not in (None, 1) for value in wants):
            return {}
        mask = kwargs.get("attention_mask")
        mask = torch.ones_like(input_ids) if mask is None else mask
        ids, mask, shared = prefix_first(input_ids, mask)
        types = (ids == self.model.config.image_token_id).long()
        if shared == 0 or bool(types[0, shared:].any()):
            return {}
        seen = self.features(len(ids), 1)
        grid = seen["image_grid_thw"]
        positions, _ = self.backbone.get_rope_index(
            ids, mm_token_type_ids=types, image_grid_thw=grid, attention_mask=mask
        )
        features = seen["mm_encoder_outputs"]
        _, cache = run_prefix(self.backbone, self.backbone.config, ids, positions, shared, mm_encoder_outputs=features)
        self.backbone.rope_deltas = None  # of an earlier call: a filled cache would make `generate` trust them
        more = kwargs.get("max_new_tokens", asked.max_new_tokens)
        own: Cache = rows_of(cache, torch.zeros(len(ids), dtype=torch.long))
        if more is not None and replays(self.backbone.language_model):
            own = fixed(cache, self.backbone.config, len(ids), ids.shape[1] + more)
        return {
            "input_ids": ids,
            "attention_mask": mask,
            "mm_token_type_ids": types,
            "image_grid_thw": grid,
            "past_key_values": own,
            "disable_compile": True,  # a fixed cache would have `generate` compile the model
        }


def vision_tokens(config: Any) -> list[int]:
    """The ids of a model's vision tokens, never to be sampled: a completion that has one cannot be read again."""
    names = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
    return sorted({getattr(config, name) for name in names if getattr(config, name, None) is not None})


def art_layer(model: nn.Module) -> ArtLayer:
    """The layer that holds the canvases of a model wrapped with ART."""
    return next(m for m in model.modules() if isinstance(m, ArtLayer))


def _repeated(seen: Any, rows: int) -> Any:
    """One picture's features, once for every row."""
    seen.pooler_output = list(seen.pooler_output) * rows
    deep = getattr(seen, "deepstack_features", None)
    if deep is not None:
        seen.deepstack_features = [list(level) * rows for level in deep]
    return seen


def _spread(compact: Any, mask: torch.Tensor) -> Any:
    """TRL's per-token outputs `(1, labels)` back in the shape of `mask`, zero where there is no label."""
    for item in fields(compact):
        value = getattr(compact, item.name)
        if isinstance(value, torch.Tensor) and value.dim() == 2:
            spread = value.new_zeros(mask.shape).masked_scatter(mask, value)
            setattr(compact, item.name, spread)
    compact.label_mask = mask
    return compact
