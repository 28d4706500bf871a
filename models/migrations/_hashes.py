"""Entries of the audit log by the hash of a batch's or an object's id: ``models/audit.py``."""

# Every URL is an entry, and each of these indexes was three times as large, a sixth of the time of writing an entry.
SQL = """
    CREATE INDEX audit_log_batch ON audit_log (hashtextextended(batch_id, tenant_id), id);
    CREATE INDEX audit_log_object ON audit_log (hashtextextended(object_id, tenant_id), id);
"""

REVERSE_SQL = """
    DROP INDEX audit_log_batch;
    DROP INDEX audit_log_object;
"""
