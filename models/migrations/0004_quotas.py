from tortoise import fields, migrations
from tortoise.migrations import operations as ops
from tortoise.migrations.constraints import CheckConstraint

from models.migrations._quotas import REVERSE_SQL, SQL


class Migration(migrations.Migration):
    dependencies = [("models", "0003_credentials")]

    operations = [
        ops.AddField(model_name="Tenant", name="quota_bytes", field=fields.BigIntField(null=True)),
        ops.AddField(model_name="Tenant", name="quota_objects", field=fields.BigIntField(null=True)),
        ops.AddConstraint(
            model_name="Tenant",
            constraint=CheckConstraint(
                check="quota_bytes >= 0 AND quota_objects >= 0", name="tenants_quotas_not_negative"
            ),
        ),
        ops.RunSQL(SQL, reverse_sql=REVERSE_SQL),
        ops.AddConstraint(
            model_name="Tenant",
            constraint=CheckConstraint(
                check="used_bytes >= 0 AND reserved_bytes >= 0 AND used_objects >= 0", name="tenants_usage_not_negative"
            ),
        ),
    ]
