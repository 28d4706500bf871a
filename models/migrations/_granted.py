"""The pairs of what is granted to a user singly: as ``object_pairs`` has a tenant's, with the user in its place.

Without them a member's page looks up each entry of a tenant's list among his grants, or each of his grants in the list,
however few of them meet. They go with the grant, by foreign key. They come with a grant and with changes of an object's
data; a grant waits for whoever changes the object, and he for the grant, so that the later of the two sees the other;
and he waits for whoever takes one.
"""

SQL = [
    # Whoever changes data while the pairs are copied would pass by the triggers, which are made afterwards.
    """
    LOCK TABLE objects, grants IN SHARE ROW EXCLUSIVE MODE;
    CREATE TABLE granted_pairs (
        user_id bigint NOT NULL,
        batch_pk bigint NOT NULL,
        object_pk bigint NOT NULL,
        number double precision,
        key text COLLATE "C" NOT NULL,
        value text COLLATE "C" NOT NULL,
        CONSTRAINT granted_pairs_pkey PRIMARY KEY (object_pk, user_id, key, value),
        CONSTRAINT granted_pairs_grant_fkey FOREIGN KEY (user_id, batch_pk, object_pk)
            REFERENCES grants (user_id, batch_pk, object_pk) ON DELETE CASCADE
    );
    ALTER TABLE granted_pairs SET (autovacuum_analyze_scale_factor = 0.02);
    ALTER TABLE granted_pairs ALTER COLUMN value SET STATISTICS 1000;
    """,
    """
    INSERT INTO granted_pairs (user_id, batch_pk, object_pk, number, key, value)
    SELECT g.user_id, g.batch_pk, g.object_pk, p.number, p.key, p.value
    FROM grants g JOIN object_pairs p ON p.object_pk = g.object_pk
    ORDER BY g.user_id, p.key, p.value;
    CREATE INDEX granted_pairs_key_value ON granted_pairs (user_id, key, value, object_pk);
    CREATE INDEX granted_pairs_key ON granted_pairs (user_id, key, object_pk);
    CREATE INDEX granted_pairs_value ON granted_pairs (user_id, value, object_pk);
    CREATE INDEX granted_pairs_key_number ON granted_pairs (user_id, key, number, object_pk) WHERE number IS NOT NULL;
    CREATE INDEX granted_pairs_key_zone ON granted_pairs (user_id, key, (object_pk >> 29), number, object_pk)
        WHERE number IS NOT NULL;
    CREATE INDEX granted_pairs_number ON granted_pairs (user_id, number, object_pk) WHERE number IS NOT NULL;
    CREATE INDEX grants_user_batches ON grants (user_id, batch_pk) WHERE object_pk IS NULL;
    ANALYZE granted_pairs;
    """,
    # Looked up for each object or grant, as there is no other way that planning could find.
    """
    CREATE FUNCTION granted_pairs_add() RETURNS trigger LANGUAGE plpgsql
    SET search_path FROM CURRENT SET enable_seqscan = off AS $$
    BEGIN
        PERFORM FROM objects WHERE id = ANY(ARRAY(SELECT object_pk FROM new_grants WHERE object_pk IS NOT NULL))
        ORDER BY id FOR SHARE;
        INSERT INTO granted_pairs (user_id, batch_pk, object_pk, number, key, value)
        SELECT g.user_id, g.batch_pk, g.object_pk, p.number, p.key, p.value FROM new_grants g
        CROSS JOIN LATERAL (SELECT * FROM object_pairs WHERE object_pk = g.object_pk OFFSET 0) AS p
        ORDER BY g.user_id, p.key, p.value
        ON CONFLICT DO NOTHING;
        RETURN NULL;
    END $$;

    -- Grants are held before anything is done with their pairs, for whoever takes one locks them in this order, too.
    CREATE FUNCTION object_pairs_granted() RETURNS trigger LANGUAGE plpgsql
    SET search_path FROM CURRENT SET enable_seqscan = off AS $$
    DECLARE
        held bigint[] := ARRAY(SELECT id FROM grants WHERE id = ANY(ARRAY(
            SELECT g.id FROM (SELECT tenant_id, id, data FROM new_objects
                              EXCEPT ALL SELECT tenant_id, id, data FROM old_objects) AS o
            CROSS JOIN LATERAL (
                SELECT id FROM grants WHERE tenant_id = o.tenant_id AND object_pk = o.id OFFSET 0) AS g))
            ORDER BY id FOR KEY SHARE);
    BEGIN
        IF held <> '{}' THEN
            DELETE FROM granted_pairs WHERE object_pk = ANY(ARRAY(SELECT object_pk FROM grants WHERE id = ANY(held)));
            INSERT INTO granted_pairs (user_id, batch_pk, object_pk, number, key, value)
            SELECT g.user_id, g.batch_pk, g.object_pk, p.number, p.key, p.value
            FROM (SELECT * FROM grants WHERE id = ANY(held) OFFSET 0) AS g
            CROSS JOIN LATERAL (SELECT * FROM object_pairs WHERE object_pk = g.object_pk OFFSET 0) AS p
            ON CONFLICT DO NOTHING;
        END IF;
        RETURN NULL;
    END $$;

    CREATE TRIGGER granted_pairs_add AFTER INSERT ON grants
        REFERENCING NEW TABLE AS new_grants FOR EACH STATEMENT EXECUTE FUNCTION granted_pairs_add();
    -- By its name after object_pairs_change.
    CREATE TRIGGER object_pairs_granted AFTER UPDATE ON objects
        REFERENCING OLD TABLE AS old_objects NEW TABLE AS new_objects
        FOR EACH STATEMENT EXECUTE FUNCTION object_pairs_granted();
    """,
]

REVERSE_SQL = [
    """
    DROP TRIGGER granted_pairs_add ON grants;
    DROP TRIGGER object_pairs_granted ON objects;
    DROP FUNCTION granted_pairs_add(), object_pairs_granted();
    DROP TABLE granted_pairs;
    DROP INDEX grants_user_batches;
    """
]
