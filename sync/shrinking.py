"""A program that makes a thumbnail: a process of its own, for images are read by code that a hostile one may break.

It is given the image as its standard input, which it reads whole, the width, and the SHA-256 that the image must have;
it writes WebP. Its exit code says what went wrong, and standard error why.
"""

import contextlib
import hashlib
import os
import resource
import sys
import warnings
from io import BytesIO

from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageCms,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

REFUSED = 65  # it is no image, a broken one, or too large
CHANGED = 66  # the bytes are not those of the SHA-256
MOST_FILE_BYTES = 64 * 1024**2
MOST_PIXELS = 64_000_000
_MOST_MEMORY_BYTES = 1024**3
_MOST_CPU_SECONDS = 10
_QUALITY = 80
_PLUGINS = (BmpImagePlugin, GifImagePlugin, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin)
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")  # nothing that runs another program, as EPS does
_ORIENTATION = 0x0112  # of EXIF: how the camera was held
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_LYING = 5  # from which on height and width change places


def main() -> int:
    width, digest = int(sys.argv[1]), sys.argv[2]
    _confine()
    image = sys.stdin.buffer.read(MOST_FILE_BYTES + 1)
    if len(image) > MOST_FILE_BYTES:
        return _refused(f"it has more than {MOST_FILE_BYTES:,} bytes")
    if hashlib.sha256(image).hexdigest() != digest:
        return CHANGED
    try:
        thumbnail = shrunk(image, width)
    except UnidentifiedImageError:
        return _refused(f"it is none of {', '.join(_FORMATS)}")
    except MemoryError:
        return _refused("it takes too much memory")
    except Exception as error:  # noqa: BLE001 - a broken image can break Pillow in any way
        return _refused(str(error) or type(error).__name__)
    sys.stdout.buffer.write(thumbnail)
    return 0


def shrunk(data: bytes, width: int) -> bytes:
    """At most so wide and twice as high, never enlarged, upright, in sRGB, of the first picture, without metadata."""
    Image.MAX_IMAGE_PIXELS = MOST_PIXELS  # of what comes out while it is read
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    with Image.open(BytesIO(data), formats=_FORMATS) as image:
        if (pixels := image.width * image.height) > MOST_PIXELS:
            raise ValueError(f"it has {pixels:,} pixels, and at most {MOST_PIXELS:,} are read")
        orientation = _orientation(image)
        profile = image.info.get("icc_profile")
        box = (width, 2 * width)
        small = image if image.mode in ("L", "RGB", "RGBA", "CMYK") and not _has_mask(image) else _plain(image)
        small.thumbnail(box[::-1] if orientation >= _LYING else box, Image.Resampling.LANCZOS, reducing_gap=2.0)
        if orientation in _TURNS:
            small = small.transpose(_TURNS[orientation])
        small = _in_srgb(small, profile)
        written = BytesIO()
        small.save(written, "WEBP", quality=_QUALITY)  # which writes no metadata that it is not given
        return written.getvalue()


def _has_mask(image: Image.Image) -> bool:
    """Whether one colour stands for none."""
    return image.mode in ("L", "RGB") and "transparency" in image.info


def _plain(image: Image.Image) -> Image.Image:
    """Palettes and rare modes, which could not be made smaller smoothly."""
    if image.has_transparency_data:
        return image.convert("RGBA")
    if image.mode.startswith("I;16"):  # which Pillow would cut off at 255
        return image.convert("I").point(lambda value: value * (1 / 257)).convert("L")
    return image.convert("L" if image.mode in ("1", "I", "F") else "RGB")


def _orientation(image: Image.Image) -> int:
    with contextlib.suppress(Exception):  # it may be as broken as it likes
        return int(image.getexif().get(_ORIENTATION, 1))
    return 1


def _in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    wanted = "RGBA" if image.mode == "RGBA" else "RGB"
    if profile and image.mode != "L":
        with contextlib.suppress(Exception):  # a profile that is broken, or of something else
            source = ImageCms.ImageCmsProfile(BytesIO(profile))
            converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode=wanted)
            if converted is not None:
                return converted
    return image.convert(wanted)


def _confine() -> None:
    """Nothing is left of what a process of the service could do but to compute for a while, behind all others."""
    bounds = {
        resource.RLIMIT_AS: _MOST_MEMORY_BYTES,
        resource.RLIMIT_CPU: _MOST_CPU_SECONDS,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
    }
    for which, most in bounds.items():
        resource.setrlimit(which, (most, most))
    os.nice(10)


def _refused(reason: str) -> int:
    sys.stderr.write(reason)
    return REFUSED


if __name__ == "__main__":
    sys.exit(main())
