from tortoise import fields, migrations
from tortoise.fields.base import OnDelete
from tortoise.migrations import operations as ops
from tortoise.migrations.constraints import CheckConstraint

from models.audit import Action
from models.migrations._sealed import REVERSE_SQL, SQL

_ACTIONS = (
    "'READ_URL', 'WRITE_URL', 'GRANT_GIVEN', 'GRANT_TAKEN', 'KEY_CREATED', 'KEY_ROTATED', 'KEY_REVOKED',"
    " 'USER_CREATED', 'USER_CHANGED', 'USER_REVOKED', 'TENANT_CREATED', 'TENANT_CHANGED', 'TENANT_SUSPENDED',"
    " 'TENANT_RESUMED', 'QUOTAS_SET', 'OPERATOR_ACTED', 'OPERATOR_CREATED', 'OPERATOR_REVOKED', 'BATCH_SEALED'"
)


class Migration(migrations.Migration):
    dependencies = [("models", "0009_multipart")]

    operations = [
        ops.AddField(
            model_name="Batch",
            name="sealed_at",
            field=fields.DatetimeField(null=True, auto_now=False, auto_now_add=False),
        ),
        ops.AddField(
            model_name="Batch",
            name="sealed_by",
            field=fields.ForeignKeyField(
                "models.User",
                source_field="sealed_by_id",
                null=True,
                db_constraint=False,
                to_field="id",
                related_name="sealed",
                on_delete=OnDelete.RESTRICT,
            ),
        ),
        ops.AddField(model_name="Batch", name="digest", field=fields.BinaryField(null=True)),
        ops.AddConstraint(
            model_name="Batch",
            constraint=CheckConstraint(check="octet_length(digest) = 32", name="batches_digest_is_sha256"),
        ),
        ops.AddConstraint(
            model_name="Batch",
            constraint=CheckConstraint(
                check="num_nulls(sealed_at, sealed_by_id, digest) IN (0, 3)", name="batches_sealed_whole"
            ),
        ),
        ops.AddField(model_name="Upload", name="batch_pk", field=fields.BigIntField(null=True)),
        ops.RunSQL(SQL, reverse_sql=REVERSE_SQL),
        ops.AlterField(model_name="Upload", name="batch_pk", field=fields.BigIntField()),
        ops.RemoveConstraint(model_name="AuditEntry", name="audit_log_action_known"),
        ops.AddConstraint(
            model_name="AuditEntry",
            constraint=CheckConstraint(check=f"action IN ({_ACTIONS})", name="audit_log_action_known"),
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
    ]
