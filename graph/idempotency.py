"""Mutations that may be sent again: the same key and the same request get the answer that was given the first time.

An answer may hold presigned URLs and secrets of keys. It is encrypted by a key that is made of the client's, of which
only a hash is stored, so that the table gives nothing away.
"""

import hashlib
import hmac
import re
import secrets
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson
import strawberry
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from graphql import (
    DirectiveNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLArgument,
    GraphQLSchema,
    GraphQLString,
    InlineFragmentNode,
    SelectionNode,
    SelectionSetNode,
)

from access.policy import Caller, identity
from graph.limits import too_complex
from graph.literals import Variables, plain
from graph.thread import in_thread
from models import answers
from models.answers import Place
from models.errors import BadInput, IdempotencyConflict

ARGUMENT = "idempotencyKey"
HEADER = b"idempotency-key"
_KEY = re.compile(r"[ -~]{1,255}")
_DESCRIPTION = (
    "Makes it safe to repeat: the same request with the same key gets the same answer, for a day. 1 to 255 printable"
    " ASCII characters. Where it is absent, the header Idempotency-Key counts."
)
_MOST_BYTES = 8 * 1024 * 1024  # of one answer, as JSON
_LARGE_BYTES = 64 * 1024  # above it, compressing takes more than a millisecond
_NONCE_BYTES = 12


def add_argument(schema: GraphQLSchema) -> None:
    """To every mutation, so that none can forget it; the executor takes it, resolvers never see it."""
    assert schema.mutation_type is not None  # noqa: S101 - for the type checker
    for field in schema.mutation_type.fields.values():
        field.args[ARGUMENT] = GraphQLArgument(GraphQLString, description=_DESCRIPTION)


def checked(key: str) -> str:
    """Raises BadInput."""
    if not _KEY.fullmatch(key):
        raise BadInput("An idempotency key has 1 to 255 printable ASCII characters.")
    return key


class AlreadyAnswered(Exception):
    """Ends a transaction in which there is nothing to do: another has done it meanwhile."""


class Part(NamedTuple):
    """Which of how many mutations of a request, for each is answered, and may be undone, by itself."""

    number: int  # from 0
    of: int


@dataclass(frozen=True, slots=True)
class Repeatable:
    """One mutation of a request with a key."""

    _place: Place
    _request_sha256: bytes
    _cipher: AESGCM

    @classmethod
    def of(cls, caller: Caller, key: str, part: Part, asked: bytes) -> "Repeatable":
        """``asked`` is what the request is compared by."""
        whose = orjson.dumps([caller.tenant_id, *identity(caller), part.number])
        secret = HKDF(SHA256(), length=64, salt=None, info=whose).derive(key.encode())
        place = Place(caller.tenant_id, hashlib.sha256(whose + b"\0" + key.encode()).digest())
        # With a secret, so that nobody who has the table can try what was asked.
        return cls(place, hmac.digest(secret[32:], asked, "sha256"), AESGCM(secret[:32]))

    async def answer(self) -> bytes | None:
        """As JSON, if there is one. Raises IdempotencyConflict where it is another request's."""
        if (found := await answers.find(self._place)) is None:
            return None
        if found.request_sha256 != self._request_sha256:
            raise IdempotencyConflict
        return await _aside(self._open, found.sealed)

    async def claim(self) -> None:
        """Raises AlreadyAnswered, InProgress."""
        if not await answers.claim(self._place, self._request_sha256):
            raise AlreadyAnswered

    async def keep(self, answer: bytes) -> None:
        """Raises TooComplex for an answer that is too large to be kept."""
        if len(answer) > _MOST_BYTES:
            raise too_complex("answer_bytes", _MOST_BYTES)
        await answers.keep(self._place, await _aside(self._seal, answer))

    def _seal(self, answer: bytes) -> bytes:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, zlib.compress(answer, level=1), self._request_sha256)

    def _open(self, sealed: bytes) -> bytes:
        nonce, text = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        return zlib.decompress(self._cipher.decrypt(nonce, text, self._request_sha256))


async def _aside(work: Callable[[bytes], bytes], text: bytes) -> bytes:
    return await in_thread(work, text) if len(text) > _LARGE_BYTES else work(text)


# -- the same request ----------------------------------------------------------------------------------------------


def asked(
    part: Part,
    arguments: Mapping[str, Any],
    nodes: Iterable[FieldNode],
    fragments: Mapping[str, FragmentDefinitionNode],
    variables: Variables,
) -> bytes:
    """What one mutation asks for, ``arguments`` coerced, however it is spaced, and its variables and fragments named.

    Raises BadInput for what no argument takes.
    """
    nodes = list(nodes)
    parts = [part.of, nodes[0].name.value, arguments, _selected(nodes, fragments, variables)]
    try:
        return orjson.dumps(parts, default=_json, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError as error:
        raise BadInput("The request is nested too deeply, or has a number or text that nothing takes.") from error


def _json(value: object) -> object:
    if value is strawberry.UNSET:
        return {"unset": True}
    if isinstance(value, strawberry.Some):
        return {"some": value.value}
    raise TypeError(type(value).__name__)


def _selected(
    nodes: Iterable[FieldNode], fragments: Mapping[str, FragmentDefinitionNode], variables: Variables
) -> list[object]:
    """What is selected below, each selection set on its own, in the order in which they are met.

    A fragment is written once, and is the number of its first use wherever it is used: linear in the document, and
    without recursion.
    """
    written: list[object] = []
    numbers: dict[str, int] = {}
    waiting: deque[SelectionSetNode | None] = deque(node.selection_set for node in nodes)
    while waiting:
        selection_set = waiting.popleft()
        selections: list[object] = []
        for selection in selection_set.selections if selection_set else ():
            entry, below = _selection(selection, numbers, fragments, variables)
            selections.append(entry)
            waiting.extend(below)
        written.append(selections)
    return written


def _selection(
    selection: SelectionNode,
    numbers: dict[str, int],
    fragments: Mapping[str, FragmentDefinitionNode],
    variables: Variables,
) -> tuple[object, list[SelectionSetNode | None]]:
    directives = [[one.name.value, _arguments(one, variables)] for one in selection.directives or ()]
    match selection:
        case FieldNode():
            shown = (selection.alias or selection.name).value
            return ["field", shown, selection.name.value, _arguments(selection, variables), directives], [
                selection.selection_set
            ]
        case InlineFragmentNode():
            condition = selection.type_condition
            return ["inline", condition and condition.name.value, directives], [selection.selection_set]
        case FragmentSpreadNode():
            name = selection.name.value
            new = name not in numbers
            number = numbers.setdefault(name, len(numbers))
            fragment = fragments[name]
            return ["fragment", number, fragment.type_condition.name.value, directives], (
                [fragment.selection_set] if new else []
            )
    raise TypeError(selection.kind)


def _arguments(node: FieldNode | DirectiveNode, variables: Variables) -> dict[str, Any]:
    return {one.name.value: plain(one.value, variables) for one in node.arguments or ()}
