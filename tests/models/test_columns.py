"""Columns have the types, defaults and collations that the models mean, and there are no others."""

from typing import Any

import pytest

from tests.models.test_catalogue import GENERATED, MODELS, of_catalogue, table_of

pytestmark = pytest.mark.usefixtures("connected")

# What models cannot say.
OTHER_COLUMNS = {
    ("object_pairs", "tenant_id"): ("bigint", True, None, None),
    ("object_pairs", "batch_pk"): ("bigint", True, None, None),
    ("object_pairs", "object_pk"): ("bigint", True, None, None),
    ("object_pairs", "number"): ("double precision", False, None, None),
    ("object_pairs", "key"): ("text", True, None, "C"),
    ("object_pairs", "value"): ("text", True, None, "C"),
    **{("granted_pairs", name): ("bigint", True, None, None) for name in ("user_id", "batch_pk", "object_pk")},
    ("granted_pairs", "number"): ("double precision", False, None, None),
    **{("granted_pairs", name): ("text", True, None, "C") for name in ("key", "value")},
    ("idempotent_answers", "tenant_id"): ("bigint", True, None, None),
    ("idempotent_answers", "key_sha256"): ("bytea", True, None, None),
    ("idempotent_answers", "request_sha256"): ("bytea", True, None, None),
    ("idempotent_answers", "created_at"): ("timestamp with time zone", True, None, None),
    ("idempotent_answers", "answer"): ("bytea", False, None, None),
    **{("reaper_keys", name): ("bigint", True, None, None) for name in ("scan_id", "size_bytes")},
    **{("reaper_keys", name): ("text", True, None, None) for name in ("key", "multipart_id", "etag")},
    ("reaper_keys", "modified_at"): ("timestamp with time zone", True, None, None),
    **{("tenants", name): ("bigint", True, "0", None) for name in ("used_bytes", "reserved_bytes", "used_objects")},
    **{
        ("usage_changes", name): ("bigint", True, None, None)
        for name in ("tenant_id", "id", "objects", "used_bytes", "reserved_bytes", "kept_bytes")
    },
    **{
        ("sync_counts", name): ("bigint", True, None, None)
        for name in ("source_id", "queued", "running", "synced", "failed")
    },
    **{("drift_found", name): ("bigint", True, None, None) for name in ("source_id", "size_bytes")},
    **{("drift_found", name): ("text", True, None, None) for name in ("place", "name", "etag")},
    ("sync_counts", "slot"): ("integer", True, None, None),
}
DEFAULTS = {("uploads", "look_at"): "(now() + '00:01:00'::interval)"}
OTHER_NAMES = {"timestamptz": "timestamp with time zone", "int": "integer", "bool": "boolean"}


async def test_columns_have_the_types_defaults_and_collations_that_the_models_mean() -> None:
    expected: dict[Any, Any] = dict(OTHER_COLUMNS)
    for model in MODELS:
        table = table_of(model)
        for name, column in model._meta.fields_db_projection.items():
            field = model._meta.fields_map[name]
            of_model = str(field.get_for_dialect("postgres", "SQL_TYPE")).lower()
            of_postgres = of_model.replace("varchar", "character varying")
            of_postgres = OTHER_NAMES.get(of_postgres, of_postgres)
            generated = field.pk and table in GENERATED
            assert generated == bool(field.generated)
            default = f"nextval('{table}_id_seq'::regclass)" if generated else DEFAULTS.get((table, column))
            expected[table, column] = (of_postgres, not field.null, default, None)
    found = await of_catalogue(
        "SELECT (relname::text, attname::text), (format_type(atttypid, atttypmod), attnotnull,"
        " pg_get_expr(adbin, adrelid), nullif(collname, 'default')::text)"
        " FROM pg_attribute a JOIN tables t ON t.oid = attrelid LEFT JOIN pg_collation c ON c.oid = attcollation"
        " LEFT JOIN pg_attrdef d ON adrelid = attrelid AND adnum = attnum WHERE attnum > 0 AND NOT attisdropped"
    )
    assert {tuple(one): tuple(other) for one, other in found.items()} == expected
