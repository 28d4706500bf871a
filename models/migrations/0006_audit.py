from orjson import loads
from tortoise import fields, migrations
from tortoise.fields.data import JSON_DUMPS
from tortoise.indexes import Index
from tortoise.migrations import operations as ops
from tortoise.migrations.constraints import CheckConstraint

from models.audit import Action
from models.migrations._audit import REVERSE_SQL, SQL

_ACTIONS = (
    "'READ_URL', 'WRITE_URL', 'GRANT_GIVEN', 'GRANT_TAKEN', 'KEY_CREATED', 'KEY_ROTATED', 'KEY_REVOKED',"
    " 'USER_CREATED', 'USER_CHANGED', 'USER_REVOKED', 'TENANT_CREATED', 'TENANT_CHANGED', 'TENANT_SUSPENDED',"
    " 'TENANT_RESUMED', 'QUOTAS_SET', 'OPERATOR_ACTED', 'OPERATOR_CREATED', 'OPERATOR_REVOKED'"
)


class Migration(migrations.Migration):
    dependencies = [("models", "0005_grants")]

    operations = [
        ops.CreateModel(
            name="AuditEntry",
            fields=[
                ("id", fields.BigIntField(primary_key=True, generated=False)),
                ("tenant_id", fields.BigIntField(null=True)),
                ("at", fields.DatetimeField(auto_now=False, auto_now_add=False)),
                (
                    "action",
                    fields.CharEnumField(
                        description="\n".join(f"{name}: {name}" for name in _ACTIONS.replace("'", "").split(", ")),
                        enum_type=Action,
                        max_length=16,
                    ),
                ),
                ("user_id", fields.BigIntField(null=True)),
                ("operator_id", fields.BigIntField(null=True)),
                ("key_id", fields.TextField(null=True, unique=False)),
                ("batch_id", fields.TextField(null=True, unique=False)),
                ("object_id", fields.TextField(null=True, unique=False)),
                ("upload_pk", fields.BigIntField(null=True)),
                ("until_at", fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
                ("details", fields.JSONField(null=True, encoder=JSON_DUMPS, decoder=loads)),
            ],
            options={
                "table": "audit_log",
                "table_description": "who did what; only ever added to",
                "app": "models",
                "indexes": [
                    Index(fields=["tenant_id", "id"], name="audit_log_tenant"),
                    Index(fields=["tenant_id", "action", "id"], name="audit_log_action"),
                    Index(fields=["tenant_id", "user_id", "id"], name="audit_log_user"),
                    Index(fields=["tenant_id", "batch_id", "id"], name="audit_log_batch"),
                    Index(fields=["tenant_id", "object_id", "id"], name="audit_log_object"),
                ],
                "pk_attr": "id",
            },
            bases=["Model"],
        ),
        ops.AddConstraint(
            model_name="AuditEntry",
            constraint=CheckConstraint(check=f"action IN ({_ACTIONS})", name="audit_log_action_known"),
        ),
        ops.RunSQL(SQL, reverse_sql=REVERSE_SQL),
    ]
