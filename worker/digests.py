"""What the bytes of a file are, computed as they come by, and whether it is what S3 says of them."""

import hashlib
from collections.abc import Mapping
from zlib import crc32


class Digests:
    """``expected`` are digests by the names of ``storage.places.Reading``. Beside them there is always the SHA-256."""

    def __init__(self, expected: Mapping[str, bytes]) -> None:
        self._expected = expected
        names = {"sha256", *expected} - {"crc32"}
        self._hashes = {name: hashlib.new(name, usedforsecurity=False) for name in names}
        self._crc32 = 0 if "crc32" in expected else None
        self.size = 0

    def update(self, content: bytes) -> None:
        """Takes a millisecond for half a megabyte, and lets other threads run."""
        self.size += len(content)
        for one in self._hashes.values():
            one.update(content)
        if self._crc32 is not None:
            self._crc32 = crc32(content, self._crc32)

    @property
    def sha256(self) -> bytes:
        return self._hashes["sha256"].digest()

    def wrong(self) -> list[str]:
        """The names of those that are not as expected."""
        found = {name: one.digest() for name, one in self._hashes.items()}
        if self._crc32 is not None:
            found["crc32"] = self._crc32.to_bytes(4, "big")
        return sorted(name for name, digest in self._expected.items() if found[name] != digest)
