from tortoise import fields, migrations
from tortoise.fields.db_defaults import SqlDefault
from tortoise.migrations import operations as ops

from models.migrations._jobs import REVERSE_SQL, SQL


class Migration(migrations.Migration):
    dependencies = [("models", "0011_reaper")]

    operations = [
        ops.AddField(
            model_name="Upload",
            name="look_at",
            field=fields.DatetimeField(
                db_default=SqlDefault("now() + interval '1 minute'"), auto_now=False, auto_now_add=False
            ),
        ),
        ops.RunSQL(SQL, reverse_sql=REVERSE_SQL),
    ]
