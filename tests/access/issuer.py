"""A little OpenID Connect issuer on loopback, which does what the tests tell it to."""

import base64
import contextlib
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

AUDIENCE = "waybill-tests"
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def algorithm_of(key: PrivateKey) -> str:
    return "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"


def public_pem(key: PrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def encoded(part: object) -> str:
    raw = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def by_hand(header: dict[str, Any], claims: dict[str, Any], secret: bytes | None = None) -> str:
    """What no library would sign: without a signature, or with a public key for a secret."""
    signed = f"{encoded(header)}.{encoded(claims)}"
    digest = b"" if secret is None else hmac.new(secret, signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{encoded(digest)}"


@dataclass
class Issuer:
    url: str = ""
    keys: dict[str, PrivateKey] = field(default_factory=dict)  # by kid, those that are published
    others: list[dict[str, Any]] = field(default_factory=list)  # published beside them
    asked: int = 0  # where its keys are
    name: str | None = None  # what it calls itself, where that is not its URL
    answers: int = 200
    seconds: float = 0  # before it answers

    def claims(self, subject: str, **changed: Any) -> dict[str, Any]:
        """None leaves one out."""
        now = int(time.time())
        claims = {"iss": self.url, "aud": AUDIENCE, "sub": subject, "iat": now, "exp": now + 300} | changed
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, subject: str, kid: str = "one", key: PrivateKey | None = None, **changed: Any) -> str:
        key = key or self.keys[kid]
        return jwt.encode(self.claims(subject, **changed), key, algorithm_of(key), headers={"kid": kid})

    def published(self) -> dict[str, Any]:
        keys = []
        for kid, key in self.keys.items():
            public: Any = key.public_key()
            algorithm = RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else ECAlgorithm
            keys.append(algorithm.to_jwk(public, as_dict=True) | {"kid": kid, "use": "sig", "alg": algorithm_of(key)})
        return {"keys": [*self.others, *keys]}


@contextlib.contextmanager
def issuing() -> Iterator[Issuer]:
    issuer = Issuer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            time.sleep(issuer.seconds)
            if self.path == "/.well-known/openid-configuration":
                issuer.asked += 1
                said: object = {"issuer": issuer.name or issuer.url, "jwks_uri": f"{issuer.url}/keys"}
            else:
                said = issuer.published()
            body = json.dumps(said).encode()
            self.send_response(issuer.answers)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with contextlib.suppress(OSError):  # who waited has gone away
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        issuer.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield issuer
        finally:
            server.shutdown()
            thread.join()
