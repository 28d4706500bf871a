"""Entries of the audit log by the hash of a batch's or an object's id: ``models/audit.py``."""

# Every URL is an entry: ids of ten characters made these indexes larger by two thirds, and writing an entry by a fifth.
SQL = """
    CREATE INDEX audit_log_batch ON audit_log (hashtextextended(batch_id, tenant_id), id);
    CREATE INDEX audit_log_object ON audit_log (hashtextextended(object_id, tenant_id), id);
"""

REVERSE_SQL = """
    DROP INDEX audit_log_batch;
    DROP INDEX audit_log_object;
"""
