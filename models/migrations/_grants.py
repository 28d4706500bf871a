"""SQL of the grants that models cannot say: references within one tenant, one grant of a user to a thing, and the
grants of those who made the batches that are there already.
"""

SQL = [
    """
    ALTER TABLE grants DROP CONSTRAINT grants_tenant_id_fkey, DROP CONSTRAINT grants_user_id_fkey,
        DROP CONSTRAINT grants_granted_by_id_fkey;  -- CreateModel makes them unasked
    ALTER TABLE grants
        ADD CONSTRAINT grants_batch_fkey
            FOREIGN KEY (tenant_id, batch_pk) REFERENCES batches (tenant_id, id) ON DELETE CASCADE,
        ADD CONSTRAINT grants_object_fkey
            FOREIGN KEY (tenant_id, object_pk) REFERENCES objects (tenant_id, id) ON DELETE CASCADE,
        ADD CONSTRAINT grants_user_fkey
            FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id) ON DELETE RESTRICT,
        ADD CONSTRAINT grants_granted_by_fkey
            FOREIGN KEY (tenant_id, granted_by_id) REFERENCES users (tenant_id, id) ON DELETE RESTRICT;
    CREATE UNIQUE INDEX grants_unique ON grants (user_id, batch_pk, object_pk) NULLS NOT DISTINCT;
    CREATE INDEX grants_user_objects ON grants (user_id, object_pk) WHERE object_pk IS NOT NULL;
    CREATE INDEX grants_user ON grants (user_id, id);
    """,
    """
    INSERT INTO grants (tenant_id, user_id, batch_pk, level, granted_by_id, created_at)
    SELECT tenant_id, created_by_id, id, 'ADMIN', created_by_id, now() FROM batches ORDER BY id;
    """,
]
