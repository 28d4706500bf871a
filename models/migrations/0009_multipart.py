from tortoise import fields, migrations
from tortoise.migrations import operations as ops
from tortoise.migrations.constraints import CheckConstraint

from models.migrations._multipart import REVERSE_SQL, SQL


class Migration(migrations.Migration):
    dependencies = [("models", "0008_idempotency")]

    operations = [
        ops.AddField(model_name="Upload", name="multipart_id", field=fields.TextField(null=True, unique=False)),
        ops.AddField(model_name="Upload", name="part_bytes", field=fields.BigIntField(null=True)),
        ops.AddField(model_name="Deletion", name="multipart_id", field=fields.TextField(null=True, unique=False)),
        ops.AddConstraint(
            model_name="Upload",
            constraint=CheckConstraint(
                check="(multipart_id IS NULL) = (part_bytes IS NULL)", name="uploads_part_bytes_known"
            ),
        ),
        ops.AddConstraint(
            model_name="Upload", constraint=CheckConstraint(check="part_bytes > 0", name="uploads_part_bytes_positive")
        ),
        ops.RunSQL(SQL, reverse_sql=REVERSE_SQL),
    ]
