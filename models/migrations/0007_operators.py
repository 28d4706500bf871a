from tortoise import fields, migrations
from tortoise.migrations import operations as ops
from tortoise.migrations.constraints import CheckConstraint, UniqueConstraint


class Migration(migrations.Migration):
    dependencies = [("models", "0006_audit")]

    operations = [
        ops.CreateModel(
            name="Operator",
            fields=[
                ("id", fields.BigIntField(primary_key=True)),
                ("name", fields.CharField(max_length=64)),
                ("public_id", fields.CharField(max_length=32)),
                ("secret_sha256", fields.BinaryField()),
                ("created_at", fields.DatetimeField(auto_now=False, auto_now_add=True)),
                ("revoked_at", fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
            ],
            options={
                "table": "operators",
                "table_description": "who stand above tenants",
                "app": "models",
                "pk_attr": "id",
            },
            bases=["Model"],
        ),
        ops.AddConstraint(
            model_name="Operator", constraint=UniqueConstraint(fields=("name",), name="operators_name_unique")
        ),
        ops.AddConstraint(
            model_name="Operator",
            constraint=UniqueConstraint(fields=("public_id",), name="operators_public_id_unique"),
        ),
        ops.AddConstraint(
            model_name="Operator",
            constraint=CheckConstraint(check="name ~ '^[a-z0-9][a-z0-9-]{0,63}$'", name="operators_name_form"),
        ),
        ops.AddConstraint(
            model_name="Operator",
            constraint=CheckConstraint(check="octet_length(secret_sha256) = 32", name="operators_secret_is_sha256"),
        ),
    ]
