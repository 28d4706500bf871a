"""SQL of the idempotency keys that models cannot say: a primary key of two columns, and answers that are encrypted, so
that compressing them would be in vain.
"""

SQL = [
    """
    CREATE TABLE idempotent_answers (
        tenant_id bigint NOT NULL,
        key_sha256 bytea NOT NULL,
        request_sha256 bytea NOT NULL,
        created_at timestamptz NOT NULL,
        answer bytea,
        CONSTRAINT idempotent_answers_pkey PRIMARY KEY (tenant_id, key_sha256)
    );
    ALTER TABLE idempotent_answers ALTER COLUMN answer SET STORAGE EXTERNAL;
    CREATE INDEX idempotent_answers_created_at ON idempotent_answers (created_at);
    """
]
REVERSE_SQL = ["DROP TABLE idempotent_answers"]
