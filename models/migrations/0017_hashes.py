from tortoise import migrations
from tortoise.migrations import operations as ops

from models.migrations._hashes import REVERSE_SQL, SQL


class Migration(migrations.Migration):
    dependencies = [("models", "0016_zones")]

    operations = [
        ops.RemoveIndex(model_name="AuditEntry", name="audit_log_batch"),
        ops.RemoveIndex(model_name="AuditEntry", name="audit_log_object"),
        ops.RunSQL(SQL, reverse_sql=REVERSE_SQL),
    ]
