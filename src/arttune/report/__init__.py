"""What a run looks like: plots, and tables for the terminal."""

from arttune.report.plots import learning_curve, learning_curves, start_and_end
from arttune.report.tables import score_table

__all__ = ["learning_curve", "learning_curves", "score_table", "start_and_end"]
