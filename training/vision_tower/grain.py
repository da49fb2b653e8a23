"""The fine grain of a picture, carried past the blocks of a finished tower: what a painter can reach the model with.

A tower that learned to name what it sees lets little else through. Towers of large models are not so: their tokens keep
much of a picture's texture. This gives a small one the like, by construction and without any training:

- channels are added to the tower, and in each patch they take up the strength of as many fine patterns;
- no block reads or writes them, so they reach the merger as they are;
- there every patch's strengths are mixed by a fixed rotation and added to the token, in directions of their own.

The patterns are products of cosines (the discrete cosine transform of a patch) in opponent colours: those that the
training's pictures have least of, which are among the finest. So those are seen as before (their tokens move by 4 to
11 % of their length), and a picture of one colour is to the model what it was.
"""

from __future__ import annotations

import math
from copy import copy
from typing import Any

import torch

from arttune.models.graft import FAMILY
from scenes import scene

CHANNELS = 64
STRENGTH = 0.1  # a pattern's root mean square strength in noise of that standard deviation
GAIN = 2.4  # how far such noise moves a token, of a token's length
SLOPE = 0.5  # how far such noise moves the merger's GELU: near zero that is a line and a little of a parabola
PICTURES = 24  # of each kind, to find the quiet patterns with
KINDS = ("word", "phrase", "number", "object", "count", "pair", "chart")
OPPONENT = ((1, 1, 1), (1, 0, -1), (-1, 2, -1))  # light and dark, red and blue, green and magenta


def patterns() -> torch.Tensor:
    """All patterns `(3 * 14**2, 3, 14, 14)` of a patch's pixels: orthonormal, one colour after the other."""
    n = FAMILY.patch
    waves = torch.cos(math.pi * torch.arange(n)[:, None] * (torch.arange(n) + 0.5) / n)
    waves = waves / waves.norm(dim=1, keepdim=True)
    colours = torch.tensor(OPPONENT, dtype=torch.float32)
    colours = colours / colours.norm(dim=1, keepdim=True)
    return torch.einsum("oc,ui,vj->ouvcij", colours, waves, waves).reshape(-1, 3, n, n)


def kernels(found: torch.Tensor) -> torch.Tensor:
    """What takes the strengths of `n` patterns from a tower's normalised patches: `(n, 3, frames, 14, 14)`.

    A still picture is every frame.
    """
    scaled = found * torch.tensor(FAMILY.std)[:, None, None] / FAMILY.frames
    return scaled[:, :, None].expand(-1, -1, FAMILY.frames, -1, -1)


def quiet(count: int, seed: int) -> torch.Tensor:
    """The `count` patterns `(count, 3, 14, 14)` that rendered pictures have least of, the quietest first."""
    found = patterns()
    strengths, energy = kernels(found).flatten(1).T, torch.zeros(len(found))
    for kind in KINDS:
        for i in range(PICTURES):
            pixels = scene(f"grain {seed} {kind} {i}", 224, {kind: 1}).pixels
            energy += (FAMILY.patches(pixels) @ strengths).square().mean(dim=0)
    energy[0] = math.inf  # how bright a patch is as a whole is no pattern
    return found[energy.argsort()[:count]]


def with_grain(tower: Any, seed: int, channels: int = CHANNELS) -> Any:
    """A new tower that sees what `tower` (float32, on the CPU) sees, and carries the grain in `channels` besides.

    `channels` is a multiple of the tower's head size, so that a head stays as it is.
    """
    width = tower.config.hidden_size
    head = width // tower.config.num_heads
    config = copy(tower.config)
    config.hidden_size, config.num_heads = width + channels, (width + channels) // head
    wide = type(tower)(config).eval()
    with torch.no_grad():
        for name, weight in wide.named_parameters():
            old = tower.get_parameter(name)
            part = _old_part(name, weight.zero_(), old.shape)
            part.copy_(old.view(part.shape) * _norm_scale(name, weight, old))
        wide.patch_embed.proj.weight[width:] = kernels(quiet(channels, seed))
        _into_tokens(wide, tower, seed)
    return wide


def without_grain(weights: dict[str, torch.Tensor], tower: Any) -> dict[str, torch.Tensor]:
    """Of the weights of a tower with grain or without, those for `tower`, which has none.

    They are what `with_grain` was given, up to the rounding of a file in float16.
    """
    return {
        name: _old_part(name, weights[name], old.shape).reshape(old.shape) / _norm_scale(name, weights[name], old)
        for name, old in tower.state_dict().items()
    }


def _old_part(name: str, wide: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """Where in the weight `wide` of a tower with grain the weight `name`, of `shape` without, has its place."""
    if ".qkv." in name:  # queries, keys and values one above the other
        return wide.unflatten(0, (3, -1))[:, : shape[0] // 3, *(slice(size) for size in shape[1:])]
    if name == "merger.mlp.0.weight":  # patches side by side
        patches = FAMILY.merge**2
        return wide.unflatten(1, (patches, -1))[: shape[0], :, : shape[1] // patches]
    return wide[tuple(map(slice, shape))]


def _norm_scale(name: str, wide: torch.Tensor, old: torch.Tensor) -> float:
    """What makes up for the channels that a root mean square is taken over besides, where `name` is a norm's."""
    return float((len(old) / len(wide)) ** 0.5) if "norm" in name or "ln_q" in name else 1.0


def _into_tokens(wide: Any, tower: Any, seed: int) -> None:
    """Set the merger's weights that take the added channels to the tokens."""
    width, merged = tower.config.hidden_size, FAMILY.merge**2
    channels = wide.config.hidden_size - width
    dice = torch.Generator().manual_seed(seed + 1)
    picture = (0.5 + STRENGTH * torch.randn(3, 224, 224, generator=dice)).clamp(0, 1)
    seen = tower(FAMILY.patches(picture), torch.tensor([FAMILY.grid((224, 224))]))
    stream, token = (x.square().mean().sqrt() for x in (seen.last_hidden_state, seen.pooler_output))
    features, size = channels * merged, seen.pooler_output.shape[-1]
    mixing = torch.linalg.qr(torch.randn(features, features, generator=dice))[0]
    directions = torch.randn(size, features, generator=dice) / size**0.5
    first, last = wide.merger.mlp[0], wide.merger.mlp[2]
    wide.merger.ln_q.weight[width:] = 1.0
    # What the norm leaves of a strength, with as many more channels in its mean.
    normed = STRENGTH / (stream * (width / (width + channels)) ** 0.5)
    into = first.weight[-features:].view(features, merged, -1)
    into[:, :, width:] = (mixing * (SLOPE / normed)).view(features, merged, channels)
    # GELU's slope at zero is a half.
    last.weight[:, -features:] = directions * (GAIN * token * (size / features) ** 0.5 / (SLOPE / 2))
