"""The numbers of a key in the order of when they were made, roughly, and then in their own: ``models/zones.py``."""

# The planner merges two lists or looks up in one of them by how long it takes them to be: it is to know that of more
# than the hundred most frequent values.
SQL = """
    CREATE INDEX object_pairs_key_zone ON object_pairs (tenant_id, key, (object_pk >> 29), number, object_pk)
        WHERE number IS NOT NULL;
    ALTER TABLE object_pairs ALTER COLUMN value SET STATISTICS 1000;
"""

REVERSE_SQL = """
    ALTER TABLE object_pairs ALTER COLUMN value SET STATISTICS -1;
    DROP INDEX object_pairs_key_zone;
"""
