from tortoise import fields, migrations
from tortoise.fields.base import OnDelete
from tortoise.indexes import Index
from tortoise.migrations import operations as ops
from tortoise.migrations.constraints import CheckConstraint, UniqueConstraint

from models.file_state import FileState
from models.migrations._uploads import REVERSE_SQL, SQL


class Migration(migrations.Migration):
    dependencies = [("models", "0001_initial")]

    operations = [
        ops.CreateModel(
            name="Deletion",
            fields=[
                ("id", fields.BigIntField(primary_key=True)),
                ("tenant_id", fields.BigIntField()),
                ("bucket", fields.TextField(unique=False)),
                ("key", fields.TextField(unique=False)),
                ("reserved_bytes", fields.BigIntField()),
                ("due_at", fields.DatetimeField(auto_now=False, auto_now_add=False)),
                ("over_at", fields.DatetimeField(auto_now=False, auto_now_add=False)),
                ("until_at", fields.DatetimeField(auto_now=False, auto_now_add=False)),
                ("attempts", fields.IntField()),
                ("last_error", fields.TextField(null=True, unique=False)),
            ],
            options={
                "table": "deletions",
                "table_description": "keys in S3 whose bytes have to go",
                "app": "models",
                "indexes": [Index(fields=["due_at"], name="deletions_due")],
                "pk_attr": "id",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="Upload",
            fields=[
                ("id", fields.BigIntField(primary_key=True, generated=False)),
                (
                    "tenant",
                    fields.ForeignKeyField(
                        "models.Tenant",
                        source_field="tenant_id",
                        db_constraint=False,
                        to_field="id",
                        related_name="uploads",
                        on_delete=OnDelete.RESTRICT,
                    ),
                ),
                ("object_pk", fields.BigIntField()),
                ("bucket", fields.TextField(unique=False)),
                ("key", fields.TextField(unique=False)),
                ("name", fields.TextField(unique=False)),
                ("content_type", fields.TextField(unique=False)),
                ("size_bytes", fields.BigIntField()),
                ("sha256", fields.BinaryField(null=True)),
                (
                    "state",
                    fields.CharEnumField(
                        description="PENDING: PENDING\nVERIFYING: VERIFYING\nCOMPLETE: COMPLETE\nEXPIRED: EXPIRED",
                        enum_type=FileState,
                        max_length=9,
                    ),
                ),
                ("is_current", fields.BooleanField()),
                ("expires_at", fields.DatetimeField(auto_now=False, auto_now_add=False)),
                ("completed_at", fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
                ("read_at", fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
                ("ended_at", fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
                ("problem", fields.TextField(null=True, unique=False)),
            ],
            options={
                "table": "uploads",
                "table_description": "files of objects: announced, there, or given up",
                "app": "models",
                "indexes": [Index(fields=["tenant_id", "object_pk"], name="uploads_object")],
                "pk_attr": "id",
            },
            bases=["Model"],
        ),
        ops.AddConstraint(
            model_name="Upload", constraint=UniqueConstraint(fields=("bucket", "key"), name="uploads_key_unique")
        ),
        ops.AddConstraint(
            model_name="Upload", constraint=CheckConstraint(check="size_bytes >= 0", name="uploads_size_not_negative")
        ),
        ops.AddConstraint(
            model_name="Upload",
            constraint=CheckConstraint(check="octet_length(sha256) = 32", name="uploads_sha256_is_one"),
        ),
        ops.AddConstraint(
            model_name="Upload",
            constraint=CheckConstraint(
                check="state IN ('PENDING', 'VERIFYING', 'COMPLETE', 'EXPIRED')", name="uploads_state_known"
            ),
        ),
        ops.AddConstraint(
            model_name="Upload",
            constraint=CheckConstraint(
                check="state <> 'VERIFYING' OR read_at IS NOT NULL", name="uploads_read_at_known"
            ),
        ),
        ops.AddConstraint(
            model_name="Upload",
            constraint=CheckConstraint(
                check="(state = 'EXPIRED') = (ended_at IS NOT NULL)", name="uploads_ended_at_known"
            ),
        ),
        ops.AddConstraint(
            model_name="Upload",
            constraint=CheckConstraint(
                check="(state = 'COMPLETE') = (completed_at IS NOT NULL)", name="uploads_completed_at_known"
            ),
        ),
        ops.RunSQL(SQL, reverse_sql=REVERSE_SQL),
    ]
