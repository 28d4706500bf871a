"""Thumbnails: of what, how large, made once, and what is answered where there can be none."""

import asyncio
import hashlib
import logging
import os
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image, ImageCms

from access.rates import Payer, Rates
from sync import thumbnails
from sync.thumbnails import Thumbnails, prune
from tests.sync.copied import Copies, code, copies, root, with_root

__all__ = ["copies", "root", "with_root"]  # fixtures

ORIENTATION = 0x0112


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The SHA-256 of each image that a process was started for."""
    began: list[bytes] = []
    original = thumbnails._shrunk

    async def shrunk(file: Any, sha256: bytes, width: int) -> bytes:
        began.append(sha256)
        return await original(file, sha256, width)

    monkeypatch.setattr(thumbnails, "_shrunk", shrunk)
    return began


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    written = BytesIO()
    image.save(written, kind, **options)
    return written.getvalue()


def noise(width: int, height: int, kind: str = "PNG", **options: Any) -> bytes:
    """Of its own in each call, so that no thumbnail of it is kept yet."""
    return encoded(Image.frombytes("RGB", (width, height), os.urandom(width * height * 3)), kind, **options)


async def thumbnail(copies: Copies, key: int, width: int | None = None) -> httpx.Response:
    return await copies.get(f"{key}/thumbnail" + (f"?width={width}" if width else ""))


def shown(answer: httpx.Response) -> Image.Image:
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/webp"), answer.text
    return Image.open(BytesIO(answer.content), formats=["WEBP"])


async def test_thumbnail_is_small_and_made_once(copies: Copies, made: list[bytes]) -> None:
    key = await copies.add("o", noise(400, 200), "a.png", "image/png")
    assert shown(await thumbnail(copies, key)).size == (256, 128)
    assert shown(await thumbnail(copies, key, 200)).size == (256, 128)
    assert len(made) == 1
    answers = await asyncio.gather(*(thumbnail(copies, key, 64) for _ in range(5)))
    assert {shown(answer).size for answer in answers} == {(64, 32)}
    assert len(made) == 2
    assert shown(await thumbnail(copies, key, 1024)).size == (400, 200)


async def test_width_is_within_bounds(copies: Copies) -> None:
    key = await copies.add("o", noise(8, 8), "a.png", "image/png")
    for width in ("0", "1025", "-1", "x", "9" * 30, "²"):
        assert code(await copies.get(f"{key}/thumbnail?width={width}")) == (400, "BAD_INPUT")
    query = '{ object(objectId: "o") { localCopy { thumbnail(width: 1025) { url } } } }'
    [error] = (await copies.caller.post(query)).json()["errors"]
    assert error["extensions"]["code"] == "BAD_INPUT"


async def test_url_of_graphql_shows_the_thumbnail_it_is_of(copies: Copies, made: list[bytes]) -> None:
    await copies.add("o", noise(400, 200), "a.png", "image/png")
    url = (await copies.urls("o", w=100))["thumbnail"]["url"]
    answer = await copies.http.get(url)
    assert shown(answer).size == (128, 64)
    assert answer.headers["content-disposition"] == "inline"
    assert code(await copies.http.get(url.replace("width=128", "width=256"))) == (401, "UNAUTHENTICATED")
    assert code(await copies.http.get(url.replace("/thumbnail", ""))) == (401, "UNAUTHENTICATED")
    again = await copies.http.get(url, headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert len(made) == 1


@pytest.mark.parametrize(
    ("mode", "kind", "file_type"),
    [
        ("RGB", "JPEG", "image/jpeg"),
        ("CMYK", "JPEG", "image/jpeg"),
        ("L", "JPEG", "image/jpeg"),
        ("RGBA", "PNG", "image/png"),
        ("LA", "PNG", "image/png"),
        ("P", "PNG", "image/png"),
        ("1", "PNG", "image/png"),
        ("I;16", "PNG", "image/png"),
        ("P", "GIF", "image/gif"),
        ("RGB", "BMP", "image/bmp"),
        ("RGB", "TIFF", "image/tiff"),
        ("RGB", "WEBP", "image/webp"),
        ("RGB", "PNG", "image/jpeg"),  # declared wrongly, and an image all the same
    ],
)
async def test_images_of_all_kinds_keep_their_looks(copies: Copies, mode: str, kind: str, file_type: str) -> None:
    """Dark on the left and bright on the right."""
    grey = Image.linear_gradient("L").rotate(90).resize((300, 100))
    image = grey.convert("I").point(lambda value: value * 257).convert("I;16") if mode == "I;16" else grey.convert(mode)
    key = await copies.add("o", encoded(image, kind), "a", file_type)
    small = shown(await thumbnail(copies, key, 64)).convert("L")
    assert small.size == (64, 21)
    left, right = (small.crop((x, 0, x + 8, 21)).resize((1, 1), Image.Resampling.BOX).getpixel((0, 0)) for x in (0, 56))
    assert {left < 60, right > 195} == {True} or {left > 195, right < 60} == {True}  # type: ignore[operator]


async def test_thumbnail_is_upright_transparent_and_tells_nothing(copies: Copies) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    exif[0x010F] = "Camera"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    photo = noise(400, 200, "JPEG", exif=exif, icc_profile=profile, comment=b"secret")
    key = await copies.add("photo", photo, "a.jpg", "image/jpeg")
    small = shown(await thumbnail(copies, key, 64))
    assert small.size == (64, 128)
    assert not {"exif", "icc_profile", "xmp", "comment"} & small.info.keys()
    clear = encoded(Image.new("RGBA", (50, 50), (1, 2, 3, 0)))
    assert shown(await thumbnail(copies, await copies.add("clear", clear, "a.png", "image/png"))).mode == "RGBA"
    tall = await copies.add("tall", encoded(Image.new("RGB", (10, 9_000))), "a.png", "image/png")
    assert shown(await thumbnail(copies, tall, 64)).height == 128


REFUSED = {
    "text": b"hello",
    "page": b"<!doctype html><script>alert(1)</script>",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
    "nothing": b"",
    "program": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage",
    "truncated": encoded(Image.linear_gradient("L"), "JPEG")[:1_500],
}


def bomb() -> bytes:
    """Made only where it is needed: that takes a second."""
    return encoded(Image.new("1", (20_000, 20_000)))


@pytest.mark.parametrize("name", [*REFUSED, "bomb"])
async def test_what_is_no_image_is_refused_once_and_logged_once(
    copies: Copies, made: list[bytes], caplog: pytest.LogCaptureFixture, name: str
) -> None:
    key = await copies.add("o", bomb() if name == "bomb" else REFUSED[name], "a.png", "image/png")
    answers = [await thumbnail(copies, key, 512) for _ in range(3)]
    assert {code(answer) for answer in answers} == {(422, "NO_THUMBNAIL")}
    assert len({answer.content for answer in answers}) == 1
    assert len(made) == 1
    [line] = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert line.getMessage() == "no thumbnail could be made"


async def test_what_is_said_to_be_no_image_has_no_thumbnail(copies: Copies, made: list[bytes]) -> None:
    for number, file_type in enumerate(("text/plain", "image/svg+xml", "application/pdf", "video/mp4")):
        key = await copies.add(str(number), noise(8, 8), "a", file_type)
        assert code(await thumbnail(copies, key)) == (422, "NO_THUMBNAIL")
        assert (await copies.urls(str(number)))["thumbnail"] is None
    assert made == []


async def test_process_that_takes_too_long_is_ended_and_may_be_tried_again(
    copies: Copies, made: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await copies.add("o", noise(8, 8), "a.png", "image/png")
    with monkeypatch.context() as patched:
        patched.setattr(thumbnails, "_MOST_SECONDS", 0)
        assert code(await thumbnail(copies, key)) == (422, "NO_THUMBNAIL")
    assert shown(await thumbnail(copies, key)).size == (8, 8)
    assert len(made) == 2


async def test_other_bytes_than_the_rows_are_never_shown(copies: Copies) -> None:
    image, other = noise(8, 8, "BMP"), noise(8, 8, "BMP")
    key = await copies.add("o", image, "a.bmp", "image/bmp")
    copies.path("o", "a.bmp").write_bytes(other)
    assert code(await thumbnail(copies, key)) == (409, "COPY_CHANGED")
    copies.path("o", "a.bmp").unlink()
    assert code(await thumbnail(copies, key)) == (404, "COPY_MISSING")


async def test_image_costs_more_when_it_has_to_be_made(copies: Copies, monkeypatch: pytest.MonkeyPatch) -> None:
    key = await copies.add("o", noise(8, 8), "a.png", "image/png")
    spent: list[int] = []
    original = Rates.reserve

    async def reserve(self: Rates, payer: Payer, points: int, already: int = 0, least: int = 0) -> object:
        spent.append(points - already)
        return await original(self, payer, points, already, least)

    monkeypatch.setattr(Rates, "reserve", reserve)
    for _ in range(2):
        await thumbnail(copies, key)
    assert spent == [1, 100, 1]


async def test_thumbnails_are_shown_where_they_cannot_be_kept(
    copies: Copies, made: list[bytes], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(thumbnails, "_keep", full)
    key = await copies.add("o", noise(8, 8), "a.png", "image/png")
    for _ in range(2):
        assert shown(await thumbnail(copies, key)).size == (8, 8)
    assert len(made) == 2
    assert "thumbnails cannot be kept" in caplog.text


async def test_what_a_crash_has_left_is_made_again(copies: Copies, made: list[bytes]) -> None:
    key = await copies.add("o", noise(8, 8), "a.png", "image/png")
    await thumbnail(copies, key)
    [kept] = (copies.root / thumbnails.DIRECTORY / made[0].hex()[:2]).glob(f"{made[0].hex()}-*")
    for content in (b"", kept.read_bytes()[:-5]):
        kept.write_bytes(content)
        assert shown(await thumbnail(copies, key)).size == (8, 8)
    assert len(made) == 3


def test_the_oldest_go_and_what_is_too_old(tmp_path: Path) -> None:
    for age in range(10):
        place = tmp_path / f"{age % 3:02}" / str(age)
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(bytes(10))
        modified = place.stat().st_mtime - age * 60
        os.utime(place, (modified, modified))
    os.utime(tmp_path / "00" / "0", (0, 0))

    def left() -> list[str]:
        return sorted(file.name for file in tmp_path.glob("*/*"))

    prune(tmp_path, 1_000)
    assert left() == [str(age) for age in range(1, 10)]
    prune(tmp_path, 50)
    assert left() == ["1", "2", "3", "4"]
    prune(tmp_path / "absent", 50)


async def test_no_more_is_kept_than_may_be(tmp_path: Path) -> None:
    kept = Thumbnails(tmp_path, most_kept_bytes=5_000)
    async with kept.running():
        for _ in range(8):
            image = noise(40, 40)
            await kept.made(partial(opened, tmp_path / "image", image), hashlib.sha256(image).digest(), 64)
    sizes = [file.stat().st_size for file in (tmp_path / thumbnails.DIRECTORY).glob("*/*")]
    assert 0 < sum(sizes) <= 5_000


async def opened(path: Path, content: bytes) -> Any:
    await asyncio.to_thread(path.write_bytes, content)
    return await asyncio.to_thread(path.open, "rb")
