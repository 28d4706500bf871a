"""SQL of the migration of drift reports that models cannot say: what a report lists while it is made."""

SQL = """
    ALTER TABLE drift_reports ADD CONSTRAINT drift_reports_source_fkey
        FOREIGN KEY (tenant_id, source_id) REFERENCES sync_sources (tenant_id, id) ON DELETE CASCADE;

    CREATE INDEX copy_deletions_path ON copy_deletions (source_id, path);

    -- Listed anew by each report, so that it need not survive a crash.
    CREATE UNLOGGED TABLE drift_found (
        source_id bigint NOT NULL,
        place text NOT NULL,
        name text NOT NULL,
        size_bytes bigint NOT NULL,
        etag text NOT NULL
    );
    CREATE INDEX drift_found_name ON drift_found (source_id, place, name);
"""

REVERSE_SQL = """
    DROP TABLE drift_found;
    DROP INDEX copy_deletions_path;
    ALTER TABLE drift_reports DROP CONSTRAINT drift_reports_source_fkey;
"""
