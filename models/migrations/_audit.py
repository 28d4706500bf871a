"""SQL of the audit log that models cannot say: the numbers in its keys, and that it is only ever added to."""

SQL = """
    CREATE SEQUENCE audit_entries AS bigint CYCLE;
    CREATE FUNCTION audit_log_keep() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE 'the audit log is only ever added to';
    END $$;
    CREATE TRIGGER audit_log_keep BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
        FOR EACH STATEMENT EXECUTE FUNCTION audit_log_keep();
"""

REVERSE_SQL = """
    DROP TRIGGER audit_log_keep ON audit_log;
    DROP FUNCTION audit_log_keep();
    DROP SEQUENCE audit_entries;
"""
