"""What two tenants were answered, or have in their tables, made comparable.

What differs by nature gives way to a number that says where it came first, so that what was the same in one place and
another still has to be.
"""

import binascii
import re
from base64 import b64decode, urlsafe_b64decode
from collections import defaultdict

from models import Tenant, database
from tests.conftest import BUCKETS

_BY_NATURE = re.compile(
    r"(?P<url>https?://[^\"\\ ]+)"
    r"|(?P<time>\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d(:?\d\d)?))"
    r"|(?P<secret>wb_[0-9a-f]{16}_[0-9a-f]{64})"
    r"|(?P<uuid>([0-9a-f]{16}/slug/)?[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})"
    r"|(?P<multipart>[0-9a-f]{40}_[0-9a-f]{32})"
    rf"|(?P<bucket>{'|'.join(BUCKETS)})"
    r"|(?P<bytes>\\\\x[0-9a-f]+)"
    r"|(?P<serial>\"\w*id\": \d{1,16})(?!\d)"
    r"|(?<![\w.-])((?P<row>\d{17,19})|(?P<hex>[0-9a-f]{16}|[0-9a-f]{64})|(?P<token>[A-Za-z0-9+/_-]{5,}={0,2}))(?![\w.-])"
)
_UNNUMBERED = ("url", "time", "bucket")
_TABLES = """
    SELECT table_name AS name, CASE WHEN bool_or(column_name = 'id') THEN 'id' ELSE 't::text' END AS order
    FROM information_schema.columns WHERE table_schema = 'public' GROUP BY 1 HAVING bool_or(column_name = 'tenant_id')
"""
_NOT_COMPARED = ("idempotent_answers", "usage_changes")  # sealed; folded up by whoever comes by


def blurred(text: str, slug: str) -> str:
    numbers: defaultdict[str, int] = defaultdict(lambda: len(numbers) + 1)

    def place(found: re.Match[str]) -> str:
        kind, value = next((kind, value) for kind, value in found.groupdict().items() if value is not None)
        if kind in _UNNUMBERED:
            return kind
        if kind == "token":
            kind, value = _row(value)
        if kind == "serial":  # of each table by itself
            column, _, _ = value.partition(":")
            return column if column == '"id"' else f"{column}: {numbers[value]}"
        return f"{kind}#{numbers[value]}" if kind else value

    return _BY_NATURE.sub(place, text.replace(slug, "slug"))


def _row(token: str) -> tuple[str, str]:
    """What kind of global id or cursor it is, and of which row; no kind where it is neither."""
    try:
        kind, _, row = b64decode(token, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        row = ""
    if row.isdigit():
        return kind, row
    try:
        cursor = urlsafe_b64decode(token + "=" * (-len(token) % 4))
    except binascii.Error:
        return "", token
    return ("cursor", str(int.from_bytes(cursor[1:9]))) if len(cursor) == 17 else ("", token)


async def rows_of(tenant: Tenant) -> str:
    """A line for each, in the order in which they were made in their table."""
    tables = [
        f"SELECT '{one['name']}', to_jsonb(t) - 'used_at', row_number() OVER (ORDER BY {one['order']})"
        f" FROM {one['name']} AS t WHERE tenant_id = $1"
        for one in await database.fetch(_TABLES)
        if one["name"] not in _NOT_COMPARED
    ]
    found = " UNION ALL ".join([*tables, "SELECT 'tenants', to_jsonb(t), 1 FROM tenants AS t WHERE id = $1"])
    rows = await database.fetch(
        # Pairs last: they have no order of their own but that of the objects they are of.
        f"SELECT name, row FROM ({found}) AS found (name, row, n) ORDER BY name = 'object_pairs', name, n",
        tenant.id,
    )
    return "\n".join(f"{one['name']} {one['row']}" for one in rows)
