"""The one exception a user is meant to read: something they gave us cannot be used as it is.

The command line prints its message as a single line and exits with code 2; a library user catches it as a
`ValueError`. The message names the file, line or field and says what to do about it.
"""


class BadInput(ValueError):
    """A file, setting or name given by the user is unusable; the message says which and what to do."""
