"""Pages of objects as JSON, written straight from the rows by a function that is compiled from the selection.

graphql-core takes some 5 us for each leaf; a page of a hundred objects with five pairs each has 1,500. What is selected
of a page nearly always depends on nothing but its rows: then the answer's text is put together from them in one go, to
the byte as it would have been. Whatever else is selected (``NotPlain``), and whatever goes wrong meanwhile, is left to
graphql-core.
"""

from collections.abc import Callable, Mapping, Sequence
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

from graph import leaves
from graph.context import Context
from graph.limits import too_complex
from graph.literals import has_variable
from graph.selection import NotPlain, Selected, fragments_of, select
from graph.types.files import Reading, readings
from models.errors import BadInput
from models.pages import Page, Row
from models.reads import MOST_CHARACTERS, Parts

_PAIR = 10  # characters at least of a value of a pair, as JSON
_QUOTES = 4  # at least of one, with its name
_LONG = 1_000_000  # characters: it is worth a closer look then, lest a page of long values is taken for one of many


class Written(NamedTuple):
    """``values`` and ``characters`` are no less than the leaves of it, and the characters of those that are text."""

    json: str
    values: int
    characters: int


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
        self._named: dict[str, Any] = {**leaves.NAMES, "readings": readings}
        self._leaves = 0
        self.data = self.batch = self._updated = False  # whether they are read
        self.readings: list[Reading] = []  # what is asked for of URLs, which are somebody's own
        self._columns: set[str] = set()  # of a file

    @property
    def parts(self) -> Parts:
        return Parts(self.data, bool(self._columns), self.batch, frozenset(self._columns), self._updated)

    def of_page(self, below: Sequence[SelectionSetNode]) -> PageWriter:
        """Of a connection, whose cursors are of the list with the digest."""
        write = self._connection(below)

        def written(page: Page, digest: bytes, context: Context) -> Written:
            return self._counted(write(page, leaves.end_of_cursors(digest), context), len(page.rows) + 1)

        return written

    def of_object(self, below: Sequence[SelectionSetNode]) -> Callable[[Row, Context], Written]:
        write = self._listed("rows, context", self._object("Object", below, self._in_object), "rows")
        return lambda row, context: self._counted(write([row], context), 1)

    def _counted(self, text: str, times: int) -> Written:
        pairs = len(text) // _PAIR if self.data else 0
        if self.data and len(text) > _LONG:
            pairs = min(pairs, text.count('"') // _QUOTES)
        return Written(text, self._leaves * times + pairs, len(text))

    # Templates are the inside of an f-string of ``row`` or ``page``, as leaves are; names of GraphQL are as they are.

    def _connection(self, below: Sequence[SelectionSetNode]) -> Callable[..., str]:
        lists = 0

        def template(one: Selected) -> str:
            nonlocal lists
            if one.name == "pageInfo":
                return self._leaves_of("PageInfo", leaves.PAGE_INFO, one.below)
            lists += 1
            if one.name == "edges":
                return self._rows(self._object("ObjectEdge", one.below, self._in_edge))
            if one.name == "nodes":
                return self._rows(self._object("Object", one.below, self._in_object))
            raise NotPlain

        whole = self._object("ObjectConnection", below, template)
        if lists > 1:  # rows that are handed out again are counted again
            raise NotPlain
        return self._compiled("page, end, context", whole)

    def _rows(self, template: str) -> str:
        listed = self._listed("page, end, context", template, "page.rows")
        return f"[{{{self._named_as(listed)}(page, end, context)}}]"

    def _in_edge(self, one: Selected) -> str:
        if one.name == "node":
            return self._object("Object", one.below, self._in_object)
        return self._leaf(leaves.EDGE, one)

    def _in_object(self, one: Selected) -> str:
        match one.name:
            case "data":
                self.data = True
                return self._pairs(one.below)
            case "batch":
                self.batch = True
                return self._leaves_of("Batch", leaves.BATCH, one.below)
            case "file":
                self._columns.add("file_pk")
                template = self._object("File", one.below, self._in_file)
                urls = [name for number in range(len(self.readings)) for name in _urls(number)]
                arguments = ", ".join(["row", *urls])
                file = self._compiled(arguments, template, unless='row["file_pk"] is None')
                return f"{{{self._named_as(file)}({arguments})}}"
        self._updated = self._updated or one.name == "updatedAt"
        return self._leaf(leaves.OBJECT, one)

    def _in_file(self, one: Selected) -> str:
        self._columns.update(leaves.COLUMNS.get(one.name, ()))
        if one.name != "access":
            return self._leaf(leaves.FILE, one)
        self.batch = True  # which the audit log names
        definition = self._schema.type_map["File"].fields["access"]  # type: ignore[attr-defined]
        if any(has_variable(argument.value) for argument in one.node.arguments or ()):
            raise NotPlain
        given = get_argument_values(definition, one.node)
        try:
            asked = Reading.of(given.get("expiresIn"), given.get("disposition"))
        except BadInput:
            raise NotPlain from None
        number = len(self.readings)
        self.readings.append(asked)
        return self._leaves_of("Access", leaves.access(*_urls(number)), one.below)

    def _leaves_of(self, type_name: str, of: Mapping[str, str], below: Sequence[SelectionSetNode]) -> str:
        return self._object(type_name, below, lambda one: self._leaf(of, one))

    def _leaf(self, of: Mapping[str, str], one: Selected) -> str:
        if one.name not in of:
            raise NotPlain
        self._leaves += 1
        return of[one.name]

    def _object(self, type_name: str, below: Sequence[SelectionSetNode], template: Callable[[Selected], str]) -> str:
        parts = []
        for name, one in self._select(type_name, below).items():
            if one.name == "__typename":
                self._leaves += 1
                parts.append(f'"{name}":"{type_name}"')
            else:
                parts.append(f'"{name}":{template(one)}')
        return "{{" + ",".join(parts) + "}}"

    def _pairs(self, below: Sequence[SelectionSetNode]) -> str:
        wanted = [(name, one.name) for name, one in self._select("Datum", below).items()]
        if wanted == leaves.KEPT:
            return leaves.PAIRS
        if not {of for _, of in wanted} <= {"key", "value"}:
            raise NotPlain

        def pairs(row: Row) -> str:
            if (text := row["data"]) is None:
                raise too_complex("characters", MOST_CHARACTERS)
            return orjson.dumps([{name: pair[of] for name, of in wanted} for pair in orjson.loads(text)]).decode()

        return f"{{{self._named_as(pairs)}(row)}}"

    def _select(self, type_name: str, below: Sequence[SelectionSetNode]) -> dict[str, Selected]:
        return select(self._schema, self._schema.type_map[type_name], below, self._fragments)

    def _named_as(self, value: object) -> str:
        name = f"f{len(self._named)}"
        self._named[name] = value
        return name

    def _compiled(self, arguments: str, template: str, unless: str = "") -> Callable[..., str]:
        """``null`` where ``unless`` holds."""
        null = f"'null' if {unless} else " if unless else ""
        return self._evaluated(f"lambda {arguments}: {null}f'{template}'")

    def _listed(self, arguments: str, template: str, rows: str) -> Callable[..., str]:
        """Of each of the rows, with commas between them."""
        urls = "".join(
            f" for {', '.join(_urls(number))} in [readings(context, {rows}, {self._named_as(asked)})]"
            for number, asked in enumerate(self.readings)
        )
        return self._evaluated(f"lambda {arguments}: ','.join([f'{template}'{urls} for row in {rows}])")

    def _evaluated(self, source: str) -> Callable[..., str]:
        write: Callable[..., str] = eval(source, self._named)  # noqa: S307 - nothing of it is anybody else's
        return write


def _urls(number: int) -> tuple[str, str, str]:
    """The names of what ``readings`` finds for what is asked for."""
    return f"given{number}", f"new{number}", f"until{number}"
