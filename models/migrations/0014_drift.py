from tortoise import fields, migrations
from tortoise.migrations import operations as ops
from tortoise.migrations.constraints import CheckConstraint

from models.migrations._drift import REVERSE_SQL, SQL


class Migration(migrations.Migration):
    dependencies = [("models", "0013_syncs")]

    operations = [
        ops.CreateModel(
            name="DriftReport",
            fields=[
                ("source_id", fields.BigIntField(generated=False, primary_key=True)),
                ("tenant_id", fields.BigIntField()),
                ("asked_at", fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
                ("repair", fields.BooleanField()),
                ("verify", fields.BooleanField()),
                ("held_by", fields.UUIDField(null=True)),
                ("held_until", fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
                ("checked_at", fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
                ("report", fields.JSONField(null=True)),
            ],
            options={
                "table": "drift_reports",
                "app": "models",
                "pk_attr": "source_id",
                "table_description": "where rows, local copies and buckets differ",
            },
            bases=["Model"],
        ),
        ops.AddConstraint(
            model_name="DriftReport",
            constraint=CheckConstraint(
                check="num_nulls(held_by, held_until) IN (0, 2)", name="drift_reports_held_whole"
            ),
        ),
        ops.AddConstraint(
            model_name="DriftReport",
            constraint=CheckConstraint(
                check="num_nulls(checked_at, report) IN (0, 2)", name="drift_reports_made_whole"
            ),
        ),
        ops.RunSQL(SQL, reverse_sql=REVERSE_SQL),
    ]
