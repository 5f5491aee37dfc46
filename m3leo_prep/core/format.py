"""The version of the format on disk."""

FORMAT_VERSION = "1.0"
"""A reader refuses a newer major version."""


def is_newer(version: str) -> bool:
    """Return whether a format is too new to be read here (ValueError if it is no version)."""
    return int(version.split(".", maxsplit=1)[0]) > int(FORMAT_VERSION.split(".", maxsplit=1)[0])
