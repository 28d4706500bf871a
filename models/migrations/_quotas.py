"""SQL of the fourth migration that models cannot say: what each tenant uses, counted by triggers, and its quotas kept.

What a tenant uses is what its row says and ``usage_changes`` adds. Each statement that changes it adds one row there,
which waits for nobody. A transaction that takes more settles up when it commits: it locks the tenant's row, adds to it
what the changes have come to, and is refused beyond a quota. So no two of a tenant can pass its quota together, its
transactions wait for one another no longer than a commit takes, and as there is no lock that they could want
afterwards, they do not deadlock.

Changes of one statement are counted together: a file that becomes complete takes nothing more. Bytes that a deletion
keeps reserved are those of the upload that went, and stand in a column of their own: they take nothing, are never
refused, and are added up by whoever settles next, together with what the upload gave back.
"""

_OBJECTS = "sum(sign) AS objects, 0 AS used, 0 AS reserved, 0 AS kept"
_UPLOADS = """0 AS objects, coalesce(sum(sign * size_bytes) FILTER (WHERE state = 'COMPLETE'), 0) AS used,
                   coalesce(sum(sign * size_bytes) FILTER (WHERE state IN ('PENDING', 'VERIFYING')), 0) AS reserved,
                   0 AS kept"""
_DELETIONS = "0 AS objects, 0 AS used, 0 AS reserved, sum(sign * reserved_bytes) AS kept"
_NEW, _OLD = "SELECT 1 AS sign, * FROM new_rows", "SELECT -1 AS sign, * FROM old_rows"
_EVENTS = {
    "add": ("INSERT", "REFERENCING NEW TABLE AS new_rows", _NEW),
    "change": ("UPDATE", "REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows", f"{_NEW} UNION ALL {_OLD}"),
    "remove": ("DELETE", "REFERENCING OLD TABLE AS old_rows", _OLD),
}


def _counting(table: str, counts: str) -> str:
    return "".join(
        f"""
    CREATE FUNCTION usage_{table}_{name}() RETURNS trigger LANGUAGE plpgsql
    SET search_path FROM CURRENT SET plan_cache_mode = force_generic_plan AS $$
    BEGIN
        INSERT INTO usage_changes (tenant_id, objects, used_bytes, reserved_bytes, kept_bytes)
        SELECT * FROM (SELECT tenant_id, {counts} FROM ({rows}) AS r GROUP BY tenant_id ORDER BY tenant_id) AS c
        WHERE objects <> 0 OR used <> 0 OR reserved <> 0 OR kept <> 0;
        RETURN NULL;
    END $$;
    CREATE TRIGGER usage_{table}_{name} AFTER {event} ON {table}
        {referencing} FOR EACH STATEMENT EXECUTE FUNCTION usage_{table}_{name}();
    """
        for name, (event, referencing, rows) in _EVENTS.items()
    )


SQL = [
    """
    ALTER TABLE tenants
        ADD COLUMN used_bytes bigint NOT NULL DEFAULT 0,
        ADD COLUMN reserved_bytes bigint NOT NULL DEFAULT 0,
        ADD COLUMN used_objects bigint NOT NULL DEFAULT 0;
    CREATE TABLE usage_changes (
        tenant_id bigint NOT NULL,
        id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
        objects bigint NOT NULL,
        used_bytes bigint NOT NULL,
        reserved_bytes bigint NOT NULL,
        kept_bytes bigint NOT NULL,
        CONSTRAINT usage_changes_pkey PRIMARY KEY (tenant_id, id)
    );
    """,
    # What others have taken is in the row; what this transaction takes later on is settled later on. Refused after the
    # fact, which undoes it: the figures are those that decided. Plans are kept, as making them takes longer than all.
    """
    CREATE FUNCTION usage_settle() RETURNS trigger LANGUAGE plpgsql
    SET search_path FROM CURRENT SET plan_cache_mode = force_generic_plan AS $$
    DECLARE
        more_bytes CONSTANT bigint := new.used_bytes + new.reserved_bytes;
        changes record;
        total record;
    BEGIN
        PERFORM FROM tenants WHERE id = new.tenant_id FOR NO KEY UPDATE;
        WITH gone AS (
            DELETE FROM usage_changes
            WHERE tenant_id = new.tenant_id AND (id <= new.id OR objects <= 0 AND used_bytes + reserved_bytes <= 0)
            RETURNING objects, used_bytes, reserved_bytes, kept_bytes)
        SELECT coalesce(sum(objects), 0)::bigint AS objects, coalesce(sum(used_bytes), 0)::bigint AS used,
               coalesce(sum(reserved_bytes + kept_bytes), 0)::bigint AS reserved
        INTO changes FROM gone;
        UPDATE tenants
        SET used_objects = used_objects + changes.objects, used_bytes = used_bytes + changes.used,
            reserved_bytes = reserved_bytes + changes.reserved
        WHERE id = new.tenant_id
        RETURNING used_objects, used_bytes, reserved_bytes, quota_objects, quota_bytes INTO total;
        IF new.objects > 0 AND total.used_objects > total.quota_objects THEN
            RAISE check_violation USING CONSTRAINT = 'tenants_quota_objects', MESSAGE = 'quota of objects exceeded',
                DETAIL = json_build_object('used', total.used_objects - new.objects, 'reserved', 0,
                                           'limit', total.quota_objects, 'requested', new.objects);
        ELSIF more_bytes > 0 AND total.used_bytes + total.reserved_bytes > total.quota_bytes THEN
            RAISE check_violation USING CONSTRAINT = 'tenants_quota_bytes', MESSAGE = 'quota of bytes exceeded',
                DETAIL = json_build_object('used', total.used_bytes - new.used_bytes,
                                           'reserved', total.reserved_bytes - new.reserved_bytes,
                                           'limit', total.quota_bytes, 'requested', more_bytes);
        END IF;
        RETURN NULL;
    END $$;
    CREATE CONSTRAINT TRIGGER usage_settle AFTER INSERT ON usage_changes DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
        WHEN (new.objects > 0 OR new.used_bytes + new.reserved_bytes > 0) EXECUTE FUNCTION usage_settle();
    """,
    _counting("objects", _OBJECTS),
    _counting("uploads", _UPLOADS),
    _counting("deletions", _DELETIONS),
    # Objects are never emptied without their uploads, whose keys go to deletions. Nobody changes those meanwhile; then
    # tenants, so that nobody adds changes up.
    """
    CREATE FUNCTION usage_objects_clear() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
    BEGIN
        UPDATE tenants SET used_objects = 0 WHERE used_objects > 0;
        UPDATE usage_changes SET objects = 0;
        RETURN NULL;
    END $$;
    CREATE FUNCTION usage_uploads_clear() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
    BEGIN
        UPDATE tenants t
        SET used_bytes = 0,
            reserved_bytes = (SELECT coalesce(sum(reserved_bytes), 0) FROM deletions WHERE tenant_id = t.id);
        UPDATE usage_changes SET used_bytes = 0, reserved_bytes = 0, kept_bytes = 0;
        RETURN NULL;
    END $$;
    CREATE FUNCTION usage_deletions_clear() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
    BEGIN
        INSERT INTO usage_changes (tenant_id, objects, used_bytes, reserved_bytes, kept_bytes)
        SELECT tenant_id, 0, 0, 0, -sum(reserved_bytes) FROM deletions
        GROUP BY tenant_id HAVING sum(reserved_bytes) > 0;
        RETURN NULL;
    END $$;
    CREATE FUNCTION usage_uploads_hold() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
    BEGIN
        LOCK TABLE deletions IN SHARE ROW EXCLUSIVE MODE;
        RETURN NULL;
    END $$;
    CREATE TRIGGER usage_objects_clear AFTER TRUNCATE ON objects
        FOR EACH STATEMENT EXECUTE FUNCTION usage_objects_clear();
    CREATE TRIGGER usage_uploads_clear AFTER TRUNCATE ON uploads
        FOR EACH STATEMENT EXECUTE FUNCTION usage_uploads_clear();
    CREATE TRIGGER usage_uploads_hold BEFORE TRUNCATE ON uploads
        FOR EACH STATEMENT EXECUTE FUNCTION usage_uploads_hold();
    CREATE TRIGGER usage_deletions_clear BEFORE TRUNCATE ON deletions
        FOR EACH STATEMENT EXECUTE FUNCTION usage_deletions_clear();
    """,
    # After the triggers, which nobody passed who was writing before.
    """
    UPDATE tenants t
    SET used_objects = (SELECT count(*) FROM objects WHERE tenant_id = t.id),
        (used_bytes, reserved_bytes) = (
            SELECT coalesce(sum(size_bytes) FILTER (WHERE state = 'COMPLETE'), 0),
                   coalesce(sum(size_bytes) FILTER (WHERE state IN ('PENDING', 'VERIFYING')), 0)
            FROM uploads WHERE tenant_id = t.id);
    UPDATE tenants t SET reserved_bytes = t.reserved_bytes + d.bytes
    FROM (SELECT tenant_id, sum(reserved_bytes) AS bytes FROM deletions GROUP BY tenant_id) AS d
    WHERE d.tenant_id = t.id;
    """,
]

_DROPPED = [(table, name) for table in ("objects", "uploads", "deletions") for name in (*_EVENTS, "clear")]
_DROPPED.append(("uploads", "hold"))
REVERSE_SQL = [
    *(f"DROP TRIGGER usage_{table}_{name} ON {table};" for table, name in _DROPPED),
    *(f"DROP FUNCTION usage_{table}_{name}();" for table, name in _DROPPED),
    """
    DROP TABLE usage_changes;
    DROP FUNCTION usage_settle();
    ALTER TABLE tenants DROP COLUMN used_bytes, DROP COLUMN reserved_bytes, DROP COLUMN used_objects;
    """,
]
