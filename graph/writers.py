"""Pages of objects as JSON, written straight from the rows by a function that is compiled from the selection.

graphql-core takes some 5 us for each leaf; a page of a hundred objects with five pairs each has 1,500. What is selected
of a page nearly always depends on nothing but its rows: then the answer's text is put together from them in one go, to
the byte as it would have been. Whatever else is selected (``NotPlain``), and whatever goes wrong meanwhile, is left to
graphql-core.
"""

from binascii import b2a_base64
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from struct import Struct
from typing import Any, NamedTuple, TypeAlias

import orjson
from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    GraphQLSchema,
    SelectionSetNode,
)
from graphql.execution.values import get_argument_values

from graph.context import Context
from graph.literals import has_variable
from graph.scalars import format_datetime
from graph.selection import NotPlain, Selected, fragments_of, select
from graph.types.files import Reading, reading
from models import ids, pages
from models.errors import BadInput
from models.pages import Page, Row
from models.reads import Parts

_OfRow: TypeAlias = Callable[[Row], str]
_OfPage: TypeAlias = Callable[[Page, _OfRow], str]
_PAIR = 10  # characters at least of a value of a pair, as JSON


class Written(NamedTuple):
    """``values`` and ``characters`` are no less than the leaves of it, and the characters of those that are text."""

    json: str
    values: int
    characters: int


# -- leaves: from a row to what stands in the answer ---------------------------------------------------------------


def _text(value: str) -> str:
    return orjson.dumps(value).decode()


def _global_id(type_name: str, column: str) -> _OfRow:
    form = f"{type_name}:%d".encode()

    def write(row: Row) -> str:
        return f'"{b2a_base64(form % row[column], newline=False).decode()}"'

    return write


@lru_cache(4096)
def _millisecond(time: int) -> str:
    return f'"{format_datetime(ids.created_at(time << ids.TIME_SHIFT))}"'


def _made_at(column: str) -> _OfRow:
    return lambda row: _millisecond(row[column] >> ids.TIME_SHIFT)


def _string(column: str) -> _OfRow:
    return lambda row: _text(row[column])


_moment = lru_cache(4096)(format_datetime)
_again = lru_cache(4096)(_text)  # pages have few batches
_BATCH: dict[str, _OfRow] = {
    "id": _global_id("Batch", "batch_pk"),
    "batchId": lambda row: _again(row["batch_id"]),
    "createdAt": _made_at("batch_pk"),
}
_OBJECT: dict[str, _OfRow] = {
    "id": _global_id("Object", "id"),
    "objectId": _string("object_id"),
    "createdAt": _made_at("id"),
    "updatedAt": lambda row: f'"{_moment(row["updated_at"])}"',
}
_FILE: dict[str, _OfRow] = {
    "state": lambda row: f'"{row["file_state"]}"',
    "name": _string("file_name"),
    "contentType": _string("file_type"),
    "size": lambda row: str(row["file_size"]),
    "sha256": lambda row: "null" if row["file_sha256"] is None else f'"{row["file_sha256"].hex()}"',
    "completedAt": lambda row: "null" if (at := row["file_completed_at"]) is None else f'"{format_datetime(at)}"',
}
_COLUMNS = {
    "state": ["file_state"],
    "name": ["file_name"],
    "contentType": ["file_type"],
    "size": ["file_size"],
    "sha256": ["file_sha256"],
    "completedAt": ["file_completed_at"],
    "access": ["file_state", "file_bucket", "file_key", "file_name", "file_type"],
}


def _pairs_as_kept(row: Row) -> str:
    """As PostgreSQL writes them, without its spaces.

    Within a text each quotation mark has a backslash before it, and after one that ends a text comes no name: what is
    looked for is found between texts only.
    """
    data: str = row["data"]
    data = data.replace('}, {"key": ', '},{"key":').replace(', "value": ', ',"value":')
    return data.replace('[{"key": ', '[{"key":', 1)


_ACCESS = {"url": '"{url}"', "expiresAt": '"{moment(until)}"'}  # in URLs nothing has to be escaped
_AS_KEPT = [("key", "key"), ("value", "value")]


PageWriter: TypeAlias = Callable[[Page, bytes, Context], Written]


def page_writer(schema: GraphQLSchema, nodes: Sequence[FieldNode], document: DocumentNode) -> PageWriter | None:
    """Of fields that give a connection of objects; None where graphql-core has to complete it."""
    below = [node.selection_set for node in nodes if node.selection_set]
    try:
        return Writer(schema, fragments_of(document)).of_page(below)
    except NotPlain:
        return None


class Writer:
    """What is selected of objects. Raises NotPlain."""

    def __init__(self, schema: GraphQLSchema, fragments: Mapping[str, FragmentDefinitionNode]) -> None:
        self._schema = schema
        self._fragments = fragments
        self._named: dict[str, Any] = {"moment": _moment}
        self._leaves = 0
        self.data = self.batch = False  # whether they are read
        self._columns: set[str] = set()  # of a file

    @property
    def parts(self) -> Parts:
        return Parts(self.data, bool(self._columns), self.batch, frozenset(self._columns))

    def of_page(self, below: Sequence[SelectionSetNode]) -> PageWriter:
        """Of a connection, whose cursors are of the list with the digest."""
        write = self._connection(below)
        return lambda page, digest, context: self._counted(write(page, cursors(digest), context), len(page.rows) + 1)

    def of_object(self, below: Sequence[SelectionSetNode]) -> Callable[[Row, Context], Written]:
        write = self._compiled("row, context", self._object("Object", below, self._in_object))
        return lambda row, context: self._counted(write(row, context), 1)

    def _counted(self, text: str, times: int) -> Written:
        return Written(text, self._leaves * times + (len(text) // _PAIR if self.data else 0), len(text))

    # Templates are the inside of an f-string, with functions of ``row`` or ``page``; names of GraphQL are as they are.

    def _connection(self, below: Sequence[SelectionSetNode]) -> Callable[..., str]:
        lists = 0

        def template(one: Selected) -> str:
            nonlocal lists
            if one.name == "pageInfo":
                return self._leaves_of("PageInfo", _PAGE_INFO, one.below, "page, cursor")
            lists += 1
            if one.name == "edges":
                return self._rows(self._object("ObjectEdge", one.below, self._in_edge))
            if one.name == "nodes":
                return self._rows(self._object("Object", one.below, self._in_object))
            raise NotPlain

        whole = self._object("ObjectConnection", below, template)
        if lists > 1:  # rows that are handed out again are counted again
            raise NotPlain
        return self._compiled("page, cursor, context", whole)

    def _rows(self, template: str) -> str:
        listed = self._compiled("page, cursor, context", template, " for row in page.rows")
        return f"{{{self._named_as(listed)}(page, cursor, context)}}"

    def _in_edge(self, one: Selected) -> str:
        if one.name == "node":
            return self._object("Object", one.below, self._in_object)
        if one.name != "cursor":
            raise NotPlain
        self._leaves += 1
        return '"{cursor(row)}"'

    def _in_object(self, one: Selected) -> str:
        match one.name:
            case "data":
                self.data = True
                return f"{{{self._named_as(self._pairs(one.below))}(row)}}"
            case "batch":
                self.batch = True
                return self._leaves_of("Batch", _BATCH, one.below)
            case "file":
                self._columns.add("file_pk")
                write = self._compiled("row, context", self._object("File", one.below, self._in_file))

                def file(row: Row, context: Context) -> str:
                    return "null" if row["file_pk"] is None else write(row, context)

                return f"{{{self._named_as(file)}(row, context)}}"
        return self._leaf(_OBJECT, one, "row")

    def _in_file(self, one: Selected) -> str:
        self._columns.update(_COLUMNS.get(one.name, ()))
        if one.name != "access":
            return self._leaf(_FILE, one, "row")
        self.batch = True  # which the audit log names
        definition = self._schema.type_map["File"].fields["access"]  # type: ignore[attr-defined]
        if any(has_variable(argument.value) for argument in one.node.arguments or ()):
            raise NotPlain
        given = get_argument_values(definition, one.node)
        try:
            asked = Reading.of(given.get("expiresIn"), given.get("disposition"))
        except BadInput:
            raise NotPlain from None
        write = self._compiled("url, until", self._object("Access", one.below, self._in_access))

        def access(row: Row, context: Context) -> str:
            return write(*reading(context, row, asked))

        return f"{{{self._named_as(access)}(row, context)}}"

    def _in_access(self, one: Selected) -> str:
        if one.name not in _ACCESS:
            raise NotPlain
        self._leaves += 1
        return _ACCESS[one.name]

    def _leaves_of(
        self,
        type_name: str,
        leaves: Mapping[str, Callable[..., str]],
        below: Sequence[SelectionSetNode],
        of: str = "row",
    ) -> str:
        return self._object(type_name, below, lambda one: self._leaf(leaves, one, of))

    def _leaf(self, leaves: Mapping[str, Callable[..., str]], one: Selected, of: str) -> str:
        if one.name not in leaves:
            raise NotPlain
        self._leaves += 1
        return f"{{{self._named_as(leaves[one.name])}({of})}}"

    def _object(self, type_name: str, below: Sequence[SelectionSetNode], template: Callable[[Selected], str]) -> str:
        parts = []
        for name, one in self._select(type_name, below).items():
            if one.name == "__typename":
                self._leaves += 1
                parts.append(f'"{name}":"{type_name}"')
            else:
                parts.append(f'"{name}":{template(one)}')
        return "{{" + ",".join(parts) + "}}"

    def _pairs(self, below: Sequence[SelectionSetNode]) -> _OfRow:
        wanted = [(name, one.name) for name, one in self._select("Datum", below).items()]
        if wanted == _AS_KEPT:
            return _pairs_as_kept
        if not {of for _, of in wanted} <= {"key", "value"}:
            raise NotPlain
        return lambda row: orjson.dumps(
            [{name: pair[of] for name, of in wanted} for pair in orjson.loads(row["data"])]
        ).decode()

    def _select(self, type_name: str, below: Sequence[SelectionSetNode]) -> dict[str, Selected]:
        return select(self._schema, self._schema.type_map[type_name], below, self._fragments)

    def _named_as(self, function: Callable[..., str]) -> str:
        name = f"f{len(self._named)}"
        self._named[name] = function
        return name

    def _compiled(self, arguments: str, template: str, loop: str = "") -> Callable[..., str]:
        text = f"f'{template}'"
        source = f"lambda {arguments}: '[' + ','.join([{text}{loop}]) + ']'" if loop else f"lambda {arguments}: {text}"
        write: Callable[..., str] = eval(source, self._named)  # noqa: S307 - nothing of it is anybody else's
        return write


_CURSOR = Struct(">Bq")
_URL_SAFE = bytes.maketrans(b"+/", b"-_")  # of bytes, for characters take ten times as long


@lru_cache(1_000)
def _after_key(digest: bytes) -> str:
    return pages.cursor(0, digest)[12:]


def cursors(digest: bytes) -> _OfRow:
    """As ``pages.cursor`` for one list: nine bytes are twelve characters, and what follows is the same in all."""
    same = _after_key(digest)
    pack = _CURSOR.pack

    def cursor(row: Row) -> str:
        return b2a_base64(pack(1, row["id"]), newline=False).translate(_URL_SAFE).decode() + same

    return cursor


def _cursor_of(index: int) -> _OfPage:
    return lambda page, cursor: f'"{cursor(page.rows[index])}"' if page.rows else "null"


def _boolean(value: bool) -> str:
    return "true" if value else "false"


_PAGE_INFO: dict[str, _OfPage] = {
    "hasNextPage": lambda page, _: _boolean(page.has_next),
    "hasPreviousPage": lambda page, _: _boolean(page.has_previous),
    "startCursor": _cursor_of(0),
    "endCursor": _cursor_of(-1),
}
