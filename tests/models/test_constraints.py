"""Each constraint has a row that it refuses, in its name."""

import asyncpg
import pytest

from models import database
from tests.models.test_catalogue import UNIQUE_INDEXES, constraints

pytestmark = pytest.mark.usefixtures("connected")

TENANT = "INSERT INTO tenants (id, slug, member_access, created_at) VALUES"
USER = "INSERT INTO users (id, tenant_id, name, role, created_at) VALUES"
KEY = "INSERT INTO api_keys (id, tenant_id, user_id, name, public_id, secret_sha256, scope, created_at) VALUES"
BATCH = "INSERT INTO batches (id, tenant_id, batch_id, created_by_id) VALUES"
SEAL = "UPDATE batches SET (sealed_at, sealed_by_id, digest) = ROW(now(),"
OBJECT = "INSERT INTO objects (id, tenant_id, batch_pk, object_id, data, updated_at) VALUES"
GRANTED_PAIR = "INSERT INTO granted_pairs (user_id, batch_pk, object_pk, key, value) VALUES"
PAIR = "INSERT INTO object_pairs (tenant_id, batch_pk, object_pk, key, value) VALUES"
UPLOAD = (
    "INSERT INTO uploads (id, tenant_id, object_pk, batch_pk, bucket, key, name, content_type, size_bytes, state,"
    " is_current, expires_at) VALUES"
)
GRANT = "INSERT INTO grants (id, tenant_id, user_id, batch_pk, object_pk, level, granted_by_id, created_at) VALUES"
DELETION = (
    "INSERT INTO deletions (id, tenant_id, bucket, key, reserved_bytes, due_at, over_at, until_at, attempts) VALUES"
)
CANARY = "INSERT INTO canary_keys (id, public_id, note, created_at) VALUES"
ALERT = "INSERT INTO canary_alerts (id, canary_id, seen_at, address, agent, path) VALUES"
OPERATOR = "INSERT INTO operators (id, name, public_id, secret_sha256, created_at) VALUES"
SCAN = (
    "INSERT INTO reaper_scans (id, bucket, started_at, finished_at, held_by, held_until, step, cursor, cursor_id, keys,"
    " bytes, multiparts, foreign_keys, foreign_bytes, foreign_multiparts, quarantine_keys, quarantine_bytes) VALUES"
)
ORPHAN = (
    "INSERT INTO orphans (id, bucket, key, multipart_id, size_bytes, etag, modified_at, first_seen_at, sightings,"
    " scan_id, state, state_at, due_at) VALUES"
)
LOST = "INSERT INTO lost_files (id, bucket, key, upload_pk, size_bytes, first_seen_at, scan_id) VALUES"
SOURCE = (
    "INSERT INTO sync_sources (id, tenant_id, name, created_by_id, created_at, origin, destination, concurrency,"
    " secret) VALUES"
)
SYNC = (
    "INSERT INTO syncs (id, tenant_id, source_id, batch_pk, object_pk, file_name, file_type, state, queued_at, due_at,"
    " attempts) VALUES"
)
COPY_DELETION = "INSERT INTO copy_deletions (id, tenant_id, source_id, path, due_at, attempts) VALUES"
SYNC_COUNT = "INSERT INTO sync_counts (source_id, slot, queued, running, synced, failed) VALUES"
REPORT = "INSERT INTO drift_reports (source_id, tenant_id, repair, verify) VALUES"
ENTRY = "INSERT INTO audit_log (id, at, action) VALUES"
CHANGE = (
    "INSERT INTO usage_changes (tenant_id, id, objects, used_bytes, reserved_bytes, kept_bytes)"
    " OVERRIDING SYSTEM VALUE VALUES"
)
ANSWER = "INSERT INTO idempotent_answers (tenant_id, key_sha256, request_sha256, created_at) VALUES"
ROWS = [
    "TRUNCATE tenants CASCADE",
    f"{TENANT} (1, 'one', 'NONE', now()), (2, 'two', 'EDIT', now())",
    f"{USER} (10, 1, 'ada', 'ADMIN', now()), (20, 2, 'bob', 'MEMBER', now())",
    f"{KEY} (100, 1, 10, 'laptop', 'public', sha256('secret'), 'ADMIN', now())",
    f"{BATCH} (1000, 1, 'b', 10), (2000, 2, 'b', 20)",
    OBJECT + """ (1001, 1, 1000, 'o', '[{"key": "k", "value": "v"}]', now())""",
    OBJECT + " (2001, 2, 2000, 'o', '[]', now())",
    f"{UPLOAD} (5000, 1, 1001, 1000, 'bucket', 'key', 'a', 'text/plain', 0, 'PENDING', true, now())",
    f"{DELETION} (1, 1, 'bucket', 'key', 0, now(), now(), now(), 0)",
    f"{GRANT} (7000, 1, 10, 1000, null, 'VIEW', 10, now()), (7001, 1, 10, 1000, 1001, 'VIEW', 10, now())",
    "TRUNCATE canary_keys CASCADE",
    f"{CANARY} (1, 'public', '', now())",
    f"{OPERATOR} (1, 'op', 'public', sha256(''), now())",
    f"{ALERT} (1, 1, now(), '', '', '')",
    f"{ENTRY} (1, now(), 'READ_URL')",
    SOURCE + """ (1, 1, 'photos', 10, now(), '{}', '{"directory": "photos"}', 1, '')""",
    SOURCE + " (2, 2, 'photos', 20, now(), '{}', '{}', 1, '')",
    f"{SYNC} (6000, 1, 1, 1000, 1001, 'a', 'text/plain', 'QUEUED', now(), now(), 0)",
    f"{COPY_DELETION} (1, 1, 1, 'a', now(), 0)",
    f"{REPORT} (1, 1, false, false)",
    f"{SCAN} (1, 'bucket', now(), NULL, '', now(), 'KEYS', '', '', 0, 0, 0, 0, 0, 0, 0, 0)",
    f"{ORPHAN} (1, 'bucket', 'key', '', 0, '', now(), now(), 1, 1, 'SEEN', now(), now())",
    f"{LOST} (1, 'bucket', 'key', 5000, 0, now(), 1)",
]
_COPIED = "UPDATE syncs SET (path, size_bytes, sha256, etag, synced_at) = ('a', 0, sha256(''), '', now())"
REFUSED = [
    ("tenants_pkey", f"{TENANT} (1, 'three', 'NONE', now())"),
    ("tenants_slug_unique", "UPDATE tenants SET slug = 'two' WHERE id = 1"),
    ("tenants_slug_form", "UPDATE tenants SET slug = ''"),
    ("tenants_slug_form", "UPDATE tenants SET slug = '-a' WHERE id = 1"),
    ("tenants_slug_form", "UPDATE tenants SET slug = 'A' WHERE id = 1"),
    ("tenants_slug_form", "UPDATE tenants SET slug = E'a\\n' WHERE id = 1"),
    ("tenants_slug_form", "UPDATE tenants SET slug = 'é' WHERE id = 1"),
    ("tenants_member_access_known", "UPDATE tenants SET member_access = 'ADMIN'"),
    ("tenants_quotas_not_negative", "UPDATE tenants SET quota_bytes = -1"),
    ("tenants_quotas_not_negative", "UPDATE tenants SET quota_objects = -1"),
    ("tenants_usage_not_negative", "UPDATE tenants SET used_bytes = -1"),
    ("tenants_usage_not_negative", "UPDATE tenants SET reserved_bytes = -1"),
    ("tenants_usage_not_negative", "UPDATE tenants SET used_objects = -1"),
    ("users_pkey", f"{USER} (10, 1, 'eve', 'ADMIN', now())"),
    ("users_name_unique", f"{USER} (11, 1, 'ada', 'ADMIN', now())"),
    ("users_name_not_empty", "UPDATE users SET name = ''"),
    ("users_role_known", "UPDATE users SET role = 'OWNER'"),
    ("users_tenant_id_fkey", f"{USER} (11, 3, 'ada', 'ADMIN', now())"),
    ("users_tenant_id_fkey", "DELETE FROM tenants WHERE id = 2"),
    ("api_keys_pkey", f"{KEY} (100, 1, 10, '', 'other', sha256(''), 'READ', now())"),
    ("api_keys_public_id_unique", f"{KEY} (101, 1, 10, '', 'public', sha256(''), 'READ', now())"),
    ("api_keys_secret_is_sha256", "UPDATE api_keys SET secret_sha256 = 'secret'"),
    ("api_keys_user_fkey", f"{KEY} (101, 1, 20, '', 'other', sha256(''), 'READ', now())"),
    ("api_keys_scope_known", "UPDATE api_keys SET scope = 'ALL'"),
    ("api_keys_user_fkey", "UPDATE api_keys SET tenant_id = 2"),
    ("api_keys_user_fkey", "UPDATE users SET tenant_id = 2 WHERE id = 10"),
    ("batches_pkey", f"{BATCH} (1000, 2, 'other', 20)"),
    ("batches_batch_id_unique", f"{BATCH} (1001, 1, 'b', 10)"),
    ("batches_batch_id_not_empty", f"{BATCH} (1001, 1, '', 10)"),
    ("batches_created_by_fkey", f"{BATCH} (1001, 1, 'other', 20)"),
    ("batches_created_by_fkey", "DELETE FROM users WHERE id = 20"),
    ("batches_sealed_by_fkey", f"{SEAL} 20, sha256('')) WHERE id = 1000"),
    ("batches_digest_is_sha256", f"{SEAL} 10, 'short'::bytea) WHERE id = 1000"),
    ("batches_sealed_whole", f"{SEAL} 10, NULL) WHERE id = 1000"),
    ("objects_pkey", f"{OBJECT} (1001, 2, 2000, 'other', '[]', now())"),
    ("objects_object_id_unique", f"{OBJECT} (1002, 1, 1000, 'o', '[]', now())"),
    ("objects_object_id_not_empty", f"{OBJECT} (1002, 1, 1000, '', '[]', now())"),
    ("objects_data_is_list", "UPDATE objects SET data = '{}'"),
    ("objects_data_is_list", "UPDATE objects SET data = 'null'"),
    ("objects_batch_fkey", f"{OBJECT} (1002, 1, 2000, 'other', '[]', now())"),
    ("objects_batch_fkey", "UPDATE objects SET batch_pk = 2000"),
    ("objects_batch_fkey", "DELETE FROM batches WHERE id = 1000"),
    ("object_pairs_pkey", f"{PAIR} (1, 1000, 1001, 'k', 'v')"),
    ("uploads_pkey", f"{UPLOAD} (5000, 1, 1001, 1000, 'bucket', 'k', 'a', 'b/c', 0, 'PENDING', false, now())"),
    ("uploads_key_unique", f"{UPLOAD} (5001, 1, 1001, 1000, 'bucket', 'key', 'a', 'b/c', 0, 'PENDING', false, now())"),
    ("uploads_current", f"{UPLOAD} (5001, 1, 1001, 1000, 'bucket', 'k', 'a', 'b/c', 0, 'PENDING', true, now())"),
    ("uploads_object_fkey", f"{UPLOAD} (5001, 1, 2001, 2000, 'bucket', 'k', 'a', 'b/c', 0, 'PENDING', false, now())"),
    ("uploads_size_not_negative", "UPDATE uploads SET size_bytes = -1"),
    ("uploads_sha256_is_one", "UPDATE uploads SET sha256 = 'short'"),
    ("uploads_state_known", "UPDATE uploads SET state = 'GONE'"),
    ("uploads_read_at_known", "UPDATE uploads SET state = 'VERIFYING'"),
    ("uploads_ended_at_known", "UPDATE uploads SET ended_at = now()"),
    ("uploads_completed_at_known", "UPDATE uploads SET state = 'COMPLETE'"),
    ("uploads_completed_at_known", "UPDATE uploads SET completed_at = now()"),
    ("uploads_part_bytes_known", "UPDATE uploads SET multipart_id = 'one'"),
    ("uploads_part_bytes_known", "UPDATE uploads SET part_bytes = 1"),
    ("uploads_part_bytes_positive", "UPDATE uploads SET multipart_id = 'one', part_bytes = 0"),
    ("grants_pkey", f"{GRANT} (7000, 2, 20, 2000, null, 'VIEW', 20, now())"),
    ("grants_unique", f"{GRANT} (7002, 1, 10, 1000, null, 'EDIT', 10, now())"),
    ("grants_unique", f"{GRANT} (7002, 1, 10, 1000, 1001, 'EDIT', 10, now())"),
    ("grants_level_known", "UPDATE grants SET level = 'NONE'"),
    ("grants_user_fkey", f"{GRANT} (7002, 1, 20, 1000, null, 'VIEW', 10, now())"),
    ("grants_granted_by_fkey", "UPDATE grants SET granted_by_id = 20"),
    ("grants_batch_fkey", f"{GRANT} (7002, 1, 10, 2000, null, 'VIEW', 10, now())"),
    ("grants_object_fkey", f"{GRANT} (7002, 1, 10, 1000, 2001, 'VIEW', 10, now())"),
    ("granted_pairs_pkey", f"{GRANTED_PAIR} (10, 1000, 1001, 'k', 'v')"),
    ("granted_pairs_grant_fkey", f"{GRANTED_PAIR} (20, 1000, 1001, 'k', 'v')"),
    ("deletions_pkey", f"{DELETION} (1, 1, 'bucket', 'other', 0, now(), now(), now(), 0)"),
    ("users_oidc_subject_unique", "UPDATE users SET oidc_subject = 'one'"),
    ("users_oidc_subject_not_empty", "UPDATE users SET oidc_subject = ''"),
    ("canary_keys_pkey", f"{CANARY} (1, 'other', '', now())"),
    ("canary_keys_public_id_unique", f"{CANARY} (2, 'public', '', now())"),
    ("canary_alerts_pkey", f"{ALERT} (1, 1, now(), '', '', '')"),
    ("canary_alerts_canary_id_fkey", f"{ALERT} (2, 2, now(), '', '', '')"),
    ("canary_alerts_canary_id_fkey", "DELETE FROM canary_keys"),
    ("reaper_scans_pkey", f"{SCAN} (1, 'other', now(), NULL, '', now(), 'KEYS', '', '', 0, 0, 0, 0, 0, 0, 0, 0)"),
    ("reaper_scans_running", f"{SCAN} (2, 'bucket', now(), NULL, '', now(), 'KEYS', '', '', 0, 0, 0, 0, 0, 0, 0, 0)"),
    ("reaper_scans_step_known", "UPDATE reaper_scans SET step = 'LUNCH'"),
    ("reaper_scans_finished_at_known", "UPDATE reaper_scans SET step = 'DONE'"),
    ("orphans_pkey", f"{ORPHAN} (1, 'bucket', 'other', '', 0, '', now(), now(), 1, 1, 'SEEN', now(), now())"),
    ("orphans_key_unique", f"{ORPHAN} (2, 'bucket', 'key', '', 0, '', now(), now(), 1, 1, 'SEEN', now(), now())"),
    ("orphans_state_known", "UPDATE orphans SET state = 'LOST'"),
    ("lost_files_pkey", f"{LOST} (1, 'bucket', 'other', 5000, 0, now(), 1)"),
    ("lost_files_key_unique", f"{LOST} (2, 'bucket', 'key', 5000, 0, now(), 1)"),
    ("operators_pkey", f"{OPERATOR} (1, 'other', 'other', sha256(''), now())"),
    ("operators_name_unique", f"{OPERATOR} (2, 'op', 'other', sha256(''), now())"),
    ("operators_public_id_unique", f"{OPERATOR} (2, 'other', 'public', sha256(''), now())"),
    ("operators_name_form", "UPDATE operators SET name = 'Op'"),
    ("operators_secret_is_sha256", "UPDATE operators SET secret_sha256 = 'secret'"),
    ("audit_log_pkey", f"{ENTRY} (1, now(), 'READ_URL')"),
    ("audit_log_action_known", f"{ENTRY} (2, now(), 'OTHER')"),
    ("idempotent_answers_pkey", f"{ANSWER} (0, '', '', now()), (0, '', '', now())"),
    ("sync_sources_pkey", SOURCE + " (1, 1, 'other', 10, now(), '{}', '{}', 1, '')"),
    ("sync_sources_name_unique", SOURCE + " (3, 1, 'photos', 10, now(), '{}', '{}', 1, '')"),
    ("sync_sources_name_form", "UPDATE sync_sources SET name = 'Photos'"),
    ("sync_sources_directory", SOURCE + """ (3, 1, 'b', 10, now(), '{}', '{"directory": "photos"}', 1, '')"""),
    ("sync_sources_created_by_fkey", "UPDATE sync_sources SET created_by_id = 20 WHERE id = 1"),
    ("sync_sources_concurrency_bounded", "UPDATE sync_sources SET concurrency = 0"),
    ("sync_sources_former_whole", "UPDATE sync_sources SET former_secret = ''"),
    ("syncs_pkey", f"{SYNC} (6000, 1, 1, 1000, 1001, 'b', 'text/plain', 'QUEUED', now(), now(), 0)"),
    ("syncs_file_unique", f"{SYNC} (6001, 1, 1, 1000, 1001, 'a', 'text/plain', 'QUEUED', now(), now(), 0)"),
    ("syncs_source_fkey", "UPDATE syncs SET source_id = 2"),
    ("syncs_object_fkey", "UPDATE syncs SET object_pk = 2001"),
    ("syncs_signature_is_sha256", "UPDATE syncs SET signature = ''"),
    ("syncs_sha256_is_one", _COPIED.replace("sha256('')", "''")),
    ("syncs_size_not_negative", _COPIED.replace("0,", "-1,")),
    ("syncs_copied_whole", "UPDATE syncs SET path = 'a'"),
    ("syncs_state_known", "UPDATE syncs SET state = 'OTHER'"),
    ("syncs_taken_by_known", "UPDATE syncs SET state = 'RUNNING'"),
    ("syncs_problem_known", "UPDATE syncs SET state = 'FAILED'"),
    ("syncs_synced_at_known", "UPDATE syncs SET state = 'SYNCED'"),
    ("sync_counts_pkey", f"{SYNC_COUNT} (1, 99, 0, 0, 0, 0), (1, 99, 0, 0, 0, 0)"),
    ("drift_reports_pkey", f"{REPORT} (1, 1, false, false)"),
    ("drift_reports_source_fkey", f"{REPORT} (2, 1, false, false)"),
    ("drift_reports_held_whole", "UPDATE drift_reports SET held_until = now()"),
    ("drift_reports_made_whole", "UPDATE drift_reports SET checked_at = now()"),
    ("copy_deletions_pkey", f"{COPY_DELETION} (1, 1, 1, 'b', now(), 0)"),
    ("usage_changes_pkey", f"{CHANGE} (1, 1, 0, 0, 0, 0), (1, 1, 0, 0, 0, 0)"),
]  # fmt: skip
# (tenant, id) cannot be violated while id alone is unique: it is there to be referenced.
ONLY_REFERENCED = {
    "users_tenant_id_unique",
    "batches_tenant_id_unique",
    "objects_tenant_id_unique",
    "sync_sources_tenant_id_unique",
}


@pytest.mark.parametrize(("constraint", "statement"), REFUSED)
async def test_row_that_violates_a_constraint_is_refused_in_its_name(constraint: str, statement: str) -> None:
    with pytest.raises(asyncpg.IntegrityConstraintViolationError) as refused:
        await attempt(statement)
    assert refused.value.constraint_name == constraint


async def attempt(statement: str) -> None:
    async with database.transaction():
        for one in ROWS:
            await database.fetch(one)
        await database.fetch(statement)
        raise AssertionError("it was not refused")  # and is rolled back


async def test_every_constraint_has_a_row_that_violates_it() -> None:
    assert {name for name, _ in REFUSED} | ONLY_REFERENCED == {*UNIQUE_INDEXES, *await constraints()}
