"""SQL of the ninth migration that models cannot say: deletions know which upload in parts they have to abort.

Once it is aborted, or complete, none of its URLs brings bytes to S3 any more: what it had reserved is given back with
the first deletion, which does not wait for its URLs to be over.
"""

_ADD = """
        INSERT INTO deletions
            (tenant_id, bucket, key, multipart_id, reserved_bytes, due_at, over_at, until_at, attempts)
        SELECT tenant_id, bucket, key, multipart_id, deletion_reserved(expires_at, size_bytes), now(),
               deletion_over(expires_at, multipart_id), deletion_until(expires_at), 0
        FROM {rows} WHERE state <> 'EXPIRED';  -- whose keys are there already
        RETURN NULL;
"""
_ADD_BEFORE = """
        INSERT INTO deletions (tenant_id, bucket, key, reserved_bytes, due_at, over_at, until_at, attempts)
        SELECT tenant_id, bucket, key, deletion_reserved(expires_at, size_bytes), now(), deletion_over(expires_at),
               deletion_until(expires_at), 0
        FROM {rows} WHERE state <> 'EXPIRED';
        RETURN NULL;
"""


def _functions(add: str) -> str:
    return "".join(
        f"""
    CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
    BEGIN{add.format(rows=rows)}    END $$;
    """
        for name, rows in (("deletions_add", "old_uploads"), ("deletions_add_all", "uploads"))
    )


SQL = [
    # With a default, so that what runs meanwhile goes on calling it as it was.
    """
    DROP FUNCTION deletion_over(timestamptz);
    CREATE FUNCTION deletion_over(expires_at timestamptz, multipart_id text DEFAULT NULL) RETURNS timestamptz
    LANGUAGE sql STABLE AS $$
        SELECT CASE WHEN multipart_id IS NULL THEN expires_at + interval '5 minutes' ELSE now() END
    $$;
    """,
    _functions(_ADD),
]

REVERSE_SQL = [
    """
    DROP FUNCTION deletion_over(timestamptz, text);
    CREATE FUNCTION deletion_over(expires_at timestamptz) RETURNS timestamptz LANGUAGE sql STABLE AS $$
        SELECT expires_at + interval '5 minutes'
    $$;
    """,
    _functions(_ADD_BEFORE),
]
