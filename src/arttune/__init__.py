"""arttune: fine-tune a frozen multimodal LLM by painting one image.

    from peft import get_peft_model
    from arttune import ArtConfig, prepare

    model = get_peft_model(model, ArtConfig())            # instead of LoraConfig()
    dataset = prepare(dataset, tokenizer, model.peft_config["default"])

and any trainer of TRL or transformers paints the picture, given `CanvasMuon` or a learning rate on the scale of
pixels (0.02 in Adam; LoRA's would move nothing). `load(model, "art.png")` shows a finished one.
"""

from arttune._version import __version__
from arttune.canvas import Painting, Provenance
from arttune.errors import BadInput
from arttune.loading import load
from arttune.optimizer import CanvasMuon
from arttune.prompts import placeholder, prepare, with_picture
from arttune.tuner import ArtConfig, ArtModel

__all__ = [
    "ArtConfig",
    "ArtModel",
    "BadInput",
    "CanvasMuon",
    "Painting",
    "Provenance",
    "__version__",
    "load",
    "placeholder",
    "prepare",
    "with_picture",
]
