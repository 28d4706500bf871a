from tortoise import fields, migrations
from tortoise.indexes import Index
from tortoise.migrations import operations as ops
from tortoise.migrations.constraints import CheckConstraint, UniqueConstraint

from models.migrations._reaper import REVERSE_SQL, SQL
from models.reaper import OrphanState, ScanStep

_STATES = "'SEEN', 'QUARANTINING', 'QUARANTINED', 'RESTORING', 'RESTORED', 'DELETING', 'DELETED'"
_STEPS = "'KEYS', 'MULTIPARTS', 'ROWS', 'FILES', 'DONE', 'BROKEN'"


class Migration(migrations.Migration):
    dependencies = [("models", "0010_sealed")]

    operations = [
        ops.CreateModel(
            name="Scan",
            fields=[
                ("id", fields.BigIntField(primary_key=True)),
                ("bucket", fields.TextField(unique=False)),
                ("started_at", fields.DatetimeField(auto_now=False, auto_now_add=False)),
                ("finished_at", fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
                ("held_by", fields.TextField(unique=False)),
                ("held_until", fields.DatetimeField(auto_now=False, auto_now_add=False)),
                (
                    "step",
                    fields.CharEnumField(
                        description="\n".join(f"{name}: {name}" for name in _STEPS.replace("'", "").split(", ")),
                        enum_type=ScanStep,
                        max_length=10,
                    ),
                ),
                ("cursor", fields.TextField(unique=False)),
                ("cursor_id", fields.TextField(unique=False)),
                ("keys", fields.BigIntField()),
                ("bytes", fields.BigIntField()),
                ("multiparts", fields.BigIntField()),
                ("foreign_keys", fields.BigIntField()),
                ("foreign_bytes", fields.BigIntField()),
                ("foreign_multiparts", fields.BigIntField()),
                ("quarantine_keys", fields.BigIntField()),
                ("quarantine_bytes", fields.BigIntField()),
            ],
            options={
                "table": "reaper_scans",
                "table_description": "comparisons of a bucket with the rows that know its keys",
                "app": "models",
                "indexes": [Index(fields=["bucket", "id"], name="reaper_scans_bucket")],
                "pk_attr": "id",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="Orphan",
            fields=[
                ("id", fields.BigIntField(primary_key=True)),
                ("bucket", fields.TextField(unique=False)),
                ("key", fields.TextField(unique=False)),
                ("multipart_id", fields.TextField(unique=False)),
                ("size_bytes", fields.BigIntField()),
                ("etag", fields.TextField(unique=False)),
                ("modified_at", fields.DatetimeField(auto_now=False, auto_now_add=False)),
                ("first_seen_at", fields.DatetimeField(auto_now=False, auto_now_add=False)),
                ("sightings", fields.IntField()),
                ("scan_id", fields.BigIntField()),
                (
                    "state",
                    fields.CharEnumField(
                        description="\n".join(f"{name}: {name}" for name in _STATES.replace("'", "").split(", ")),
                        enum_type=OrphanState,
                        max_length=12,
                    ),
                ),
                ("state_at", fields.DatetimeField(auto_now=False, auto_now_add=False)),
                ("due_at", fields.DatetimeField(auto_now=False, auto_now_add=False)),
                ("last_error", fields.TextField(null=True, unique=False)),
            ],
            options={
                "table": "orphans",
                "table_description": "keys in S3 that no row knows, and what became of them",
                "app": "models",
                "indexes": [Index(fields=["state", "due_at"], name="orphans_due")],
                "pk_attr": "id",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="LostFile",
            fields=[
                ("id", fields.BigIntField(primary_key=True)),
                ("bucket", fields.TextField(unique=False)),
                ("key", fields.TextField(unique=False)),
                ("upload_pk", fields.BigIntField()),
                ("size_bytes", fields.BigIntField()),
                ("found_bytes", fields.BigIntField(null=True)),
                ("first_seen_at", fields.DatetimeField(auto_now=False, auto_now_add=False)),
                ("scan_id", fields.BigIntField()),
            ],
            options={
                "table": "lost_files",
                "table_description": "complete files whose bytes are not in S3, or are others",
                "app": "models",
                "pk_attr": "id",
            },
            bases=["Model"],
        ),
        ops.AddConstraint(
            model_name="Scan", constraint=CheckConstraint(check=f"step IN ({_STEPS})", name="reaper_scans_step_known")
        ),
        ops.AddConstraint(
            model_name="Scan",
            constraint=CheckConstraint(
                check="(step IN ('DONE', 'BROKEN')) = (finished_at IS NOT NULL)", name="reaper_scans_finished_at_known"
            ),
        ),
        ops.AddConstraint(
            model_name="Orphan",
            constraint=UniqueConstraint(fields=("bucket", "key", "multipart_id"), name="orphans_key_unique"),
        ),
        ops.AddConstraint(
            model_name="Orphan", constraint=CheckConstraint(check=f"state IN ({_STATES})", name="orphans_state_known")
        ),
        ops.AddConstraint(
            model_name="LostFile", constraint=UniqueConstraint(fields=("bucket", "key"), name="lost_files_key_unique")
        ),
        ops.AddIndex(model_name="Deletion", index=Index(fields=["bucket", "key"], name="deletions_key")),
        ops.RunSQL(SQL, reverse_sql=REVERSE_SQL),
    ]
