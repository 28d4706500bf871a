"""PostgreSQL's catalogue holds what the models and the hand-written migration mean, all of it and nothing else."""

from typing import Any

import pytest
from tortoise import Tortoise
from tortoise.fields.relational import ForeignKeyFieldInstance
from tortoise.indexes import Index
from tortoise.migrations.autodetector import MigrationAutodetector
from tortoise.migrations.constraints import CheckConstraint, UniqueConstraint
from tortoise.models import Model

import models
from models import database

pytestmark = pytest.mark.usefixtures("connected")

MODELS: list[type[Model]] = [
    model
    for model in (getattr(models, name) for name in models.__all__)
    if isinstance(model, type) and issubclass(model, Model)
]
GENERATED = (
    "tenants",
    "users",
    "api_keys",
    "deletions",
    "grants",
    "canary_keys",
    "canary_alerts",
    "operators",
    "reaper_scans",
    "orphans",
    "lost_files",
    "sync_sources",
    "copy_deletions",
)  # tables whose key the database makes; the others' are models/ids.py's

# What models cannot say (migrations/_pairs.py, _uploads.py, _quotas.py, _idempotency.py).
FOREIGN_KEYS = {
    "api_keys_user_fkey": "FOREIGN KEY (tenant_id, user_id) REFERENCES users(tenant_id, id) ON DELETE RESTRICT",
    "batches_created_by_fkey": (
        "FOREIGN KEY (tenant_id, created_by_id) REFERENCES users(tenant_id, id) ON DELETE RESTRICT"
    ),
    "batches_sealed_by_fkey": (
        "FOREIGN KEY (tenant_id, sealed_by_id) REFERENCES users(tenant_id, id) ON DELETE RESTRICT"
    ),
    "objects_batch_fkey": "FOREIGN KEY (tenant_id, batch_pk) REFERENCES batches(tenant_id, id) ON DELETE RESTRICT",
    "grants_batch_fkey": "FOREIGN KEY (tenant_id, batch_pk) REFERENCES batches(tenant_id, id) ON DELETE CASCADE",
    "grants_object_fkey": "FOREIGN KEY (tenant_id, object_pk) REFERENCES objects(tenant_id, id) ON DELETE CASCADE",
    "grants_user_fkey": "FOREIGN KEY (tenant_id, user_id) REFERENCES users(tenant_id, id) ON DELETE RESTRICT",
    "grants_granted_by_fkey": (
        "FOREIGN KEY (tenant_id, granted_by_id) REFERENCES users(tenant_id, id) ON DELETE RESTRICT"
    ),
    "uploads_object_fkey": "FOREIGN KEY (tenant_id, object_pk) REFERENCES objects(tenant_id, id) ON DELETE CASCADE",
    "sync_sources_created_by_fkey": (
        "FOREIGN KEY (tenant_id, created_by_id) REFERENCES users(tenant_id, id) ON DELETE RESTRICT"
    ),
    "syncs_source_fkey": (
        "FOREIGN KEY (tenant_id, source_id) REFERENCES sync_sources(tenant_id, id) ON DELETE RESTRICT"
    ),
    "syncs_object_fkey": "FOREIGN KEY (tenant_id, object_pk) REFERENCES objects(tenant_id, id) ON DELETE CASCADE",
    "drift_reports_source_fkey": (
        "FOREIGN KEY (tenant_id, source_id) REFERENCES sync_sources(tenant_id, id) ON DELETE CASCADE"
    ),
}
OTHER_KEYS = {
    "granted_pairs_grant_fkey": (
        "FOREIGN KEY (user_id, batch_pk, object_pk) REFERENCES grants(user_id, batch_pk, object_pk) ON DELETE CASCADE"
    ),
    "granted_pairs_pkey": "PRIMARY KEY (object_pk, user_id, key, value)",
    "object_pairs_pkey": "PRIMARY KEY (object_pk, key, value)",
    "usage_changes_pkey": "PRIMARY KEY (tenant_id, id)",
    "idempotent_answers_pkey": "PRIMARY KEY (tenant_id, key_sha256)",
    "sync_counts_pkey": "PRIMARY KEY (source_id, slot)",
}
UPLOADS_INDEXES = {
    "uploads_batch": "uploads USING btree (batch_pk, state) INCLUDE (size_bytes) WHERE ((is_current)::integer = 1)",
    "uploads_replacing": (
        "uploads USING btree (batch_pk) WHERE ((NOT is_current) AND ((state)::text = ANY ((ARRAY["
        "'PENDING'::character varying, 'VERIFYING'::character varying])::text[])))"
    ),
    "uploads_current_state": "uploads USING btree (tenant_id, state, object_pk) WHERE is_current",
    "uploads_look": "uploads USING btree (tenant_id, look_at) WHERE ((state)::text = 'PENDING'::text)",
    "uploads_past": ("uploads USING btree (ended_at) WHERE (((state)::text = 'EXPIRED'::text) AND (NOT is_current))"),
    "uploads_verifying": "uploads USING btree (read_at) WHERE ((state)::text = 'VERIFYING'::text)",
}
REAPER_INDEXES = {"reaper_keys_scan": "reaper_keys USING btree (scan_id, key, multipart_id)"}
GRANTS_INDEXES = {
    "grants_user": "grants USING btree (user_id, id)",
    "grants_user_batches": "grants USING btree (user_id, batch_pk) WHERE (object_pk IS NULL)",
    "grants_user_objects": "grants USING btree (user_id, object_pk) WHERE (object_pk IS NOT NULL)",
}
ANSWERS_INDEXES = {
    "idempotent_answers_created_at": "idempotent_answers USING btree (created_at)",
}
_QUEUED = "(state)::text = 'QUEUED'::text"
_UNDER_WAY = "(state)::text = ANY ((ARRAY['QUEUED'::character varying, 'RUNNING'::character varying])::text[])"
AUDIT_INDEXES = {
    f"audit_log_{thing}": f"audit_log USING btree (hashtextextended({thing}_id, tenant_id), id)"
    for thing in ("batch", "object")
}
SYNCS_INDEXES = {
    "syncs_due": f"syncs USING btree (source_id, due_at) WHERE ({_UNDER_WAY})",
    "syncs_oldest": f"syncs USING btree (source_id, queued_at) WHERE ({_QUEUED})",
    "copy_deletions_path": "copy_deletions USING btree (source_id, path)",
    "drift_found_name": "drift_found USING btree (source_id, place, name)",
    "syncs_path": "syncs USING btree (source_id, path) WHERE (path IS NOT NULL)",
}
UNIQUE_INDEXES = {
    "sync_sources_directory": "sync_sources USING btree (tenant_id, ((destination ->> 'directory'::text)))",
    "grants_unique": "grants USING btree (user_id, batch_pk, object_pk) NULLS NOT DISTINCT",
    "uploads_current": "uploads USING btree (object_pk) WHERE is_current",
    "reaper_scans_running": "reaper_scans USING btree (bucket) WHERE (finished_at IS NULL)",
}
PAIRS_INDEXES = {
    "object_pairs_batch": "object_pairs USING btree (batch_pk, key, value, object_pk)",
    "object_pairs_key_value": "object_pairs USING btree (tenant_id, key, value, object_pk)",
    "object_pairs_key": "object_pairs USING btree (tenant_id, key, object_pk)",
    "object_pairs_value": "object_pairs USING btree (tenant_id, value, object_pk)",
    "object_pairs_key_number": (
        "object_pairs USING btree (tenant_id, key, number, object_pk) WHERE (number IS NOT NULL)"
    ),
    "object_pairs_key_zone": (
        "object_pairs USING btree (tenant_id, key, ((object_pk >> 29)), number, object_pk) WHERE (number IS NOT NULL)"
    ),
    "object_pairs_number": "object_pairs USING btree (tenant_id, number, object_pk) WHERE (number IS NOT NULL)",
}
GRANTED_INDEXES = {
    name.replace("object_pairs", "granted_pairs"): index.replace("object_pairs", "granted_pairs").replace(
        "tenant_id", "user_id"
    )
    for name, index in PAIRS_INDEXES.items()
    if name != "object_pairs_batch"
}
TRIGGERS = {
    "object_pairs_add": "AFTER INSERT ON objects REFERENCING NEW TABLE AS new_objects",
    "object_pairs_remove": "AFTER DELETE ON objects REFERENCING OLD TABLE AS old_objects",
    "object_pairs_change": ("AFTER UPDATE ON objects REFERENCING OLD TABLE AS old_objects NEW TABLE AS new_objects"),
    "object_pairs_clear": "AFTER TRUNCATE ON objects",
    "object_pairs_granted": "AFTER UPDATE ON objects REFERENCING OLD TABLE AS old_objects NEW TABLE AS new_objects",
    "granted_pairs_add": "AFTER INSERT ON grants REFERENCING NEW TABLE AS new_grants",
    "deletions_add": "AFTER DELETE ON uploads REFERENCING OLD TABLE AS old_uploads",
    "deletions_add_all": "BEFORE TRUNCATE ON uploads",
    "audit_log_keep": "BEFORE DELETE OR UPDATE OR TRUNCATE ON audit_log",
    **{
        f"{prefix}_{name}": f"AFTER {event} ON {table}{rows}"
        for prefix, table in (
            ("usage_objects", "objects"),
            ("usage_uploads", "uploads"),
            ("usage_deletions", "deletions"),
            ("syncs_count", "syncs"),
        )
        for name, event, rows in (
            ("add", "INSERT", " REFERENCING NEW TABLE AS new_rows"),
            ("change", "UPDATE", " REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows"),
            ("remove", "DELETE", " REFERENCING OLD TABLE AS old_rows"),
            ("clear", "TRUNCATE", ""),
        )
    },
    "deletions_wake": "AFTER INSERT ON deletions REFERENCING NEW TABLE AS new_rows",
    "copy_deletions_add": "AFTER DELETE ON syncs REFERENCING OLD TABLE AS old_rows",
    "copy_deletions_add_all": "BEFORE TRUNCATE ON syncs",
    "usage_uploads_hold": "BEFORE TRUNCATE ON uploads",
    "usage_deletions_clear": "BEFORE TRUNCATE ON deletions",
}
SETTLE = (
    "CREATE CONSTRAINT TRIGGER usage_settle AFTER INSERT ON usage_changes DEFERRABLE INITIALLY DEFERRED FOR EACH ROW"
    " WHEN (new.objects > 0 OR (new.used_bytes + new.reserved_bytes) > 0) EXECUTE FUNCTION usage_settle()"
)
WHEREVER = ['search_path="$user", public']
KEPT_PLANS = [*WHEREVER, "plan_cache_mode=force_generic_plan"]
BY_INDEX = [*WHEREVER, "enable_seqscan=off"]
# language, volatility, strict, parallel safety, settings
FUNCTIONS = {
    "pair_value": ("sql", "immutable", True, "safe", None),
    "pair_number": ("sql", "immutable", True, "safe", None),
    "object_pairs_add": ("plpgsql", "volatile", False, "unsafe", WHEREVER),
    "object_pairs_remove": ("plpgsql", "volatile", False, "unsafe", BY_INDEX),
    "object_pairs_change": ("plpgsql", "volatile", False, "unsafe", BY_INDEX),
    "object_pairs_clear": ("plpgsql", "volatile", False, "unsafe", WHEREVER),
    "object_pairs_granted": ("plpgsql", "volatile", False, "unsafe", BY_INDEX),
    "granted_pairs_add": ("plpgsql", "volatile", False, "unsafe", BY_INDEX),
    "deletion_over": ("sql", "stable", False, "unsafe", None),
    "deletion_reserved": ("sql", "stable", False, "unsafe", None),
    "deletion_until": ("sql", "stable", False, "unsafe", None),
    "deletions_add": ("plpgsql", "volatile", False, "unsafe", WHEREVER),
    "deletions_add_all": ("plpgsql", "volatile", False, "unsafe", WHEREVER),
    "deletions_wake": ("plpgsql", "volatile", False, "unsafe", WHEREVER),
    "jobs_add": ("sql", "volatile", False, "unsafe", WHEREVER),
    "audit_log_keep": ("plpgsql", "volatile", False, "unsafe", None),
    "copy_deletions_add": ("plpgsql", "volatile", False, "unsafe", WHEREVER),
    "copy_deletions_add_all": ("plpgsql", "volatile", False, "unsafe", WHEREVER),
    "syncs_request": ("plpgsql", "volatile", False, "unsafe", KEPT_PLANS),
    **{
        f"{prefix}_{name}": ("plpgsql", "volatile", False, "unsafe", WHEREVER if name == "clear" else KEPT_PLANS)
        for prefix in ("usage_objects", "usage_uploads", "usage_deletions", "syncs_count")
        for name in ("add", "change", "remove", "clear")
    },
    "usage_uploads_hold": ("plpgsql", "volatile", False, "unsafe", WHEREVER),
    "usage_settle": ("plpgsql", "volatile", False, "unsafe", KEPT_PLANS),
}


def table_of(model: type[Model]) -> str:
    return str(model._meta.db_table)


def columns_of(model: type[Model], fields: Any) -> str:
    """The fields of a constraint or an index may be named as relations or as columns."""
    return ", ".join(field if field in model._meta.fields_db_projection else f"{field}_id" for field in fields)


async def of_catalogue(sql: str) -> dict[Any, Any]:
    """The first column to the second, over all tables but those of Tortoise's migrations and of pgqueuer."""
    rows = await database.fetch(
        f"WITH tables AS (SELECT oid, relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        f" AND relkind = 'r' AND relname !~ '^(tortoise_migrations|pgqueuer)') {sql}"
    )
    return {row[0]: row[1] for row in rows}


async def constraints() -> dict[str, str]:
    return await of_catalogue(
        "SELECT conname, pg_get_constraintdef(c.oid) FROM pg_constraint c JOIN tables t ON t.oid = conrelid"
        " WHERE contype NOT IN ('n', 't')"  # NOT NULL: from PostgreSQL 18 on, compared with the columns; triggers
    )


async def as_postgres_writes(table: str, check: str) -> str:
    async with database.transaction():
        await database.fetch(f"CREATE TEMP TABLE empty_copy (LIKE {table}) ON COMMIT DROP")
        await database.fetch(f"ALTER TABLE empty_copy ADD CONSTRAINT same CHECK ({check})")
        [row] = await database.fetch(
            "SELECT pg_get_constraintdef(oid) AS def FROM pg_constraint WHERE conname = 'same'"
        )
        return str(row["def"])


async def test_tables_have_the_constraints_that_the_models_mean() -> None:
    expected = FOREIGN_KEYS | OTHER_KEYS
    for model in MODELS:
        table = table_of(model)
        expected[f"{table}_pkey"] = f"PRIMARY KEY ({model._meta.db_pk_column})"
        for field in model._meta.fields_map.values():
            if isinstance(field, ForeignKeyFieldInstance) and field.db_constraint:
                target = f"{table_of(field.related_model)}({field.to_field_instance.model_field_name})"
                expected[f"{table}_{field.source_field}_fkey"] = (
                    f"FOREIGN KEY ({field.source_field}) REFERENCES {target} ON DELETE {field.on_delete.value}"
                )
        for constraint in model._meta.constraints:
            assert constraint.name is not None
            if isinstance(constraint, UniqueConstraint):
                expected[constraint.name] = f"UNIQUE ({columns_of(model, constraint.fields)})"
            else:
                assert isinstance(constraint, CheckConstraint)
                expected[constraint.name] = await as_postgres_writes(table, constraint.check)
    assert await constraints() == expected


async def test_every_reference_is_declared_and_stays_within_the_tenant() -> None:
    references = {
        (table_of(model), str(field.source_field))
        for model in MODELS
        for field in model._meta.fields_map.values()
        if isinstance(field, ForeignKeyFieldInstance) and field.related_model not in (models.Tenant, models.CanaryKey)
    }
    declared = await of_catalogue(
        "SELECT (relname::text, substring(pg_get_constraintdef(c.oid) FROM 'FOREIGN KEY .tenant_id, ([^)]+)')), conname"
        " FROM pg_constraint c JOIN tables t ON t.oid = conrelid WHERE contype = 'f'"
    )
    assert {tuple(one) for one in declared} == references | {
        ("grants", "batch_pk"),
        ("grants", "object_pk"),
        ("objects", "batch_pk"),
        ("uploads", "object_pk"),
        ("syncs", "object_pk"),
        ("drift_reports", "source_id"),
        ("granted_pairs", None),  # of the grant of a user
        ("users", None),
        ("canary_alerts", None),
    }


async def test_tables_have_the_indexes_that_the_models_mean() -> None:
    expected = PAIRS_INDEXES | GRANTED_INDEXES | UPLOADS_INDEXES | GRANTS_INDEXES | ANSWERS_INDEXES | REAPER_INDEXES
    expected |= SYNCS_INDEXES | AUDIT_INDEXES
    for model in MODELS:
        for index in model._meta.indexes:
            assert isinstance(index, Index)
            assert index.name is not None
            expected[index.name] = f"{table_of(model)} USING btree ({columns_of(model, index.fields)})"
    found = await of_catalogue(
        "SELECT i.relname, pg_get_indexdef(i.oid) FROM pg_index x JOIN pg_class i ON i.oid = indexrelid"
        " JOIN tables t ON t.oid = indrelid"
        " WHERE NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = i.oid AND contype <> 'f')"
    )
    plain = {name: f"CREATE INDEX {name} ON public.{rest}" for name, rest in expected.items()}
    unique = {name: f"CREATE UNIQUE INDEX {name} ON public.{rest}" for name, rest in UNIQUE_INDEXES.items()}
    assert found == plain | unique


async def test_no_sequence_is_there_but_those_of_generated_keys_and_calls() -> None:
    found = await of_catalogue(
        "SELECT sequencename, cycle FROM pg_sequences WHERE sequencename !~ '^(tortoise|pgqueuer)'"
    )
    assert found == {f"{table}_id_seq": False for table in (*GENERATED, "usage_changes")} | {
        "calls": True,
        "audit_entries": True,
    }


async def test_triggers_work_by_statement_but_the_one_at_commit_and_there_are_no_others() -> None:
    found = await of_catalogue(
        "SELECT tgname, pg_get_triggerdef(g.oid, true) FROM pg_trigger g WHERE NOT tgisinternal"
        " AND tgname <> 'tg_pgqueuer_changed'"
    )
    assert found.pop("usage_settle") == SETTLE
    assert found == {
        name: f"CREATE TRIGGER {name} {when} FOR EACH STATEMENT EXECUTE FUNCTION {name}()"
        for name, when in TRIGGERS.items()
    }
    enabled = await database.fetch("SELECT DISTINCT tgenabled FROM pg_trigger WHERE NOT tgisinternal")
    assert [row["tgenabled"] for row in enabled] == [b"O"]


async def test_functions_promise_what_indexes_and_planner_rely_on() -> None:
    found = await of_catalogue(
        """
        SELECT proname, (lanname::text,
            CASE provolatile WHEN 'i' THEN 'immutable' WHEN 's' THEN 'stable' ELSE 'volatile' END, proisstrict,
            CASE proparallel WHEN 's' THEN 'safe' WHEN 'r' THEN 'restricted' ELSE 'unsafe' END, proconfig)
        FROM pg_proc JOIN pg_language l ON l.oid = prolang WHERE pronamespace = 'public'::regnamespace
            AND proname <> 'fn_pgqueuer_changed'
        """
    )
    assert {name: tuple(one) for name, one in found.items()} == FUNCTIONS


async def test_migrations_say_what_the_models_say() -> None:
    apps = database.config("")["apps"]
    assert Tortoise.apps is not None
    changes = await MigrationAutodetector(Tortoise.apps, apps).changes()
    assert [operation for writer in changes for operation in writer.operations] == []
