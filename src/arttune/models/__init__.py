"""Models by name: the embedded default, local folders and hub ids; and the graft that makes the test beds."""

from arttune.models.catalogue import EMBEDDED, Loaded, load_model, source_of

__all__ = ["EMBEDDED", "Loaded", "load_model", "source_of"]
