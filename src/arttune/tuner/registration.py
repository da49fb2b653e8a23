"""Makes PEFT know the method "ART".

`peft.utils.register_peft_method` only takes names of its own `PeftType` enum, so the type goes straight into the
three dictionaries that PEFT looks methods up in: type to config, type to tuner, type to parameter prefix. If PEFT
renames or moves one of them, the import below fails, and with it the first line of any script: loudly.
"""

from peft.mapping import (
    PEFT_TYPE_TO_CONFIG_MAPPING,
    PEFT_TYPE_TO_PREFIX_MAPPING,
    PEFT_TYPE_TO_TUNER_MAPPING,
)

from arttune.tuner.config import PEFT_TYPE, ArtConfig
from arttune.tuner.model import ArtModel


def register() -> None:
    """Enter ART into PEFT's tables; calling it again changes nothing."""
    PEFT_TYPE_TO_CONFIG_MAPPING[PEFT_TYPE] = ArtConfig
    PEFT_TYPE_TO_TUNER_MAPPING[PEFT_TYPE] = ArtModel
    PEFT_TYPE_TO_PREFIX_MAPPING[PEFT_TYPE] = ArtModel.prefix
