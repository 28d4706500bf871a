"""Which files may have thumbnails, and in which widths there are some."""

from models.errors import BadInput

WIDTHS = (64, 128, 256, 512, 1024)  # few, so that what is kept of them stays little
USUAL_WIDTH = 256
_TYPES = frozenset(f"image/{name}" for name in ("bmp", "gif", "jpeg", "png", "tiff", "webp"))


def width_of(wanted: int) -> int:
    """The next that there is. Raises BadInput."""
    if not 1 <= wanted <= WIDTHS[-1]:
        raise BadInput(f'"width" must be from 1 to {WIDTHS[-1]}, not {wanted}.')
    return next(width for width in WIDTHS if width >= wanted)


def is_image(file_type: str) -> bool:
    """Whether a file that is said to be of this type may have a thumbnail."""
    return file_type.partition(";")[0].strip().lower() in _TYPES
