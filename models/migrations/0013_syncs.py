from tortoise import fields, migrations
from tortoise.fields.base import OnDelete
from tortoise.indexes import Index
from tortoise.migrations import operations as ops
from tortoise.migrations.constraints import CheckConstraint, UniqueConstraint

from models.audit import Action
from models.migrations._syncs import REVERSE_SQL, SQL
from models.sync import SyncState

_ACTIONS = (
    "'READ_URL', 'WRITE_URL', 'GRANT_GIVEN', 'GRANT_TAKEN', 'KEY_CREATED', 'KEY_ROTATED', 'KEY_REVOKED',"
    " 'USER_CREATED', 'USER_CHANGED', 'USER_REVOKED', 'TENANT_CREATED', 'TENANT_CHANGED', 'TENANT_SUSPENDED',"
    " 'TENANT_RESUMED', 'QUOTAS_SET', 'OPERATOR_ACTED', 'OPERATOR_CREATED', 'OPERATOR_REVOKED', 'BATCH_SEALED',"
    " 'SOURCE_CREATED', 'SOURCE_CHANGED', 'SOURCE_ROTATED'"
)


class Migration(migrations.Migration):
    dependencies = [("models", "0012_jobs")]

    operations = [
        ops.CreateModel(
            name="CopyDeletion",
            fields=[
                ("id", fields.BigIntField(primary_key=True)),
                ("tenant_id", fields.BigIntField()),
                ("source_id", fields.BigIntField()),
                ("path", fields.TextField(unique=False)),
                ("due_at", fields.DatetimeField(auto_now=False, auto_now_add=False)),
                ("attempts", fields.IntField()),
                ("last_error", fields.TextField(null=True, unique=False)),
            ],
            options={
                "table": "copy_deletions",
                "app": "models",
                "indexes": [Index(fields=["due_at"], name="copy_deletions_due")],
                "pk_attr": "id",
                "table_description": "local copies that have to go",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="SyncSource",
            fields=[
                ("id", fields.BigIntField(primary_key=True)),
                (
                    "tenant",
                    fields.ForeignKeyField(
                        "models.Tenant",
                        source_field="tenant_id",
                        db_constraint=False,
                        to_field="id",
                        related_name="sync_sources",
                        on_delete=OnDelete.RESTRICT,
                    ),
                ),
                ("name", fields.TextField(unique=False)),
                (
                    "created_by",
                    fields.ForeignKeyField(
                        "models.User",
                        source_field="created_by_id",
                        db_constraint=False,
                        to_field="id",
                        related_name="sync_sources",
                        on_delete=OnDelete.RESTRICT,
                    ),
                ),
                ("created_at", fields.DatetimeField(auto_now=False, auto_now_add=False)),
                ("origin", fields.JSONField()),
                ("destination", fields.JSONField()),
                ("concurrency", fields.IntField()),
                ("paused_at", fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
                ("secret", fields.BinaryField()),
                ("rotated_at", fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
                ("former_secret", fields.BinaryField(null=True)),
                ("former_until", fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
            ],
            options={
                "table": "sync_sources",
                "app": "models",
                "pk_attr": "id",
                "table_description": "where local copies come from",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="Sync",
            fields=[
                ("id", fields.BigIntField(generated=False, primary_key=True)),
                (
                    "tenant",
                    fields.ForeignKeyField(
                        "models.Tenant",
                        source_field="tenant_id",
                        db_constraint=False,
                        to_field="id",
                        related_name="syncs",
                        on_delete=OnDelete.RESTRICT,
                    ),
                ),
                (
                    "source",
                    fields.ForeignKeyField(
                        "models.SyncSource",
                        source_field="source_id",
                        db_constraint=False,
                        to_field="id",
                        related_name="syncs",
                        on_delete=OnDelete.RESTRICT,
                    ),
                ),
                ("batch_pk", fields.BigIntField()),
                ("object_pk", fields.BigIntField()),
                ("file_name", fields.TextField(unique=False)),
                ("file_type", fields.TextField(unique=False)),
                ("signature", fields.BinaryField(null=True)),
                (
                    "state",
                    fields.CharEnumField(
                        description="QUEUED: QUEUED\nRUNNING: RUNNING\nSYNCED: SYNCED\nFAILED: FAILED",
                        enum_type=SyncState,
                        max_length=7,
                    ),
                ),
                ("queued_at", fields.DatetimeField(auto_now=False, auto_now_add=False)),
                ("due_at", fields.DatetimeField(auto_now=False, auto_now_add=False)),
                ("taken_by", fields.UUIDField(null=True)),
                ("attempts", fields.IntField()),
                ("problem", fields.TextField(null=True, unique=False)),
                ("error", fields.TextField(null=True, unique=False)),
                ("path", fields.TextField(null=True, unique=False)),
                ("size_bytes", fields.BigIntField(null=True)),
                ("sha256", fields.BinaryField(null=True)),
                ("etag", fields.TextField(null=True, unique=False)),
                ("synced_at", fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
            ],
            options={
                "table": "syncs",
                "app": "models",
                "indexes": [
                    Index(fields=["tenant_id", "state", "id"], name="syncs_state"),
                    Index(fields=["source_id", "state", "id"], name="syncs_source"),
                    Index(fields=["batch_pk", "state", "id"], name="syncs_batch"),
                    Index(fields=["object_pk", "tenant_id", "id"], name="syncs_object"),
                ],
                "pk_attr": "id",
                "table_description": "local copies of files",
            },
            bases=["Model"],
        ),
        ops.AddConstraint(
            model_name="SyncSource",
            constraint=UniqueConstraint(fields=("tenant", "name"), name="sync_sources_name_unique"),
        ),
        ops.AddConstraint(
            model_name="SyncSource",
            constraint=UniqueConstraint(fields=("tenant", "id"), name="sync_sources_tenant_id_unique"),
        ),
        ops.AddConstraint(
            model_name="SyncSource",
            constraint=CheckConstraint(check="name ~ '^[a-z0-9][a-z0-9-]{0,62}$'", name="sync_sources_name_form"),
        ),
        ops.AddConstraint(
            model_name="SyncSource",
            constraint=CheckConstraint(check="concurrency BETWEEN 1 AND 64", name="sync_sources_concurrency_bounded"),
        ),
        ops.AddConstraint(
            model_name="SyncSource",
            constraint=CheckConstraint(
                check="num_nulls(former_secret, former_until) IN (0, 2)", name="sync_sources_former_whole"
            ),
        ),
        ops.AddConstraint(
            model_name="Sync",
            constraint=UniqueConstraint(fields=("source_id", "object_pk", "file_name"), name="syncs_file_unique"),
        ),
        ops.AddConstraint(
            model_name="Sync",
            constraint=CheckConstraint(check="octet_length(signature) = 32", name="syncs_signature_is_sha256"),
        ),
        ops.AddConstraint(
            model_name="Sync", constraint=CheckConstraint(check="octet_length(sha256) = 32", name="syncs_sha256_is_one")
        ),
        ops.AddConstraint(
            model_name="Sync", constraint=CheckConstraint(check="size_bytes >= 0", name="syncs_size_not_negative")
        ),
        ops.AddConstraint(
            model_name="Sync",
            constraint=CheckConstraint(
                check="state IN ('QUEUED', 'RUNNING', 'SYNCED', 'FAILED')", name="syncs_state_known"
            ),
        ),
        ops.AddConstraint(
            model_name="Sync",
            constraint=CheckConstraint(
                check="(state = 'RUNNING') = (taken_by IS NOT NULL)", name="syncs_taken_by_known"
            ),
        ),
        ops.AddConstraint(
            model_name="Sync",
            constraint=CheckConstraint(check="state <> 'FAILED' OR problem IS NOT NULL", name="syncs_problem_known"),
        ),
        ops.AddConstraint(
            model_name="Sync",
            constraint=CheckConstraint(
                check="num_nulls(path, size_bytes, sha256, etag, synced_at) IN (0, 5)", name="syncs_copied_whole"
            ),
        ),
        ops.AddConstraint(
            model_name="Sync",
            constraint=CheckConstraint(
                check="state <> 'SYNCED' OR synced_at IS NOT NULL", name="syncs_synced_at_known"
            ),
        ),
        ops.RunSQL(SQL, reverse_sql=REVERSE_SQL),
        ops.RemoveConstraint(
            model_name="AuditEntry",
            name="audit_log_action_known",
        ),
        ops.AlterField(
            model_name="AuditEntry",
            name="action",
            field=fields.CharEnumField(
                description="\n".join(f"{name}: {name}" for name in _ACTIONS.replace("'", "").split(", ")),
                enum_type=Action,
                max_length=16,
            ),
        ),
        ops.AddConstraint(
            model_name="AuditEntry",
            constraint=CheckConstraint(check=f"action IN ({_ACTIONS})", name="audit_log_action_known"),
        ),
    ]
