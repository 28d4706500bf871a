"""Secrets that have to be read again, encrypted by a key from the environment (AES-256 in Galois/Counter Mode)."""

import secrets
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from models.errors import Unavailable

_NONCE_BYTES = 12


class Boxes:
    """``keys`` have 32 bytes each: the first encrypts, all decrypt, so that a new one can be put before the others."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = keys
        self._ciphers = [AESGCM(_derived(key, b"secrets of sync sources")) for key in keys]

    def seal(self, secret: bytes, whose: str) -> bytes:
        """``whose`` must be said again to open it. Raises Unavailable where there is no key."""
        if not self._ciphers:
            raise Unavailable("The service has no WAYBILL_ENCRYPTION_KEYS: ask its operator to set one.")
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._ciphers[0].encrypt(nonce, secret, whose.encode())

    def open(self, sealed: bytes, whose: str) -> bytes:
        """Raises Unavailable where no key fits."""
        for cipher in self._ciphers:
            try:
                return cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], whose.encode())
            except InvalidTag:
                continue
        raise Unavailable("None of WAYBILL_ENCRYPTION_KEYS opens this secret: ask the operator for the former key.")

    def derived(self, purpose: bytes) -> list[bytes]:
        """A key of 32 bytes of each key for something else, in the same order."""
        return [_derived(key, purpose) for key in self._keys]


def _derived(key: bytes, purpose: bytes) -> bytes:
    return HKDF(SHA256(), length=32, salt=None, info=b"waybill " + purpose).derive(key)
