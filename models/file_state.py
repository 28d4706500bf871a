from enum import StrEnum


class FileState(StrEnum):
    """How far the bytes of a file are."""

    PENDING = "PENDING"
    VERIFYING = "VERIFYING"
    COMPLETE = "COMPLETE"
    EXPIRED = "EXPIRED"
