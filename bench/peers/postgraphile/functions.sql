-- What PostGraphile filters with: the data's containment, which a GIN index answers, and for ranges and prefixes, which
-- none of its indexes knows, a look at the table of pairs. Functions of SQL, which PostgreSQL writes into the statement.
CREATE INDEX IF NOT EXISTS bench_data ON objects USING gin (data jsonb_path_ops);

CREATE OR REPLACE FUNCTION objects_with(tenant bigint, equal text) RETURNS SETOF objects LANGUAGE sql STABLE AS $$
    SELECT * FROM objects WHERE tenant_id = tenant AND data @> equal::jsonb ORDER BY id DESC
$$;
CREATE OR REPLACE FUNCTION objects_from(tenant bigint, equal text, key text, gte double precision)
RETURNS SETOF objects LANGUAGE sql STABLE AS $$
    SELECT * FROM objects o WHERE tenant_id = tenant AND data @> equal::jsonb AND EXISTS (
        SELECT FROM object_pairs p WHERE p.object_pk = o.id AND p.key = objects_from.key AND p.number >= gte)
    ORDER BY id DESC
$$;
CREATE OR REPLACE FUNCTION objects_starting(tenant bigint, equal text, key text, starts_with text)
RETURNS SETOF objects LANGUAGE sql STABLE AS $$
    SELECT * FROM objects o WHERE tenant_id = tenant AND data @> equal::jsonb AND EXISTS (
        SELECT FROM object_pairs p WHERE p.object_pk = o.id AND p.key = objects_starting.key
            AND starts_with(p.value, objects_starting.starts_with))
    ORDER BY id DESC
$$;
ANALYZE objects;
