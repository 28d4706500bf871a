from tortoise import fields, migrations
from tortoise.fields.base import OnDelete
from tortoise.indexes import Index
from tortoise.migrations import operations as ops
from tortoise.migrations.constraints import CheckConstraint

from models.migrations._grants import SQL
from models.people import AccessLevel


class Migration(migrations.Migration):
    dependencies = [("models", "0004_quotas")]

    operations = [
        ops.CreateModel(
            name="Grant",
            fields=[
                ("id", fields.BigIntField(primary_key=True)),
                (
                    "tenant",
                    fields.ForeignKeyField(
                        "models.Tenant",
                        source_field="tenant_id",
                        db_constraint=False,
                        to_field="id",
                        related_name="grants",
                        on_delete=OnDelete.RESTRICT,
                    ),
                ),
                (
                    "user",
                    fields.ForeignKeyField(
                        "models.User",
                        source_field="user_id",
                        db_constraint=False,
                        to_field="id",
                        related_name="grants",
                        on_delete=OnDelete.RESTRICT,
                    ),
                ),
                ("batch_pk", fields.BigIntField()),
                ("object_pk", fields.BigIntField(null=True)),
                (
                    "level",
                    fields.CharEnumField(
                        description="NONE: NONE\nVIEW: VIEW\nEDIT: EDIT\nADMIN: ADMIN",
                        enum_type=AccessLevel,
                        max_length=5,
                    ),
                ),
                (
                    "granted_by",
                    fields.ForeignKeyField(
                        "models.User",
                        source_field="granted_by_id",
                        db_constraint=False,
                        to_field="id",
                        related_name="granted",
                        on_delete=OnDelete.RESTRICT,
                    ),
                ),
                ("created_at", fields.DatetimeField(auto_now=False, auto_now_add=True)),
            ],
            options={
                "table": "grants",
                "table_description": "access of users to batches and objects",
                "app": "models",
                "indexes": [
                    Index(fields=["tenant_id", "batch_pk", "id"], name="grants_batch"),
                    Index(fields=["tenant_id", "object_pk", "id"], name="grants_object"),
                ],
                "pk_attr": "id",
            },
            bases=["Model"],
        ),
        ops.AddConstraint(
            model_name="Grant",
            constraint=CheckConstraint(check="level IN ('VIEW', 'EDIT', 'ADMIN')", name="grants_level_known"),
        ),
        ops.RunSQL(SQL, reverse_sql=[]),
    ]
