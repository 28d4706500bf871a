from orjson import loads
from tortoise import fields, migrations
from tortoise.fields.base import OnDelete
from tortoise.fields.data import JSON_DUMPS
from tortoise.indexes import Index
from tortoise.migrations import operations as ops
from tortoise.migrations.constraints import CheckConstraint, UniqueConstraint

from models.migrations._pairs import REVERSE_SQL, SQL
from models.people import AccessLevel, Role


class Migration(migrations.Migration):
    initial = True

    operations = [
        ops.CreateModel(
            name="Tenant",
            fields=[
                ("id", fields.BigIntField(primary_key=True)),
                ("slug", fields.CharField(max_length=63)),
                (
                    "member_access",
                    fields.CharEnumField(
                        default=AccessLevel.NONE,
                        description="NONE: NONE\nVIEW: VIEW\nEDIT: EDIT\nADMIN: ADMIN",
                        enum_type=AccessLevel,
                        max_length=5,
                    ),
                ),
                ("created_at", fields.DatetimeField(auto_now=False, auto_now_add=True)),
                ("revoked_at", fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
            ],
            options={
                "table": "tenants",
                "table_description": "isolate users, batches, objects and keys",
                "app": "models",
                "pk_attr": "id",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="User",
            fields=[
                ("id", fields.BigIntField(primary_key=True)),
                (
                    "tenant",
                    fields.ForeignKeyField(
                        "models.Tenant",
                        source_field="tenant_id",
                        db_constraint=True,
                        to_field="id",
                        related_name="users",
                        on_delete=OnDelete.RESTRICT,
                    ),
                ),
                ("name", fields.CharField(max_length=128)),
                (
                    "role",
                    fields.CharEnumField(
                        default=Role.MEMBER, description="ADMIN: ADMIN\nMEMBER: MEMBER", enum_type=Role, max_length=6
                    ),
                ),
                ("created_at", fields.DatetimeField(auto_now=False, auto_now_add=True)),
                ("revoked_at", fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
            ],
            options={
                "table": "users",
                "table_description": "people and programs of a tenant",
                "app": "models",
                "pk_attr": "id",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="ApiKey",
            fields=[
                ("id", fields.BigIntField(primary_key=True)),
                (
                    "tenant",
                    fields.ForeignKeyField(
                        "models.Tenant",
                        source_field="tenant_id",
                        db_constraint=False,
                        to_field="id",
                        related_name="api_keys",
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
                        related_name="api_keys",
                        on_delete=OnDelete.RESTRICT,
                    ),
                ),
                ("name", fields.CharField(max_length=128)),
                ("public_id", fields.CharField(max_length=32)),
                ("secret_sha256", fields.BinaryField()),
                ("created_at", fields.DatetimeField(auto_now=False, auto_now_add=True)),
                ("revoked_at", fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
            ],
            options={
                "table": "api_keys",
                "table_description": "what users authenticate with",
                "app": "models",
                "indexes": [Index(fields=["tenant_id", "user_id"], name="api_keys_user")],
                "pk_attr": "id",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="Batch",
            fields=[
                ("id", fields.BigIntField(primary_key=True, generated=False)),
                (
                    "tenant",
                    fields.ForeignKeyField(
                        "models.Tenant",
                        source_field="tenant_id",
                        db_constraint=False,
                        to_field="id",
                        related_name="batches",
                        on_delete=OnDelete.RESTRICT,
                    ),
                ),
                ("batch_id", fields.TextField(unique=False)),
                (
                    "created_by",
                    fields.ForeignKeyField(
                        "models.User",
                        source_field="created_by_id",
                        db_constraint=False,
                        to_field="id",
                        related_name="batches",
                        on_delete=OnDelete.RESTRICT,
                    ),
                ),
            ],
            options={
                "table": "batches",
                "table_description": "named groups of objects",
                "app": "models",
                "pk_attr": "id",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="Object",
            fields=[
                ("id", fields.BigIntField(primary_key=True, generated=False)),
                (
                    "tenant",
                    fields.ForeignKeyField(
                        "models.Tenant",
                        source_field="tenant_id",
                        db_constraint=False,
                        to_field="id",
                        related_name="objects",
                        on_delete=OnDelete.RESTRICT,
                    ),
                ),
                ("batch_pk", fields.BigIntField()),
                ("object_id", fields.TextField(unique=False)),
                ("data", fields.JSONField(encoder=JSON_DUMPS, decoder=loads)),
                ("updated_at", fields.DatetimeField(auto_now=False, auto_now_add=False)),
            ],
            options={
                "table": "objects",
                "table_description": "objects with their key/value data",
                "app": "models",
                "indexes": [Index(fields=["tenant_id", "batch_pk", "id"], name="objects_batch")],
                "pk_attr": "id",
            },
            bases=["Model"],
        ),
        # CreateModel leaves the constraints of Meta out without a word (upstream #2272): each is added by itself.
        ops.AddConstraint(
            model_name="Tenant", constraint=UniqueConstraint(fields=("slug",), name="tenants_slug_unique")
        ),
        ops.AddConstraint(
            model_name="Tenant",
            constraint=CheckConstraint(check="slug ~ '^[a-z0-9][a-z0-9-]{0,62}$'", name="tenants_slug_form"),
        ),
        ops.AddConstraint(
            model_name="Tenant",
            constraint=CheckConstraint(
                check="member_access IN ('NONE', 'VIEW', 'EDIT')", name="tenants_member_access_known"
            ),
        ),
        ops.AddConstraint(
            model_name="User", constraint=UniqueConstraint(fields=("tenant", "name"), name="users_name_unique")
        ),
        ops.AddConstraint(
            model_name="User", constraint=UniqueConstraint(fields=("tenant", "id"), name="users_tenant_id_unique")
        ),
        ops.AddConstraint(
            model_name="User", constraint=CheckConstraint(check="name <> ''", name="users_name_not_empty")
        ),
        ops.AddConstraint(
            model_name="User", constraint=CheckConstraint(check="role IN ('ADMIN', 'MEMBER')", name="users_role_known")
        ),
        ops.AddConstraint(
            model_name="ApiKey", constraint=UniqueConstraint(fields=("public_id",), name="api_keys_public_id_unique")
        ),
        ops.AddConstraint(
            model_name="ApiKey",
            constraint=CheckConstraint(check="octet_length(secret_sha256) = 32", name="api_keys_secret_is_sha256"),
        ),
        ops.AddConstraint(
            model_name="Batch",
            constraint=UniqueConstraint(fields=("tenant", "batch_id"), name="batches_batch_id_unique"),
        ),
        ops.AddConstraint(
            model_name="Batch", constraint=UniqueConstraint(fields=("tenant", "id"), name="batches_tenant_id_unique")
        ),
        ops.AddConstraint(
            model_name="Batch", constraint=CheckConstraint(check="batch_id <> ''", name="batches_batch_id_not_empty")
        ),
        ops.AddConstraint(
            model_name="Object",
            constraint=UniqueConstraint(fields=("tenant", "object_id"), name="objects_object_id_unique"),
        ),
        ops.AddConstraint(
            model_name="Object", constraint=UniqueConstraint(fields=("tenant", "id"), name="objects_tenant_id_unique")
        ),
        ops.AddConstraint(
            model_name="Object", constraint=CheckConstraint(check="object_id <> ''", name="objects_object_id_not_empty")
        ),
        ops.AddConstraint(
            model_name="Object",
            constraint=CheckConstraint(check="jsonb_typeof(data) = 'array'", name="objects_data_is_list"),
        ),
        ops.RunSQL(SQL, reverse_sql=REVERSE_SQL),
    ]
