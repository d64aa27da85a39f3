"""The gateway over HTTP; what needs no HTTP library stands here."""


class ListenError(Exception):
    """The HTTP listener cannot be opened; `str()` names the keys of the configuration to change."""
