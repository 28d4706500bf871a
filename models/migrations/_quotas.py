"""SQL of the fourth migration that models cannot say: what each tenant uses, counted by triggers, and its quotas kept.

What a tenant uses is what its row says and ``usage_changes`` adds. Only a statement that takes more than it gives back
locks the row, adds to it what the changes have come to, and is refused beyond a quota; it is the last that its
transaction has to wait for. Everything else, deletions, completions and expiry, adds a change and waits for nobody, so
that it may come before other locks and cannot deadlock.

Changes of one statement are counted together: a file that becomes complete takes nothing more.
"""

_OBJECTS = "sum(sign) AS objects, 0 AS used, 0 AS reserved"
_UPLOADS = """0 AS objects, coalesce(sum(sign * size_bytes) FILTER (WHERE state = 'COMPLETE'), 0) AS used,
                   coalesce(sum(sign * size_bytes) FILTER (WHERE state IN ('PENDING', 'VERIFYING')), 0) AS reserved"""
_NEW, _OLD = "SELECT 1 AS sign, * FROM new_rows", "SELECT -1 AS sign, * FROM old_rows"
_EVENTS = {
    "add": ("INSERT", "REFERENCING NEW TABLE AS new_rows", _NEW),
    "change": ("UPDATE", "REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows", f"{_NEW} UNION ALL {_OLD}"),
    "remove": ("DELETE", "REFERENCING OLD TABLE AS old_rows", _OLD),
}


def _counting(table: str, counts: str) -> str:
    # Their names come last in the alphabet: of the triggers of a statement they are the last to work.
    return "".join(
        f"""
    CREATE FUNCTION usage_{table}_{name}() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
    BEGIN
        PERFORM usage_change(tenant_id, objects::bigint, used::bigint, reserved::bigint)
        FROM (SELECT tenant_id, {counts}
              FROM ({rows}) AS r GROUP BY tenant_id ORDER BY tenant_id) AS c;
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
        CONSTRAINT usage_changes_pkey PRIMARY KEY (tenant_id, id)
    );
    """,
    # Refused after the fact, which undoes it: what is said of the quota is then what decided.
    """
    CREATE FUNCTION usage_change(tenant bigint, more_objects bigint, more_used bigint, more_reserved bigint)
    RETURNS void LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
    DECLARE
        more_bytes CONSTANT bigint := more_used + more_reserved;
        changes record;
        total record;
    BEGIN
        IF more_objects = 0 AND more_used = 0 AND more_reserved = 0 THEN
            RETURN;
        ELSIF more_objects <= 0 AND more_bytes <= 0 THEN
            INSERT INTO usage_changes (tenant_id, objects, used_bytes, reserved_bytes)
            VALUES (tenant, more_objects, more_used, more_reserved);
            RETURN;
        END IF;
        PERFORM FROM tenants WHERE id = tenant FOR NO KEY UPDATE;  -- whoever waits here sees all that was before
        WITH gone AS (DELETE FROM usage_changes WHERE tenant_id = tenant RETURNING *)
        SELECT coalesce(sum(g.objects), 0)::bigint AS objects, coalesce(sum(g.used_bytes), 0)::bigint AS used,
               coalesce(sum(g.reserved_bytes), 0)::bigint AS reserved
        INTO changes FROM gone g;
        UPDATE tenants
        SET used_objects = used_objects + changes.objects + more_objects,
            used_bytes = used_bytes + changes.used + more_used,
            reserved_bytes = reserved_bytes + changes.reserved + more_reserved
        WHERE id = tenant
        RETURNING used_objects, used_bytes, reserved_bytes, quota_objects, quota_bytes INTO total;
        IF more_objects > 0 AND total.used_objects > total.quota_objects THEN
            RAISE check_violation USING CONSTRAINT = 'tenants_quota_objects', MESSAGE = 'quota of objects exceeded',
                DETAIL = json_build_object('used', total.used_objects - more_objects, 'reserved', 0,
                                           'limit', total.quota_objects, 'requested', more_objects);
        ELSIF more_bytes > 0 AND total.used_bytes + total.reserved_bytes > total.quota_bytes THEN
            RAISE check_violation USING CONSTRAINT = 'tenants_quota_bytes', MESSAGE = 'quota of bytes exceeded',
                DETAIL = json_build_object('used', total.used_bytes - more_used,
                                           'reserved', total.reserved_bytes - more_reserved,
                                           'limit', total.quota_bytes, 'requested', more_bytes);
        END IF;
    END $$;
    """,
    _counting("objects", _OBJECTS),
    _counting("uploads", _UPLOADS),
    # Objects are never emptied without their uploads. Tenants first, so that nobody adds changes up meanwhile.
    """
    CREATE FUNCTION usage_objects_clear() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
    BEGIN
        UPDATE tenants SET used_objects = 0 WHERE used_objects > 0;
        TRUNCATE usage_changes;
        RETURN NULL;
    END $$;
    CREATE FUNCTION usage_uploads_clear() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
    BEGIN
        UPDATE tenants SET used_bytes = 0, reserved_bytes = 0 WHERE used_bytes + reserved_bytes > 0;
        UPDATE usage_changes SET used_bytes = 0, reserved_bytes = 0;
        RETURN NULL;
    END $$;
    CREATE TRIGGER usage_objects_clear AFTER TRUNCATE ON objects
        FOR EACH STATEMENT EXECUTE FUNCTION usage_objects_clear();
    CREATE TRIGGER usage_uploads_clear AFTER TRUNCATE ON uploads
        FOR EACH STATEMENT EXECUTE FUNCTION usage_uploads_clear();
    """,
    # After the triggers, which nobody passed who was writing before.
    """
    UPDATE tenants t
    SET used_objects = (SELECT count(*) FROM objects WHERE tenant_id = t.id),
        (used_bytes, reserved_bytes) = (
            SELECT coalesce(sum(size_bytes) FILTER (WHERE state = 'COMPLETE'), 0),
                   coalesce(sum(size_bytes) FILTER (WHERE state IN ('PENDING', 'VERIFYING')), 0)
            FROM uploads WHERE tenant_id = t.id);
    """,
]

_DROPPED = [(table, name) for table in ("objects", "uploads") for name in (*_EVENTS, "clear")]
REVERSE_SQL = [
    *(f"DROP TRIGGER usage_{table}_{name} ON {table};" for table, name in _DROPPED),
    *(f"DROP FUNCTION usage_{table}_{name}();" for table, name in _DROPPED),
    """
    DROP FUNCTION usage_change(bigint, bigint, bigint, bigint);
    DROP TABLE usage_changes;
    ALTER TABLE tenants DROP COLUMN used_bytes, DROP COLUMN reserved_bytes, DROP COLUMN used_objects;
    """,
]
