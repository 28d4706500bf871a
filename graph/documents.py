"""From the text of a GraphQL document to what can be executed, remembered from request to request."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    GraphQLError,
    GraphQLOutputType,
    GraphQLSchema,
    GraphQLSyntaxError,
    OperationDefinitionNode,
    parse,
    specified_rules,
    validate,
)
from graphql.validation import NoSchemaIntrospectionCustomRule
from strawberry.schema.validation_rules.maybe_null import MaybeNullValidationRule
from strawberry.schema.validation_rules.one_of import OneOfInputValidationRule

from graph import limits
from graph.cost import Costs
from graph.cost_levels import PageSizes
from graph.errors import (
    MORE_ERRORS,
    MOST_ERRORS,
    PARSE_FAILED,
    VALIDATION_FAILED,
    FormattedError,
    RequestError,
    bad_request,
    request_errors,
)
from graph.items import Complete, item
from graph.limits import QueryLimits
from graph.quick import Quick, quick
from graph.thread import in_thread
from graph.variables import Coercing, coercing
from graph.writers import PageWriter, page_writer
from models.errors import TooComplex

_RULES = (*specified_rules, MaybeNullValidationRule, OneOfInputValidationRule)
_LARGE = 1_000  # characters; above it, parsing and validating can take more than a few milliseconds
# Each error about a value quotes the whole of it, so that errors of a larger document could fill the memory.
_LONGEST = 512 * 1024  # characters

# A parsed document takes 100 to 300 bytes per character, so this is 10 to 30 MB at most.
_MOST_REMEMBERED = 100_000  # characters in all
_LONGEST_REMEMBERED = 10_000  # characters of one document
_LEAST_CHARACTERS = 20  # that one counts for beside its own: even an empty one takes kilobytes


@dataclass(frozen=True, slots=True)
class Document:
    """Executable if it has no ``errors``."""

    node: DocumentNode
    errors: Sequence[FormattedError] = ()
    _operations: dict[str | None, OperationDefinitionNode] = field(default_factory=dict)  # the only one by None, too
    _costs: Costs | None = None
    _schema: GraphQLSchema | None = None
    _quick: dict[int, Quick | None] = field(default_factory=dict)
    _pages: dict[tuple[int, ...], PageWriter | None] = field(default_factory=dict)
    _items: dict[tuple[int, ...], Complete | None] = field(default_factory=dict)
    _coercing: dict[int, Coercing | None] = field(default_factory=dict)

    def operation(self, name: str | None) -> OperationDefinitionNode:
        """The operation of that name, or the only one. Raises RequestError."""
        if (operation := self._operations.get(name)) is not None:
            return operation
        if name is None:
            raise bad_request("The document has several operations: name one of them in operationName.", None)
        raise bad_request("The document has no operation of the name given in operationName.", None)

    def page_writer(self, nodes: Sequence[FieldNode]) -> PageWriter | None:
        """What writes the page that fields of the document, which are one in an answer, select of objects."""
        key = tuple(map(id, nodes))  # of nodes that the document keeps
        if key not in self._pages:
            self._pages[key] = page_writer(self._schema, nodes, self.node) if self._schema else None
        return self._pages[key]

    def item(self, type_: GraphQLOutputType, nodes: Sequence[FieldNode]) -> Complete | None:
        """What completes the items of the list that such fields, which are one in an answer, give."""
        key = (id(type_), *map(id, nodes))  # of what the schema and the document keep
        if key not in self._items:
            self._items[key] = item(self._schema, type_, nodes, self.node) if self._schema else None
        return self._items[key]

    def coercing(self, operation: OperationDefinitionNode) -> Coercing | None:
        """The short way to its variables, if there is one."""
        if id(operation) not in self._coercing:  # which the document keeps
            self._coercing[id(operation)] = coercing(self._schema, self.node, operation) if self._schema else None
        return self._coercing[id(operation)]

    def quick(self, operation: OperationDefinitionNode) -> Quick | None:
        """The shortest way to its answer, if there is one."""
        if id(operation) not in self._quick:  # which the document keeps
            self._quick[id(operation)] = quick(self._schema, self.node, operation) if self._schema else None
        return self._quick[id(operation)]

    def points(self, name: str | None, variables: Mapping[str, Any] | None, *, remembered: bool = True) -> int:
        """What that operation costs; 1 where there is none that could be executed."""
        try:
            operation = self.operation(name)
        except RequestError:
            return 1
        return self._costs.points(operation, variables or {}, remembered=remembered) if self._costs else 1


class Documents:
    """Parses and validates. Remembers the documents used last, the refused ones too."""

    def __init__(
        self, schema: GraphQLSchema, query_limits: QueryLimits, page_sizes: PageSizes, *, introspection: bool
    ) -> None:
        self._schema = schema
        self._page_sizes = page_sizes
        self._limits = query_limits
        self._introspection = introspection
        self._remembered: OrderedDict[str, Document] = OrderedDict()
        self._characters = 0

    def known(self, text: str) -> Document | None:
        """If it is remembered, which makes reading it cheap."""
        if (document := self._remembered.get(text)) is not None:
            self._remembered.move_to_end(text)
        return document

    async def read(self, text: str) -> Document:
        if (document := self.known(text)) is not None:
            return document
        document = await in_thread(self._read, text) if len(text) > _LARGE else self._read(text)
        if len(text) <= _LONGEST_REMEMBERED:
            self._remember(text, document)
        return document

    def _remember(self, text: str, document: Document) -> None:
        if text not in self._remembered:  # another request may have read the same meanwhile
            self._characters += len(text) + _LEAST_CHARACTERS
        self._remembered[text] = document
        while self._characters > _MOST_REMEMBERED:
            oldest, _ = self._remembered.popitem(last=False)
            self._characters -= len(oldest) + _LEAST_CHARACTERS

    def _read(self, text: str) -> Document:
        if len(text) > _LONGEST:
            message = f"The document has more than {_LONGEST:,} characters: pass what is long in variables."
            return _too_complex(TooComplex(message, limit="characters", maximum=_LONGEST))
        tokens = self._limits.tokens
        try:
            node = parse(text, max_lexical_tokens=tokens, max_comments=tokens)
        except GraphQLSyntaxError as error:
            if "contains more than" not in error.message:  # graphql-core has no other sign of a limit
                return Document(DocumentNode(), request_errors([error], PARSE_FAILED))
            return _too_complex(limits.too_complex("tokens", tokens))
        if errors := self._validate(node):
            return Document(DocumentNode(), request_errors(errors, VALIDATION_FAILED))
        _cut_tokens(node)
        operations = [each for each in node.definitions if isinstance(each, OperationDefinitionNode)]
        named = {each.name.value if each.name else None: each for each in operations}
        if len(operations) == 1:
            named[None] = operations[0]
        return Document(node, (), named, Costs(self._schema, self._page_sizes, node), self._schema)

    def _validate(self, node: DocumentNode) -> Sequence[GraphQLError]:
        if errors := limits.exceeded(node, self._limits):
            return errors
        # On its own, because it reports every single field of an introspection query.
        if not self._introspection and (errors := validate(self._schema, node, [NoSchemaIntrospectionCustomRule])):
            return errors[:1]
        most = MOST_ERRORS - 1
        errors = validate(self._schema, node, _RULES, most, hide_suggestions=not self._introspection)
        if len(errors) > most:  # the last one only says that validation ended
            errors[most] = GraphQLError(MORE_ERRORS)
        return errors


def _cut_tokens(node: DocumentNode) -> None:
    """They point to one another: what is forgotten would wait for the collector, which seldom looks at what is old."""
    token = node.loc.start_token if node.loc else None
    while token is not None:
        following, token.prev, token.next = token.next, None, None
        token = following


def _too_complex(error: TooComplex) -> Document:
    return Document(DocumentNode(), [{"message": str(error), "extensions": error.extensions}])
