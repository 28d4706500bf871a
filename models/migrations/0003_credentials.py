from tortoise import fields, migrations
from tortoise.fields.base import OnDelete
from tortoise.indexes import Index
from tortoise.migrations import operations as ops
from tortoise.migrations.constraints import CheckConstraint, UniqueConstraint

from models.people import KeyScope

_SCOPE = "READ: READ\nWRITE: WRITE\nADMIN: ADMIN"


class Migration(migrations.Migration):
    dependencies = [("models", "0002_files")]

    operations = [
        ops.CreateModel(
            name="CanaryKey",
            fields=[
                ("id", fields.BigIntField(primary_key=True)),
                ("public_id", fields.CharField(max_length=32)),
                ("note", fields.CharField(max_length=500)),
                ("created_at", fields.DatetimeField(auto_now=False, auto_now_add=True)),
                ("revoked_at", fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
            ],
            options={
                "table": "canary_keys",
                "table_description": "keys that open nothing and tell of their use",
                "app": "models",
                "pk_attr": "id",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="CanaryAlert",
            fields=[
                ("id", fields.BigIntField(primary_key=True)),
                (
                    "canary",
                    fields.ForeignKeyField(
                        "models.CanaryKey",
                        source_field="canary_id",
                        db_constraint=True,
                        to_field="id",
                        related_name="alerts",
                        on_delete=OnDelete.RESTRICT,
                    ),
                ),
                ("seen_at", fields.DatetimeField(auto_now=False, auto_now_add=False)),
                ("address", fields.TextField(unique=False)),
                ("agent", fields.TextField(unique=False)),
                ("path", fields.TextField(unique=False)),
            ],
            options={
                "table": "canary_alerts",
                "table_description": "who sent a canary key",
                "app": "models",
                "indexes": [Index(fields=["canary_id", "id"], name="canary_alerts_canary")],
                "pk_attr": "id",
            },
            bases=["Model"],
        ),
        ops.AddConstraint(
            model_name="CanaryKey",
            constraint=UniqueConstraint(fields=("public_id",), name="canary_keys_public_id_unique"),
        ),
        # The keys there are may do all that their users may.
        ops.AddField(
            model_name="ApiKey",
            name="scope",
            field=fields.CharEnumField(description=_SCOPE, enum_type=KeyScope, max_length=5, null=True),
        ),
        ops.RunSQL("UPDATE api_keys SET scope = 'ADMIN'", reverse_sql="SELECT"),
        ops.AlterField(
            model_name="ApiKey",
            name="scope",
            field=fields.CharEnumField(description=_SCOPE, enum_type=KeyScope, max_length=5),
        ),
        ops.AddField(
            model_name="ApiKey",
            name="expires_at",
            field=fields.DatetimeField(null=True, auto_now=False, auto_now_add=False),
        ),
        ops.AddField(
            model_name="ApiKey",
            name="used_at",
            field=fields.DatetimeField(null=True, auto_now=False, auto_now_add=False),
        ),
        ops.AddField(
            model_name="ApiKey",
            name="rotated_at",
            field=fields.DatetimeField(null=True, auto_now=False, auto_now_add=False),
        ),
        ops.AddConstraint(
            model_name="ApiKey",
            constraint=CheckConstraint(check="scope IN ('READ', 'WRITE', 'ADMIN')", name="api_keys_scope_known"),
        ),
        ops.AddField(model_name="User", name="oidc_subject", field=fields.CharField(null=True, max_length=255)),
        ops.AddConstraint(
            model_name="User",
            constraint=UniqueConstraint(fields=("oidc_subject",), name="users_oidc_subject_unique"),
        ),
        ops.AddConstraint(
            model_name="User",
            constraint=CheckConstraint(check="oidc_subject <> ''", name="users_oidc_subject_not_empty"),
        ),
    ]
