"""What a presigned PUT is bound to."""

import base64


def upload_headers(size: int, content_type: str, sha256: bytes | None = None, *, sse: str = "") -> dict[str, str]:
    """To be signed, and sent by the client exactly so: S3 then takes these bytes only, and only once.

    ``size`` in bytes, ``sse`` as in x-amz-server-side-encryption. tests/storage/test_presigned.py shows what comes of
    each.
    """
    headers = {"content-length": str(size), "content-type": content_type, "if-none-match": "*"}
    if sha256 is not None:
        headers["x-amz-checksum-sha256"] = base64.b64encode(sha256).decode()
    if sse:
        headers["x-amz-server-side-encryption"] = sse
    return headers
