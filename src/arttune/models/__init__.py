"""Models by name: the embedded default, local folders and hub ids; and the graft that makes the test beds."""

from arttune.models.catalogue import EMBEDDED, Loaded, load_model, source_of
from arttune.models.untrained import untrained

__all__ = ["EMBEDDED", "Loaded", "load_model", "source_of", "untrained"]
