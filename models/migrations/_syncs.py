"""SQL of the migration of local copies that models cannot say: references, what is asked for, counts, copies to delete.

Notices come by the thousand a second, so that one statement accepts one, or many: ``syncs_request``. How many copies a
source has in each state is counted as they change, in one of sixteen rows of the source, so that those who change some
at once seldom wait for one another.
"""

_COUNTS = ", ".join(
    f"coalesce(sum(sign) FILTER (WHERE state = '{state.upper()}'), 0) AS {state}"
    for state in ("queued", "running", "synced", "failed")
)
_NEW, _OLD = "SELECT 1 AS sign, * FROM new_rows", "SELECT -1 AS sign, * FROM old_rows"
_EVENTS = {
    "add": ("INSERT", "REFERENCING NEW TABLE AS new_rows", _NEW),
    "change": ("UPDATE", "REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows", f"{_NEW} UNION ALL {_OLD}"),
    "remove": ("DELETE", "REFERENCING OLD TABLE AS old_rows", _OLD),
}

_COUNTING = "".join(
    f"""
    CREATE FUNCTION syncs_count_{name}() RETURNS trigger LANGUAGE plpgsql
    SET search_path FROM CURRENT SET plan_cache_mode = force_generic_plan AS $$
    BEGIN
        INSERT INTO sync_counts AS s (source_id, slot, queued, running, synced, failed)
        SELECT source_id, pg_backend_pid() % 16, queued, running, synced, failed
        FROM (SELECT source_id, {_COUNTS} FROM ({rows}) AS r GROUP BY source_id) AS c
        WHERE queued <> 0 OR running <> 0 OR synced <> 0 OR failed <> 0
        ORDER BY source_id
        ON CONFLICT (source_id, slot) DO UPDATE
        SET queued = s.queued + excluded.queued, running = s.running + excluded.running,
            synced = s.synced + excluded.synced, failed = s.failed + excluded.failed;
        RETURN NULL;
    END $$;
    CREATE TRIGGER syncs_count_{name} AFTER {event} ON syncs
        {referencing} FOR EACH STATEMENT EXECUTE FUNCTION syncs_count_{name}();
    """
    for name, (event, referencing, rows) in _EVENTS.items()
)

SQL = [
    """
    ALTER TABLE sync_sources DROP CONSTRAINT sync_sources_tenant_id_fkey,
        DROP CONSTRAINT sync_sources_created_by_id_fkey;  -- CreateModel makes them unasked
    ALTER TABLE syncs DROP CONSTRAINT syncs_tenant_id_fkey, DROP CONSTRAINT syncs_source_id_fkey;
    ALTER TABLE sync_sources ADD CONSTRAINT sync_sources_created_by_fkey
        FOREIGN KEY (tenant_id, created_by_id) REFERENCES users (tenant_id, id) ON DELETE RESTRICT;
    ALTER TABLE syncs
        ADD CONSTRAINT syncs_source_fkey
            FOREIGN KEY (tenant_id, source_id) REFERENCES sync_sources (tenant_id, id) ON DELETE RESTRICT,
        ADD CONSTRAINT syncs_object_fkey
            FOREIGN KEY (tenant_id, object_pk) REFERENCES objects (tenant_id, id) ON DELETE CASCADE;
    CREATE UNIQUE INDEX sync_sources_directory ON sync_sources (tenant_id, (destination ->> 'directory'));
    CREATE INDEX syncs_due ON syncs (source_id, due_at) WHERE state IN ('QUEUED', 'RUNNING');
    CREATE INDEX syncs_oldest ON syncs (source_id, queued_at) WHERE state = 'QUEUED';
    CREATE INDEX syncs_path ON syncs (source_id, path) WHERE path IS NOT NULL;
    """,
    """
    CREATE TABLE sync_counts (
        source_id bigint NOT NULL,
        slot integer NOT NULL,
        queued bigint NOT NULL,
        running bigint NOT NULL,
        synced bigint NOT NULL,
        failed bigint NOT NULL,
        CONSTRAINT sync_counts_pkey PRIMARY KEY (source_id, slot)
    ) WITH (fillfactor = 50);
    """,
    _COUNTING,
    """
    CREATE FUNCTION syncs_count_clear() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
    BEGIN
        DELETE FROM sync_counts;
        RETURN NULL;
    END $$;
    CREATE TRIGGER syncs_count_clear AFTER TRUNCATE ON syncs FOR EACH STATEMENT EXECUTE FUNCTION syncs_count_clear();

    CREATE FUNCTION copy_deletions_add() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
    BEGIN
        INSERT INTO copy_deletions (tenant_id, source_id, path, due_at, attempts)
        SELECT tenant_id, source_id, path, now(), 0 FROM old_rows WHERE path IS NOT NULL;
        IF FOUND THEN
            PERFORM jobs_add('delete copies');
        END IF;
        RETURN NULL;
    END $$;
    CREATE FUNCTION copy_deletions_add_all() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
    BEGIN
        INSERT INTO copy_deletions (tenant_id, source_id, path, due_at, attempts)
        SELECT tenant_id, source_id, path, now(), 0 FROM syncs WHERE path IS NOT NULL;
        RETURN NULL;
    END $$;
    CREATE TRIGGER copy_deletions_add AFTER DELETE ON syncs
        REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION copy_deletions_add();
    CREATE TRIGGER copy_deletions_add_all BEFORE TRUNCATE ON syncs
        FOR EACH STATEMENT EXECUTE FUNCTION copy_deletions_add_all();
    """,
    # One of each pair (source, file) is asked for. Batches are locked before objects are made, in the order of their
    # keys, as everything does that changes what is in them (batches.py), and objects before their copies, so that none
    # goes between being found and being referred to; new rows are made in the order of the clients' ids, so that two
    # calls with the same ones wait for each other and do not deadlock. Keys are ids.py's.
    """
    CREATE FUNCTION syncs_request(
        of_tenant bigint, of_source bigint, oeids text[], ref_ids text[], names text[], types text[],
        signatures bytea[]
    ) RETURNS TABLE (place bigint, outcome text, sync_id bigint) LANGUAGE plpgsql
    SET search_path FROM CURRENT SET plan_cache_mode = force_generic_plan AS $$
    #variable_conflict use_column
    DECLARE
        at CONSTANT timestamptz := date_trunc('milliseconds', now());
        before_first CONSTANT bigint :=
            ((extract(epoch FROM at - timestamptz '2024-01-01T00:00:00+00:00') * 1000)::bigint << 22)
            + ((nextval('calls') & 255) << 14) - 1;
    BEGIN
        INSERT INTO batches (id, tenant_id, batch_id, created_by_id)
        SELECT before_first + n.place, of_tenant, n.oeid, s.created_by_id
        FROM (SELECT DISTINCT ON (a.oeid) a.oeid, a.place
              FROM unnest(oeids, ref_ids) WITH ORDINALITY AS a (oeid, ref_id, place)
              WHERE NOT EXISTS (SELECT FROM batches b WHERE b.tenant_id = of_tenant AND b.batch_id = a.oeid)
                AND NOT EXISTS (SELECT FROM objects o WHERE o.tenant_id = of_tenant AND o.object_id = a.ref_id)
              ORDER BY a.oeid, a.place) AS n
        CROSS JOIN (SELECT created_by_id FROM sync_sources WHERE tenant_id = of_tenant AND id = of_source) AS s
        ORDER BY n.oeid
        ON CONFLICT ON CONSTRAINT batches_batch_id_unique DO NOTHING;

        PERFORM FROM batches b WHERE b.tenant_id = of_tenant AND b.batch_id = ANY(oeids) ORDER BY b.id FOR KEY SHARE;

        INSERT INTO objects (id, tenant_id, batch_pk, object_id, data, updated_at)
        SELECT before_first + n.place, of_tenant, n.batch_pk, n.ref_id,
               jsonb_build_array(jsonb_build_object('key', 'file_name', 'value', n.name),
                                 jsonb_build_object('key', 'file_type', 'value', n.type)), at
        FROM (SELECT DISTINCT ON (a.ref_id) a.*, b.id AS batch_pk
              FROM unnest(oeids, ref_ids, names, types) WITH ORDINALITY AS a (oeid, ref_id, name, type, place)
              JOIN batches b ON b.tenant_id = of_tenant AND b.batch_id = a.oeid AND b.sealed_at IS NULL
              WHERE NOT EXISTS (SELECT FROM objects o WHERE o.tenant_id = of_tenant AND o.object_id = a.ref_id)
              ORDER BY a.ref_id, a.place) AS n
        ORDER BY n.ref_id
        ON CONFLICT ON CONSTRAINT objects_object_id_unique DO NOTHING;

        PERFORM FROM objects o WHERE o.tenant_id = of_tenant AND o.object_id = ANY(ref_ids) ORDER BY o.id FOR KEY SHARE;

        RETURN QUERY
        WITH asked AS MATERIALIZED (
            SELECT a.*, b.id AS batch_pk, b.sealed_at IS NOT NULL AS sealed, o.id AS object_pk,
                   o.batch_pk AS of_batch, s.id AS known
            FROM unnest(oeids, ref_ids, names, types, signatures) WITH ORDINALITY
                AS a (oeid, ref_id, name, type, signature, place)
            LEFT JOIN batches b ON b.tenant_id = of_tenant AND b.batch_id = a.oeid
            LEFT JOIN objects o ON o.tenant_id = of_tenant AND o.object_id = a.ref_id
            LEFT JOIN syncs s ON s.source_id = of_source AND s.object_pk = o.id AND s.file_name = a.name),
        made AS (
            INSERT INTO syncs AS s (id, tenant_id, source_id, batch_pk, object_pk, file_name, file_type, signature,
                state, queued_at, due_at, attempts)
            SELECT before_first + n.place, of_tenant, of_source, n.batch_pk, n.object_pk, n.name, n.type, n.signature,
                'QUEUED', at, at, 0
            FROM (SELECT DISTINCT ON (q.object_pk, q.name) q.* FROM asked q
                  WHERE q.batch_pk = q.of_batch AND (NOT q.sealed OR q.known IS NOT NULL)
                  ORDER BY q.object_pk, q.name, q.place) AS n
            ORDER BY n.object_pk, n.name
            ON CONFLICT ON CONSTRAINT syncs_file_unique DO UPDATE
            SET state = 'QUEUED', queued_at = excluded.queued_at, due_at = excluded.due_at, attempts = 0,
                problem = NULL, error = NULL, file_type = excluded.file_type, signature = excluded.signature
            WHERE s.state = 'FAILED'
            RETURNING s.id, s.object_pk, s.file_name)
        SELECT q.place,
               CASE WHEN q.sealed AND q.object_pk IS NULL THEN 'SEALED'
                    WHEN q.object_pk IS NULL THEN 'GONE'
                    WHEN q.batch_pk IS DISTINCT FROM q.of_batch THEN 'OTHER_BATCH'
                    WHEN m.id IS NOT NULL AND row_number() OVER (PARTITION BY m.id ORDER BY q.place) = 1 THEN 'QUEUED'
                    WHEN m.id IS NULL AND q.sealed AND q.known IS NULL THEN 'SEALED'
                    ELSE 'ALREADY' END,
               coalesce(m.id, q.known)
        FROM asked q LEFT JOIN made m ON m.object_pk = q.object_pk AND m.file_name = q.name
        ORDER BY q.place;
    END $$;
    """,
]

REVERSE_SQL = [
    "DROP FUNCTION syncs_request(bigint, bigint, text[], text[], text[], text[], bytea[]);",
    *(f"DROP TRIGGER syncs_count_{name} ON syncs;" for name in (*_EVENTS, "clear")),
    *(f"DROP FUNCTION syncs_count_{name}();" for name in (*_EVENTS, "clear")),
    """
    DROP TRIGGER copy_deletions_add ON syncs;
    DROP TRIGGER copy_deletions_add_all ON syncs;
    DROP FUNCTION copy_deletions_add(), copy_deletions_add_all();
    DROP TABLE sync_counts;
    ALTER TABLE syncs DROP CONSTRAINT syncs_source_fkey, DROP CONSTRAINT syncs_object_fkey;
    """,
]
