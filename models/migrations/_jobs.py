"""SQL of the migration of background work that models cannot say."""

# By tenant, so that one with many is no obstacle to the others'.
SQL = [
    """
    CREATE INDEX uploads_look ON uploads (tenant_id, look_at) WHERE state = 'PENDING';
    DROP INDEX uploads_pending;
    """
]

REVERSE_SQL = [
    """
    CREATE INDEX uploads_pending ON uploads (expires_at) WHERE state = 'PENDING';
    DROP INDEX uploads_look;
    """
]
