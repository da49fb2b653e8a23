"""Adapters side by side on the same problems, steps and seeds, and whether what they differ by is chance."""

from arttune.compare import summary
from arttune.compare.cells import compare
from arttune.compare.plan import Comparison

__all__ = ["Comparison", "compare", "summary"]
