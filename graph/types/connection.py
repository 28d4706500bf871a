"""Relay connections over keyset pages. Edges, nodes and the total are made only where they are selected."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import strawberry

from graph.context import Info
from models.pages import Page, Row, cursor

T = TypeVar("T")


@strawberry.type(description="Where a page stands in its list.")
class PageInfo:
    has_next_page: bool = strawberry.field(description="Whether the list goes on after this page.")
    has_previous_page: bool = strawberry.field(
        description="Whether the list has nodes before this page; reading forward, whether `after` was given."
    )
    start_cursor: str | None = strawberry.field(description="The first node's cursor; null on an empty page.")
    end_cursor: str | None = strawberry.field(description="The last node's cursor; null on an empty page.")


@strawberry.type(description="A node and its place in the list.")
class Edge(Generic[T]):
    cursor: str = strawberry.field(description="Pass it as `after` or `before` to the same field with the same filter.")
    node: T = strawberry.field(description="The thing itself.")


@strawberry.type(description="One page of a list, newest first.")
class Connection(Generic[T]):
    page: strawberry.Private[Page]
    digest: strawberry.Private[bytes]
    make: strawberry.Private[Callable[[Row], object]]
    count: strawberry.Private[Callable[[], Awaitable[int]]]
    selected: strawberry.Private[bool] = False

    @strawberry.field(description="The nodes with their cursors.")
    def edges(self, info: Info) -> list[Edge[T]]:
        return [Edge(cursor=cursor(row["id"], self.digest), node=self.make(row)) for row in self._rows(info)]  # type: ignore[arg-type]

    @strawberry.field(description="The nodes alone.")
    def nodes(self, info: Info) -> list[T]:
        return [self.make(row) for row in self._rows(info)]  # type: ignore[misc]

    @strawberry.field(description="Whether and from where the list goes on.")
    def page_info(self) -> PageInfo:
        rows = self.page.rows
        return PageInfo(
            has_next_page=self.page.has_next,
            has_previous_page=self.page.has_previous,
            start_cursor=cursor(rows[0]["id"], self.digest) if rows else None,
            end_cursor=cursor(rows[-1]["id"], self.digest) if rows else None,
        )

    @strawberry.field(
        description="How many nodes the whole list has. Counted only when selected; linear in the matches."
    )
    async def total_count(self) -> int:
        return await self.count()

    def _rows(self, info: Info) -> Sequence[Row]:
        """The first selection was counted with the page; every other one hands out the rows again."""
        if self.selected:
            info.context.hand_out(len(self.page.rows))
        self.selected = True
        return self.page.rows
