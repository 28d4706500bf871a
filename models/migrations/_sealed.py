"""SQL of the tenth migration that models cannot say: whose batch an upload is of, and who sealed a batch.

What becomes of a batch's files is asked by the batch alone, however large it is: each state is one probe of the index,
and all files together one walk through it. That an upload is current is said in another way than elsewhere, so that no
other index fits: where the statistics know one large batch only, all would seem as good, and lead through everybody's.
"""

SQL = """
    UPDATE uploads u SET batch_pk = o.batch_pk FROM objects o WHERE o.id = u.object_pk;
    ALTER TABLE uploads ALTER COLUMN batch_pk SET NOT NULL;
    CREATE INDEX uploads_batch ON uploads (batch_pk, state) INCLUDE (size_bytes) WHERE is_current::int = 1;
    CREATE INDEX uploads_replacing ON uploads (batch_pk) WHERE NOT is_current AND state IN ('PENDING', 'VERIFYING');
    ALTER TABLE batches DROP CONSTRAINT batches_sealed_by_id_fkey;  -- AddField makes it unasked
    ALTER TABLE batches ADD CONSTRAINT batches_sealed_by_fkey
        FOREIGN KEY (tenant_id, sealed_by_id) REFERENCES users (tenant_id, id) ON DELETE RESTRICT;
"""

REVERSE_SQL = """
    ALTER TABLE batches DROP CONSTRAINT batches_sealed_by_fkey;
    DROP INDEX uploads_batch, uploads_replacing;
    ALTER TABLE uploads ALTER COLUMN batch_pk DROP NOT NULL;
"""
