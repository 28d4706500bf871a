"""A source whose copies are compared with its rows and its bucket."""

from dataclasses import dataclass, field
from typing import Any

import orjson

from models import drifting, sources
from models.drifting import Held
from tests.worker.mirror import Mirror
from worker.copies import Copies
from worker.drift import Checker
from worker.drift_report import Item, Report

PREFIX = "{oeid}/{ref_id}/"  # by which keys tell whose they are
NOTHING: dict[str, list[str]] = {}


@dataclass
class Drift:
    mirror: Mirror
    copies: Copies
    items: list[Item] = field(default_factory=list)

    @property
    def checker(self) -> Checker:
        return self.copies._checker

    async def held(self, *, repair: bool = False, verify: bool = False) -> Held:
        source = await sources.addressed(self.mirror.tenant_slug, "photos")
        held = source and await drifting.take(source, repair=repair, verify=verify)
        assert held
        return held

    async def report(self, *, repair: bool = False, verify: bool = False) -> Report:
        self.items = []
        return await self.checker.check(await self.held(repair=repair, verify=verify), self.items.append)

    async def found(self, *, verify: bool = False) -> dict[str, list[str]]:
        """Of each kind the objects, or the last parts of paths."""
        report = await self.report(verify=verify)
        assert report.problem is None, report.error
        found: dict[str, list[str]] = {}
        for one in self.items:
            found.setdefault(one.kind, []).append(one.object_id or str(one.path).rpartition("/")[2])
        assert {kind: len(items) for kind, items in found.items()} == report.counts
        return {kind: sorted(items) for kind, items in found.items()}

    async def copy(self, *ref_ids: str) -> None:
        for ref_id in ref_ids:
            await self.mirror.put(ref_id.encode(), ref_id)
        await self.mirror.ask(*ref_ids)
        await self.copies.drain()
        assert set((await self.mirror.states()).values()) == {"SYNCED"}

    async def ask(self, *, repair: bool = False, verify: bool = False) -> None:
        await drifting.ask(*self.key, repair=repair, verify=verify)

    @property
    def key(self) -> tuple[int, int]:
        return self.mirror.source["tenant_id"], self.mirror.source["id"]

    async def kept(self) -> Any:
        """What is remembered of the latest report."""
        tenant_id, source_id = self.key
        return orjson.loads((await drifting.latest(tenant_id, [source_id]))[source_id]["report"])
