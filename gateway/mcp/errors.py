"""The errors of the tools as they are called from outside."""


class CallRefusedError(Exception):
    """The call cannot be carried out; `str()` says why."""
