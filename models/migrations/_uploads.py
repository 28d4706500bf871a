"""SQL of the second migration that models cannot say: the current upload of an object, and what becomes of the bytes.

An object is deleted with its uploads, and no upload without its key being put on the list of deletions. S3 looks at the
time of a URL when a request begins: one that began in time may bring its bytes for hours. Until its URL is over a key
that is deleted can be written again, however often its bytes are deleted: so long its bytes stay reserved.
"""

SQL = [
    """
    ALTER TABLE uploads DROP CONSTRAINT uploads_tenant_id_fkey;  -- CreateModel makes it unasked
    ALTER TABLE uploads ADD CONSTRAINT uploads_object_fkey
        FOREIGN KEY (tenant_id, object_pk) REFERENCES objects (tenant_id, id) ON DELETE CASCADE;
    CREATE UNIQUE INDEX uploads_current ON uploads (object_pk) WHERE is_current;
    CREATE INDEX uploads_current_state ON uploads (tenant_id, state, object_pk) WHERE is_current;
    CREATE INDEX uploads_pending ON uploads (expires_at) WHERE state = 'PENDING';
    CREATE INDEX uploads_verifying ON uploads (read_at) WHERE state = 'VERIFYING';
    CREATE INDEX uploads_past ON uploads (ended_at) WHERE state = 'EXPIRED' AND NOT is_current;
    """,
    """
    CREATE FUNCTION deletion_until(expires_at timestamptz) RETURNS timestamptz LANGUAGE sql STABLE AS $$
        SELECT greatest(now(), expires_at + interval '1 day')
    $$;

    CREATE FUNCTION deletion_over(expires_at timestamptz) RETURNS timestamptz LANGUAGE sql STABLE AS $$
        SELECT expires_at + interval '5 minutes'  -- for clocks that differ
    $$;

    CREATE FUNCTION deletion_reserved(expires_at timestamptz, size_bytes bigint) RETURNS bigint
    LANGUAGE sql STABLE AS $$
        SELECT CASE WHEN deletion_over(expires_at) > now() THEN size_bytes ELSE 0 END
    $$;

    CREATE FUNCTION deletions_add() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
    BEGIN
        INSERT INTO deletions (tenant_id, bucket, key, reserved_bytes, due_at, over_at, until_at, attempts)
        SELECT tenant_id, bucket, key, deletion_reserved(expires_at, size_bytes), now(), deletion_over(expires_at),
               deletion_until(expires_at), 0
        FROM old_uploads WHERE state <> 'EXPIRED';  -- whose keys are there already
        RETURN NULL;
    END $$;

    CREATE FUNCTION deletions_add_all() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
    BEGIN
        INSERT INTO deletions (tenant_id, bucket, key, reserved_bytes, due_at, over_at, until_at, attempts)
        SELECT tenant_id, bucket, key, deletion_reserved(expires_at, size_bytes), now(), deletion_over(expires_at),
               deletion_until(expires_at), 0
        FROM uploads WHERE state <> 'EXPIRED';
        RETURN NULL;
    END $$;

    CREATE TRIGGER deletions_add AFTER DELETE ON uploads
        REFERENCING OLD TABLE AS old_uploads FOR EACH STATEMENT EXECUTE FUNCTION deletions_add();
    CREATE TRIGGER deletions_add_all BEFORE TRUNCATE ON uploads
        FOR EACH STATEMENT EXECUTE FUNCTION deletions_add_all();
    """,
]

REVERSE_SQL = [
    """
    DROP TRIGGER deletions_add ON uploads;
    DROP TRIGGER deletions_add_all ON uploads;
    DROP FUNCTION deletions_add(), deletions_add_all(), deletion_reserved(timestamptz, bigint),
        deletion_over(timestamptz), deletion_until(timestamptz);
    """
]
