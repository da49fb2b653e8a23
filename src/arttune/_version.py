"""The version, alone in a file so that any room may read it without importing the package."""

__version__ = "0.1.0"
