import strawberry

from access.policy import as_operator
from graph.context import Info
from graph.types.operators import Operator


@strawberry.type
class OperatorQuery:
    @strawberry.field(description="You, if you are an operator who acts as no tenant; FORBIDDEN for everybody else.")
    async def operator(self, info: Info) -> Operator | None:
        return Operator(name=as_operator(info.context.caller).name)
