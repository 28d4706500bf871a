"""`waybill objects` and `waybill batches`: what is there, newest first."""

import re
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import click
import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from waybill.cli.client import PAGE, Service, client_command

_DATA = re.compile(r"(?P<key>.*?)(?:(?P<operator>\^=|>=|<=|=|>|<)(?P<value>.*))?", re.DOTALL)
_OPERATORS = {"=": "eq", "^=": "startsWith", ">": "gt", ">=": "gte", "<": "lt", "<=": "lte"}
_NUMBERS = ("gt", "gte", "lt", "lte")
_DEFAULT_FIRST = 10
_LONGEST_IN_TABLE = 40  # characters of a pair; the whole is in the other forms of output

_DATA_HELP = """\b
In data, all that are given must hold:
  KEY         there is a pair with this key
  KEY=VALUE   its value is exactly this; =VALUE: with any key
  KEY^=START  its value begins with this
  KEY>NUMBER  its value is a number greater than this; also >= < <=
The first of these signs ends the key; quote them for the shell.

On a terminal it is a table. Otherwise one line each, tab-separated and
whole, with what cannot be printed written as in \\t, \\n, \\x1b and \\\\.
"""


@dataclass(frozen=True)
class Kind:
    """What can be listed. The last column of the table takes all cells from there on."""

    field: str
    selection: str
    where: str
    columns: tuple[str, ...]
    record: Callable[[Any], dict[str, object]]
    cells: Callable[[Any], list[str]]

    async def pages(self, service: Service, where: object, limit: int | None) -> AsyncIterator[tuple[list[Any], bool]]:
        """Nodes, and whether there are more; at most ``limit`` nodes altogether."""
        query = (
            f"query List($first: Int, $after: String, $where: {self.where})"
            f" {{ {self.field}(first: $first, after: $after, where: $where)"
            f" {{ nodes {{ {self.selection} }} pageInfo {{ hasNextPage endCursor }} }} }}"
        )
        after = None
        while limit is None or limit > 0:
            first = PAGE if limit is None else min(limit, PAGE)
            page = (await service.page(query, {"first": first}, after=after, where=where))[self.field]
            yield page["nodes"], page["pageInfo"]["hasNextPage"]
            if not page["pageInfo"]["hasNextPage"]:
                return
            after = page["pageInfo"]["endCursor"]
            limit = limit and limit - len(page["nodes"])

    async def count(self, service: Service, where: object) -> int:
        query = f"query Count($where: {self.where}) {{ {self.field}(first: 1, where: $where) {{ totalCount }} }}"
        return int((await service.call(query, where=where))[self.field]["totalCount"])


OBJECTS = Kind(
    field="objects",
    selection="objectId createdAt updatedAt data { key value } batch { batchId }",
    where="ObjectWhere",
    columns=("object", "batch", "data"),
    record=lambda node: {
        "object_id": node["objectId"],
        "batch_id": node["batch"]["batchId"],
        "created_at": node["createdAt"],
        "updated_at": node["updatedAt"],
        "data": node["data"],
    },
    cells=lambda node: [
        node["objectId"],
        node["batch"]["batchId"],
        *(f"{pair['key']}={pair['value']}" for pair in node["data"]),
    ],
)

BATCHES = Kind(
    field="batches",
    selection="batchId createdAt createdBy { name } objects(first: 1) { totalCount }",
    where="BatchWhere",
    columns=("batch", "created", "by", "objects"),
    record=lambda node: {
        "batch_id": node["batchId"],
        "created_at": node["createdAt"],
        "created_by": node["createdBy"] and node["createdBy"]["name"],
        "object_count": node["objects"]["totalCount"],
    },
    cells=lambda node: [
        node["batchId"],
        node["createdAt"],
        node["createdBy"]["name"] if node["createdBy"] else "",
        str(node["objects"]["totalCount"]),
    ],
)


def _data_where(_context: click.Context, _option: click.Parameter, given: Sequence[str]) -> list[dict[str, object]]:
    return [_pair_where(text) for text in given]


def _pair_where(text: str) -> dict[str, object]:
    found = _DATA.fullmatch(text)
    assert found is not None  # noqa: S101 - for the type checker; the pattern takes every text
    key, operator, value = found.group("key", "operator", "value")
    where: dict[str, object] = {"key": key} if key else {}
    if operator:
        name = _OPERATORS[operator]
        where["value"] = {name: _number(value, text) if name in _NUMBERS else value}
    elif not key:
        raise click.BadParameter("it is empty: write KEY, KEY=VALUE or =VALUE.")
    return where


def _number(text: str, whole: str) -> float:
    if not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", text, re.ASCII):
        raise click.BadParameter(f"{text!r} in {whole!r} is not a number: < and > compare numbers.")
    return float(text)


def _list_options(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--count", is_flag=True, help="Print only how many there are."),
        click.option("--all", "everything", is_flag=True, help="Show all."),
        click.option("--first", type=click.IntRange(min=1), help=f"Show so many.  [default: {_DEFAULT_FIRST}]"),
        click.option("--data", multiple=True, metavar="FILTER", callback=_data_where, help="What the data must have."),
    ):
        function = option(function)
    return function


@client_command("objects")
@click.option("--batch", metavar="ID", help="Objects of this batch.")
@_list_options
async def objects(service: Service, batch: str | None, data: list[object], **how: Any) -> None:
    """List objects, newest first."""
    where = {"data": data} | ({} if batch is None else {"batchId": batch})
    await _list(service, OBJECTS, where, **how)


@client_command("batches")
@_list_options
async def batches(service: Service, data: list[object], **how: Any) -> None:
    """List batches, newest first. A batch matches the data of any of its objects."""
    await _list(service, BATCHES, {"data": data}, **how)


for command in (objects, batches):
    command.help = f"{command.help}\n\n{_DATA_HELP}"


async def _list(
    service: Service, kind: Kind, where: object, *, first: int | None, everything: bool, count: bool, as_json: bool
) -> None:
    if sum((first is not None, everything, count)) > 1:
        raise click.UsageError("--first, --all and --count exclude each other: pass one of them.")
    if count:
        number = await kind.count(service, where)
        click.echo(orjson.dumps({"count": number}) if as_json else number)
        return
    write = _write_json if as_json else _write_table if sys.stdout.isatty() else _write_lines
    shown, more = 0, False
    async for nodes, has_more in kind.pages(service, where, None if everything else first or _DEFAULT_FIRST):
        shown, more = shown + len(nodes), has_more
        write(kind, nodes)
    if not shown:
        click.echo(f"There are no such {kind.field}.", err=True)
    elif more and first is None:
        click.echo(f"There are more {kind.field}: --first N shows N of them, --all all.", err=True)


def _write_json(kind: Kind, nodes: Sequence[Any]) -> None:
    for node in nodes:
        click.echo(orjson.dumps(kind.record(node)))


def _write_lines(kind: Kind, nodes: Sequence[Any]) -> None:
    for node in nodes:
        click.echo("\t".join(map(_printable, kind.cells(node))))


def _write_table(kind: Kind, nodes: Sequence[Any]) -> None:
    if not nodes:
        return
    table = Table(box=None, pad_edge=False)
    *single, last = kind.columns
    for heading in single:
        table.add_column(heading, no_wrap=True)
    table.add_column(last)
    for node in nodes:
        cells = [_printable(cell) for cell in kind.cells(node)]
        rest = "  ".join(_shortened(cell) for cell in cells[len(single) :])
        # The column may be narrowed, so that ids stay whole, but its text stays on one line.
        table.add_row(*map(Text, cells[: len(single)]), Text(rest, no_wrap=True, overflow="ellipsis"))
    Console().print(table)


def _printable(text: str) -> str:
    """Data may hold anything, control sequences for the terminal included."""
    return "".join(one if one.isprintable() and one != "\\" else one.encode("unicode_escape").decode() for one in text)


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_IN_TABLE else text[: _LONGEST_IN_TABLE - 1] + "…"
