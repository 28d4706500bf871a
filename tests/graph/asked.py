"""Documents of many questions, drawn from the schema.

Up to twenty root fields, the same ones several times with different arguments, fragments that are used in several
places, several operations, and variables that are sent with different values.
"""

import random
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    get_named_type,
    get_nullable_type,
    is_leaf_type,
    parse_value,
    value_from_ast_untyped,
)

from tests.graph.test_stock import SCHEMA, Known

assert SCHEMA.query_type is not None
ROOT = SCHEMA.query_type
_LEFT_OUT = ("auditLog", "lastUsedAt")  # which the questions themselves change
_VALUES: Known = {
    "first": ["1", "2", "3", "4", "0"],
    "last": ["1", "2", "0"],
    "after": ["null", '"x"'],
    "before": ["null", '"x"'],
    "prefix": ['""', '"k"'],
    "source": ["null", '"missing"'],
    "name": ['"missing"'],
    "expiresIn": ["null", "60", "300", "600", "0"],
    "width": ["64", "1"],
    "slug": ['"missing"'],
    "ObjectWhere": [
        "null",
        "{}",
        '{data: [{key: "k", value: {eq: "v"}}]}',
        '{not: {batchId: "b"}}',
        "{fileState: COMPLETE}",
        '{data: [{value: {gte: 2}}], or: [{objectIds: ["o1", "o2"]}, {batchId: "b"}]}',
        "{data: [{}]}",
    ],
    "BatchWhere": ["null", "{}", '{batchIds: ["b"]}', '{data: [{key: "k"}]}', "{data: [{}]}"],
    "SyncWhere": ["null", '{source: "missing"}'],
}
_SHARED = ("Object", "Batch", "ObjectConnection", "BatchConnection", "File", "User", "GrantConnection", "PageInfo")
_DEPTH = 5
_MOST_FIELDS, _MOST_ALIASES = 150, 25
_HOW_OFTEN = 0.85  # the page of a list says what it may


class Variable(NamedTuple):
    type: str
    default: str
    values: list[str]


class Operation(NamedTuple):
    name: str | None  # that it is asked for by
    variables: dict[str, Variable]

    def some(self, chance: random.Random) -> dict[str, Any]:
        """Variables as they are sent."""
        return {
            name: value_from_ast_untyped(parse_value(chance.choice(one.values)))
            for name, one in self.variables.items()
            if one.type.endswith("!") or chance.random() < 0.8
        }


class Asked:
    """One document: its ``text`` and its ``operations``."""

    def __init__(self, chance: random.Random, known: Known) -> None:
        self._chance = chance
        self._known = _VALUES | known
        self._names: dict[tuple[str, ...], str] = {}
        self._plain: dict[tuple[str, str], str] = {}  # the arguments of what is named as it is
        self._variables: dict[str, Variable] = {}
        self._fragments: dict[str, tuple[str, str]] = {}  # by their names, types and texts
        self._fields, self._aliases = _MOST_FIELDS // 5, _MOST_ALIASES // 10
        for number in range(chance.choice([0, 1, 2, 4])):
            of = chance.choice(_SHARED)
            self._fragments[f"F{number}"] = of, self._selected(SCHEMA.type_map[of], 2)
        count = chance.choice([1, 1, 1, 2, 3])
        texts, self.operations = [], []
        for number in range(count):
            self._fields, self._aliases = _MOST_FIELDS, _MOST_ALIASES
            text = self._root()
            used = self._used(text)
            name = "" if count == 1 and self._happens(0.5) else f"Q{number}"
            declared = ", ".join(f"${one}: {used[one].type}{used[one].default}" for one in sorted(used))
            texts.append(f"query {name}{f'({declared})' if declared else ''}{text}")
            self.operations.append(Operation(name if count > 1 or (name and self._happens(0.5)) else None, used))
        spread = set(re.findall(r"\.\.\.(F\d)", self._whole("".join(texts))))
        for name, (of, text) in self._fragments.items():
            if name in spread:
                texts.append(f"fragment {name} on {of}{text}")
        chance.shuffle(texts)
        self.text = " ".join(texts)

    def _root(self) -> str:
        fields = [name for name in ROOT.fields if name not in _LEFT_OUT]
        often = ["objects", "object", "batches", "node", "nodes", "batch", "objects", "batches", "viewer"]
        count = self._chance.choice([1, 1, 2, 3, 5, 8, 13, 20])
        found = []
        for number in range(count):
            # Each with its share of what there may be.
            fields_before, aliases_before = self._fields, self._aliases
            self._fields, self._aliases = self._fields // (count - number) + 2, self._aliases // (count - number) + 1
            share = self._fields, self._aliases
            if self._happens(0.15):
                found.append(self._leaf("Query", "__typename"))
            else:
                name = self._chance.choice(often if self._happens(0.7) else fields)
                depth = self._chance.choice([1, 2, 3, _DEPTH])
                found.append(self._field(ROOT, name, depth))
            self._fields = fields_before - (share[0] - self._fields)
            self._aliases = aliases_before - (share[1] - self._aliases)
        if self._happens(0.2):
            cut = self._chance.randrange(len(found))
            found[cut:] = [f"... on Query{self._directive(0.3)} {{ {' '.join(found[cut:])} }}"]
        return f" {{ {' '.join(found)} }}"

    def _selected(self, type_: Any, depth: int) -> str:
        if isinstance(type_, GraphQLInterfaceType):
            return self._of_any(depth)
        assert isinstance(type_, GraphQLObjectType)
        return f" {{ {' '.join(self._selections(type_, depth, apart=False))} }}"

    def _of_any(self, depth: int) -> str:
        """Of a node."""
        found = ["__typename", "id"]
        for name in self._chance.sample(["Object", "Batch", "User"], 2):
            type_ = SCHEMA.type_map[name]
            assert isinstance(type_, GraphQLObjectType)
            found.append(f"... on {name} {{ {' '.join(self._selections(type_, depth, apart=True))} }}")
        return f" {{ {' '.join(found)} }}"

    def _selections(self, type_: GraphQLObjectType, depth: int, *, apart: bool) -> list[str]:
        """``apart`` from those of other types, which the same names in the answer must not be taken for."""
        found = []
        for name, one in type_.fields.items():
            if name in _LEFT_OUT or self._fields <= 0:
                continue
            if is_leaf_type(get_named_type(one.type)):
                if self._happens(0.35):
                    found.append(self._leaf(type_.name, name, apart=apart))
            elif depth > 0:
                times = self._chance.choice([0, 0, 1, 1, 2] if one.args else [0, 0, 1])
                found += [self._field(type_, name, depth - 1, apart=apart) for _ in range(times)]
        if self._happens(0.2):
            found.append(self._leaf(type_.name, "__typename", apart=apart))
        if not apart:
            for name, (of, _) in self._fragments.items():
                if of == type_.name and self._happens(0.6):
                    found.append(f"...{name}{self._directive(0.1)}")
        self._chance.shuffle(found)
        if found and self._happens(0.15):
            cut = self._chance.randrange(len(found))
            found[cut:] = [f"... on {type_.name}{self._directive(0.3)} {{ {' '.join(found[cut:])} }}"]
        return found or ["__typename"]

    def _leaf(self, within: str, name: str, *, apart: bool = False) -> str:
        self._fields -= 1
        return f"{self._named(within, name, '', apart)}{self._directive(0.05)}"

    def _field(self, within: GraphQLObjectType, name: str, depth: int, *, apart: bool = False) -> str:
        self._fields -= 1
        field = within.fields[name]
        arguments = self._arguments(field.args)
        text = f"{self._named(within.name, name, arguments, apart)}{arguments}{self._directive(0.05)}"
        type_ = get_named_type(field.type)
        return text if is_leaf_type(type_) else text + self._selected(type_, depth)

    def _named(self, within: str, name: str, arguments: str, apart: bool) -> str:
        """The same name in the answer is the same field with the same arguments in all of the document."""
        which = self._chance.choice(["", "", "", "x", "y"]) if self._aliases > 0 else ""
        if not (which or apart) and self._plain.setdefault((within, name), arguments) == arguments:
            return name
        self._aliases -= 1
        alias = self._names.setdefault((within, name, arguments, which), f"a{len(self._names)}")
        return f"{alias}: {name}"

    def _arguments(self, given: Mapping[str, GraphQLArgument]) -> str:
        named = []
        paged = self._chance.choice(["first", "first", "last"])
        for name, one in given.items():
            needed = isinstance(one.type, GraphQLNonNull)
            if name in ("first", "last"):
                wanted = name == paged and self._happens(0.6)
            else:
                wanted = needed or self._happens(0.03 if name in ("after", "before") else 0.3)
            if wanted:
                named.append(f"{name}: {self._value(name, one)}")
        return f"({', '.join(named)})" if named else ""

    def _value(self, name: str, argument: GraphQLArgument) -> str:
        type_ = get_nullable_type(argument.type)
        of = get_named_type(type_)
        values = self._known.get(name) or self._known.get(of.name)
        if values is None:
            assert isinstance(of, GraphQLEnumType), (name, of)
            values = list(of.values)
        if not isinstance(type_, GraphQLList) and self._happens(_HOW_OFTEN) and len(values) > 1:
            values = values[:-1]
        if self._happens(0.6):
            return self._chance.choice(values)
        variable = f"v{name}{self._chance.choice('12')}{of.name}"
        if variable not in self._variables:
            text = str(argument.type)
            default = f" = {self._chance.choice(values)}" if self._happens(0.15) else ""
            if default == " = null" and text.endswith("!"):
                default = ""
            self._variables[variable] = Variable(text, default, self._chance.sample(values, min(3, len(values))))
        return f"${variable}"

    def _directive(self, how_often: float) -> str:
        if not self._happens(how_often):
            return ""
        wanted = self._chance.choice(["true", "false", "$on", "$off"])
        if wanted.startswith("$"):
            self._variables[wanted[1:]] = Variable("Boolean!", "", ["true", "false"])
        return f" @{self._chance.choice(['skip', 'include'])}(if: {wanted})"

    def _whole(self, text: str) -> str:
        """With the fragments that are used in it."""
        entered: set[str] = set()
        while new := {name for name in re.findall(r"\.\.\.(F\d)", text) if name not in entered}:
            entered |= new
            text += "".join(self._fragments[name][1] for name in new)
        return text

    def _used(self, text: str) -> dict[str, Variable]:
        return {name: self._variables[name] for name in re.findall(r"\$(\w+)", self._whole(text))}

    def _happens(self, how_often: float) -> bool:
        return self._chance.random() < how_often
