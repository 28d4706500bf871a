"""The arguments of one field, from an operation's variables, in fewer steps than graphql-core takes."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    GraphQLField,
    GraphQLNonNull,
    GraphQLSchema,
    OperationDefinitionNode,
    Undefined,
    VariableNode,
)
from graphql.execution.values import VariableValues, get_argument_values, get_variable_values

from graph.literals import has_variable
from graph.selection import NotPlain
from graph.variables import coercing


class Arguments:
    """Raises GraphQLError where what the document says itself is wrong."""

    def __init__(
        self,
        schema: GraphQLSchema,
        document: DocumentNode,
        operation: OperationDefinitionNode,
        definition: GraphQLField,
        node: FieldNode,
    ) -> None:
        self._schema = schema
        self._declared = operation.variable_definitions or ()
        self._definition = definition
        self._node = node
        self._coercing = coercing(schema, document, operation)
        self._named: list[tuple[str, str, bool]] = []  # argument, variable, and whether it may not be null
        fixed = []
        for one in node.arguments or ():
            argument = definition.args[one.name.value]
            if isinstance(one.value, VariableNode):
                name = argument.out_name or one.name.value
                self._named.append((name, one.value.name.value, isinstance(argument.type, GraphQLNonNull)))
                if argument.default_value is not Undefined:
                    self._coercing = None
            elif has_variable(one.value):
                self._coercing = None
            else:
                fixed.append(one)
        self._fixed: dict[str, Any] = {}
        if self._coercing is not None:
            variable = {one.name.value for one in node.arguments or ()} - {one.name.value for one in fixed}
            rest = {name: argument for name, argument in definition.args.items() if name not in variable}
            self._fixed = get_argument_values(
                GraphQLField(definition.type, rest), dataclasses.replace(node, arguments=tuple(fixed))
            )

    def of(self, variables: Mapping[str, Any]) -> dict[str, Any]:
        """Raises NotPlain or GraphQLError where graphql-core has to say what is wrong with them."""
        values = self._coercing.values(variables) if self._coercing is not None else None
        if values is None:
            return self._slowly(variables)
        arguments = dict(self._fixed)
        for name, variable, needed in self._named:
            if variable in values.coerced:
                arguments[name] = values.coerced[variable]
            if needed and arguments.get(name) is None:
                raise NotPlain
        return arguments

    def _slowly(self, variables: Mapping[str, Any]) -> dict[str, Any]:
        values = get_variable_values(self._schema, self._declared, dict(variables))
        if not isinstance(values, VariableValues):
            raise NotPlain
        return get_argument_values(self._definition, self._node, values)
