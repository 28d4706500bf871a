"""The numbers of a key in the order of when they were made, roughly, and then in their own: ``models/zones.py``."""

SQL = """
    CREATE INDEX object_pairs_key_zone ON object_pairs (tenant_id, key, (object_pk >> 28), number, object_pk)
        WHERE number IS NOT NULL;
"""
REVERSE_SQL = "DROP INDEX object_pairs_key_zone;"
