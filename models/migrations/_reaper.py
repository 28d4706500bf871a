"""SQL of the migration of the reaper that models cannot say: what a bucket was found to hold.

The listing is worth nothing after the scan, so that its table is not logged: PostgreSQL empties it when it crashes.
"""

SQL = [
    """
    CREATE UNLOGGED TABLE reaper_keys (
        scan_id bigint NOT NULL,
        key text NOT NULL,
        multipart_id text NOT NULL,  -- '' for an object
        size_bytes bigint NOT NULL,
        etag text NOT NULL,
        modified_at timestamptz NOT NULL
    );
    CREATE INDEX reaper_keys_scan ON reaper_keys (scan_id, key, multipart_id);
    CREATE UNIQUE INDEX reaper_scans_running ON reaper_scans (bucket) WHERE finished_at IS NULL;
    """
]

REVERSE_SQL = ["DROP TABLE reaper_keys"]
