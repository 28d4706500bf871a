import hashlib

from storage.uploads import upload_headers

EMPTY = hashlib.sha256(b"").digest()


def test_headers_bind_size_type_and_bytes() -> None:
    assert upload_headers(5, "text/plain") == {
        "content-length": "5",
        "content-type": "text/plain",
        "if-none-match": "*",
    }
    assert upload_headers(0, "image/png", EMPTY, sse="AES256") == {
        "content-length": "0",
        "content-type": "image/png",
        "if-none-match": "*",
        "x-amz-checksum-sha256": "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
        "x-amz-server-side-encryption": "AES256",
    }
