from tortoise import migrations
from tortoise.migrations import operations as ops

from models.migrations._granted import REVERSE_SQL, SQL


class Migration(migrations.Migration):
    dependencies = [("models", "0017_hashes")]

    operations = [ops.RunSQL(SQL, reverse_sql=REVERSE_SQL)]
