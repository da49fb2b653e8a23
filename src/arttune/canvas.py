"""The canvas: the trainable pixels of one adapter, and the painting it becomes.

A canvas is a float32 master `(3, H, W)` in [0, 1]. The model never sees the master: it sees the master rounded to
the 256 levels of a PNG, with the gradient passed straight through, so what is trained is exactly what is served.
This file knows nothing of models: how a canvas is rounded, and how it travels as a PNG with its provenance in the
file's text chunks.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from arttune._version import __version__
from arttune.errors import BadInput

LEVELS = 255
CHUNK = "arttune-"


def quantize(master: torch.Tensor) -> torch.Tensor:
    """Round a master to uint8 levels, passing the gradient straight through.

    `master`: `(3, H, W)` in [0, 1]. Returns the same shape and dtype with values `k / 255`; d(output)/d(master) = 1
    (straight-through estimator, Bengio et al. 2013, arXiv 1308.3432).
    """
    rounded = (master.detach() * LEVELS).round() / LEVELS
    return master + (rounded - master).detach()


def to_uint8(master: torch.Tensor) -> torch.Tensor:
    """The uint8 `(3, H, W)` pixels that a master is served as."""
    return (master.detach().float().clamp(0, 1) * LEVELS).round().to(torch.uint8).cpu()


@torch.no_grad()
def dither_(master: torch.Tensor, seed: int) -> None:
    """Put each pixel of a master anywhere within its level; the picture stays what it is.

    Moves of less than half a level then show at once, in as many pixels as they are a share of one; from the middles of
    the levels they would round to nothing, until many show together.
    """
    chance = torch.Generator().manual_seed(seed)
    within = torch.rand(master.shape, generator=chance) - 0.5
    master.add_(0.98 * within.to(master.device) / LEVELS)


def open_picture(path: Path) -> Image.Image:
    """Open and fully decode a picture, so that a truncated file is found here and not later.

    What comes back converts to RGB and RGBA: 16 bits of grey become 8, and what has no colours like that is refused.
    """
    try:
        picture = Image.open(path)
        picture.load()
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file") from None
    except UnidentifiedImageError:
        raise BadInput(f"{path} is not a picture; give a PNG (or another format that Pillow reads)") from None
    except (IsADirectoryError, PermissionError) as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from None
    except Image.DecompressionBombError as error:
        raise BadInput(f"{path} is too large a picture ({error}); make it smaller first") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise BadInput(f"{path} is truncated or damaged ({error}); copy it again from where it came") from None
    if picture.mode.startswith("I;16"):  # which Pillow would clip at 255
        return Image.fromarray(((np.asarray(picture).astype(np.uint32) + 128) // 257).astype(np.uint8))
    if picture.mode in ("I", "F", "LAB", "HSV"):
        raise BadInput(f"{path} has colours of the kind {picture.mode!r}; save it as an RGB picture of 8 bits")
    return picture


def pixels_of(picture: Image.Image) -> torch.Tensor:
    """The uint8 `(3, H, W)` pixels of a picture, as RGB."""
    return torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1).contiguous()


def sha256(pixels: torch.Tensor) -> str:
    """The hash that ties a painting to its provenance: sha256 over height, width and the RGB bytes, row by row."""
    _, height, width = pixels.shape
    data = pixels.permute(1, 2, 0).contiguous().numpy().tobytes()
    return hashlib.sha256(f"{height}x{width}:".encode() + data).hexdigest()


@dataclass
class Provenance:
    """What made a painting. Every field is one text chunk of the PNG, its value as JSON."""

    model: str | None = None
    revision: str | None = None
    family: str | None = None
    size: tuple[int, int] | None = None
    start: str | None = None
    looks: dict[str, Any] = field(default_factory=dict)
    task: str | None = None
    objective: str | None = None
    template: dict[str, Any] = field(default_factory=dict)
    steps: int | None = None
    seed: int | None = None
    scores: list[dict[str, Any]] = field(default_factory=list)
    arttune: str | None = None
    sha256: str | None = None


@dataclass
class Painting:
    """A finished picture: uint8 `pixels` `(3, H, W)` and what made them (`None` for a picture that is not ours)."""

    pixels: torch.Tensor
    provenance: Provenance | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.pixels.shape[1], self.pixels.shape[2]

    @property
    def picture(self) -> Image.Image:
        """The pixels as Pillow has them."""
        return Image.fromarray(self.pixels.permute(1, 2, 0).contiguous().numpy(), "RGB")

    def intact(self) -> bool:
        """Whether the pixels are the ones the provenance speaks of."""
        return self.provenance is not None and self.provenance.sha256 == sha256(self.pixels)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `png()` at once or not at all."""
        target = Path(path)
        scratch = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        try:
            scratch.write_bytes(self.png())
            os.replace(scratch, target)
        finally:
            scratch.unlink(missing_ok=True)

    def png(self) -> bytes:
        """The lossless PNG; the provenance's hash and size are filled in."""
        chunks = PngImagePlugin.PngInfo()
        if self.provenance is not None:
            self.provenance.sha256 = sha256(self.pixels)
            self.provenance.size = self.size
            self.provenance.arttune = __version__
            for name, value in asdict(self.provenance).items():
                if value not in (None, [], {}):
                    chunks.add_itxt(CHUNK + name, json.dumps(value))
            chunks.add_text("Software", f"arttune {__version__}")
        data = io.BytesIO()
        self.picture.save(data, format="PNG", pnginfo=chunks, optimize=True)
        return data.getvalue()

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Painting:
        """Read a painting; any opaque picture will do, provenance or not. Raises `BadInput` if it cannot be read."""
        picture = open_picture(Path(path))
        if picture.has_transparency_data and (np.array(picture.convert("RGBA"))[..., 3] < 255).any():
            raise BadInput(
                f"{path} has transparent pixels; a painting is opaque RGB. Use it as a start picture instead"
            )
        text = {**getattr(picture, "text", {})}
        known = {f.name for f in fields(Provenance)}
        try:
            values = {k[len(CHUNK) :]: json.loads(v) for k, v in text.items() if k.startswith(CHUNK)}
        except json.JSONDecodeError as error:
            raise BadInput(
                f"{path}: its provenance is not JSON ({error}); strip the text chunks or fetch it again"
            ) from None
        if not values:
            return cls(pixels_of(picture))
        provenance = Provenance(**{k: v for k, v in values.items() if k in known})
        try:
            provenance.template = dict(provenance.template)
            if provenance.size is not None:
                provenance.size = (int(provenance.size[0]), int(provenance.size[1]))
            for score in provenance.scores:
                float(score["accuracy"]) + float(score["ci95"][0]) + float(score["ci95"][1]) + int(score["n"])
        except (TypeError, ValueError, KeyError, IndexError):
            raise BadInput(f"{path}: its provenance is not as arttune writes it; strip its text chunks") from None
        return cls(pixels_of(picture), provenance)
