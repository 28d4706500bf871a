"""For a service process whose large files are cut as small as S3 allows."""

from storage import multipart

PART_BYTES = 5 * 1024**2


def cut() -> None:
    multipart._LEAST_PART_BYTES = PART_BYTES
