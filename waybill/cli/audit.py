"""`waybill audit`: what was done in a tenant. It works on the database itself."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import orjson

from models import Action, User
from models.audit import Which, page
from models.errors import NotFound
from models.pages import Bounds, Row
from waybill.cli.admin import run, show, tenant_named
from waybill.cli.data_dir import data_dir_option

_MOST_AT_ONCE = 1_000


@click.command("audit")
@data_dir_option
@click.argument("tenant")
@click.option("--action", "actions", type=click.Choice(list(Action)), multiple=True, help="Only this; may be repeated.")
@click.option("--user", help="Only what this user did.")
@click.option("--since", type=click.DateTime(), help="Only what was done later than this (UTC).")
@click.option("--first", type=click.IntRange(1, _MOST_AT_ONCE), default=100, show_default=True, help="Show so many.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def audit(
    data_dir: Path,
    tenant: str,
    actions: Sequence[Action],
    user: str | None,
    since: datetime | None,
    first: int,
    as_json: bool,
) -> None:
    """Show what was done in a tenant, newest first: URLs of files, grants, keys, users, the tenant itself.

    Without a user it was done from the command line.
    """

    async def work() -> list[dict[str, Any]]:
        found = await tenant_named(tenant)
        if user is not None and not await User.exists(tenant=found, name=user):
            raise NotFound(f'there is no user "{user}" in "{tenant}"')
        which = Which(
            found.id,
            actions=tuple(actions) or None,
            user_id=None if user is None else (await User.get(tenant=found, name=user)).id,
            after=since and since.replace(tzinfo=UTC),
        )
        rows = (await page(which, Bounds(first))).rows
        users = {row["user_id"] for row in rows if row["user_id"] is not None}
        names = dict(await User.filter(id__in=users).values_list("id", "name"))
        return [_record(row, names) for row in rows]

    records = run(data_dir, work)
    if as_json:
        for record in records:
            click.echo(orjson.dumps(record))
        return
    show(
        ("at", "action", "user", "key", "batch", "object", "until", "details"),
        [
            (
                *(record["at"], record["action"], record["user"] or ("operator" if record["by_operator"] else None)),
                *(record[name] for name in ("key_id", "batch_id", "object_id", "until")),
                " ".join(f"{key}={value}" for key, value in record["details"].items()),
            )
            for record in records
        ],
    )


def _record(row: Row, names: dict[int, str]) -> dict[str, Any]:
    return {
        "at": row["at"],
        "action": row["action"],
        "user": names.get(row["user_id"]),
        "by_operator": row["operator_id"] is not None,
        "key_id": row["key_id"],
        "batch_id": row["batch_id"],
        "object_id": row["object_id"],
        "until": row["until_at"],
        "details": orjson.loads(row["details"] or "{}"),
    }
