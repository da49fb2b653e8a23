"""The exceptions a user is meant to read.

The command line prints their messages as a single line. They name the file, line, field or server, and say what to do
about it.
"""


class BadInput(ValueError):
    """A file, setting or name given by the user is unusable as it is. The command line exits with code 2."""


class Failed(RuntimeError):
    """What was given was good when it began, and something else went wrong. The command line exits with code 1."""
