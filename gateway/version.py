"""The version of the program."""

from importlib.metadata import PackageNotFoundError, version


def program_version() -> str:
    """The installed version; "0+unknown" where the package is not installed."""
    try:
        return version("hermes-gateway")
    except PackageNotFoundError:
        return "0+unknown"
