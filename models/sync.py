"""Local copies of files in S3: where they come from, which there are, and which have to go. This is their shape."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from tortoise import fields
from tortoise.indexes import Index
from tortoise.migrations.constraints import CheckConstraint, UniqueConstraint
from tortoise.models import Model

from models.people import Tenant, User


class SyncState(StrEnum):
    """How far a local copy is."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    SYNCED = "SYNCED"
    FAILED = "FAILED"


class SyncSource(Model):
    """Where a tenant's files come from and where they go, and the secrets by which another application asks for them.

    ``origin`` and ``destination`` are ``access.locations``' to read. The secrets are encrypted (``access.boxes``); the
    former one is good until ``former_until``.
    """

    id = fields.BigIntField(primary_key=True)
    tenant: fields.ForeignKeyRelation[Tenant] = fields.ForeignKeyField(
        "models.Tenant", related_name="sync_sources", on_delete=fields.RESTRICT, db_constraint=False
    )
    name = fields.TextField()
    created_by: fields.ForeignKeyRelation[User] = fields.ForeignKeyField(
        "models.User", related_name="sync_sources", on_delete=fields.RESTRICT, db_constraint=False
    )  # whose the batches are that it makes
    created_at = fields.DatetimeField()
    origin: Any = fields.JSONField()
    destination: Any = fields.JSONField()
    concurrency = fields.IntField()  # most files that are copied at once
    paused_at = fields.DatetimeField(null=True)
    secret: Any = fields.BinaryField()
    rotated_at = fields.DatetimeField(null=True)
    former_secret: Any = fields.BinaryField(null=True)
    former_until = fields.DatetimeField(null=True)

    class Meta:
        table = "sync_sources"
        table_description = "where local copies come from"
        constraints = (
            UniqueConstraint(("tenant", "name"), name="sync_sources_name_unique"),
            UniqueConstraint(("tenant", "id"), name="sync_sources_tenant_id_unique"),
            CheckConstraint("name ~ '^[a-z0-9][a-z0-9-]{0,62}$'", name="sync_sources_name_form"),
            CheckConstraint("concurrency BETWEEN 1 AND 64", name="sync_sources_concurrency_bounded"),
            CheckConstraint("num_nulls(former_secret, former_until) IN (0, 2)", name="sync_sources_former_whole"),
        )


class Sync(Model):
    """The local copy of one file of one object. ``id`` is ordered by time (``ids.py``).

    While it is RUNNING it is whose who has the token ``taken_by``, until ``due_at``.
    """

    id = fields.BigIntField(primary_key=True, generated=False)
    tenant: fields.ForeignKeyRelation[Tenant] = fields.ForeignKeyField(
        "models.Tenant", related_name="syncs", on_delete=fields.RESTRICT, db_constraint=False
    )
    source: fields.ForeignKeyRelation[SyncSource] = fields.ForeignKeyField(
        "models.SyncSource", related_name="syncs", on_delete=fields.RESTRICT, db_constraint=False
    )
    batch_pk = fields.BigIntField()  # the object's, which it never leaves
    object_pk = fields.BigIntField()  # references Object within the tenant; goes with it
    file_name = fields.TextField()
    file_type = fields.TextField()
    signature: Any = fields.BinaryField(null=True)  # of the notice; null: it came over GraphQL
    state = fields.CharEnumField(SyncState, max_length=7)
    queued_at = fields.DatetimeField()
    due_at: datetime = fields.DatetimeField()  # when it is tried next
    taken_by = fields.UUIDField(null=True)
    attempts = fields.IntField()
    problem = fields.TextField(null=True)  # the code of what went wrong last
    error = fields.TextField(null=True)  # the same in words
    path = fields.TextField(null=True)  # in the destination: below the root, or a key
    size_bytes = fields.BigIntField(null=True)
    sha256: Any = fields.BinaryField(null=True)
    etag = fields.TextField(null=True)  # of what was copied
    synced_at = fields.DatetimeField(null=True)

    class Meta:
        table = "syncs"
        table_description = "local copies of files"
        indexes = (
            # Lists of all states are merged from those of each, so that no planner has two indexes to choose from.
            Index(fields=("tenant_id", "state", "id"), name="syncs_state"),
            Index(fields=("source_id", "state", "id"), name="syncs_source"),
            Index(fields=("batch_pk", "state", "id"), name="syncs_batch"),
            # With the tenant, so that the reference to the object is followed by it, whatever the statistics say.
            Index(fields=("object_pk", "tenant_id", "id"), name="syncs_object"),
        )
        constraints = (
            UniqueConstraint(("source_id", "object_pk", "file_name"), name="syncs_file_unique"),
            CheckConstraint("octet_length(signature) = 32", name="syncs_signature_is_sha256"),
            CheckConstraint("octet_length(sha256) = 32", name="syncs_sha256_is_one"),
            CheckConstraint("size_bytes >= 0", name="syncs_size_not_negative"),
            CheckConstraint("state IN ('QUEUED', 'RUNNING', 'SYNCED', 'FAILED')", name="syncs_state_known"),
            CheckConstraint("(state = 'RUNNING') = (taken_by IS NOT NULL)", name="syncs_taken_by_known"),
            CheckConstraint("state <> 'FAILED' OR problem IS NOT NULL", name="syncs_problem_known"),
            CheckConstraint(
                "num_nulls(path, size_bytes, sha256, etag, synced_at) IN (0, 5)", name="syncs_copied_whole"
            ),
            CheckConstraint("state <> 'SYNCED' OR synced_at IS NOT NULL", name="syncs_synced_at_known"),
        )


class CopyDeletion(Model):
    """A local copy that has to go. Made by a trigger with the end of its row."""

    id = fields.BigIntField(primary_key=True)
    tenant_id = fields.BigIntField()
    source_id = fields.BigIntField()
    path = fields.TextField()
    due_at = fields.DatetimeField()
    attempts = fields.IntField()
    last_error = fields.TextField(null=True)

    class Meta:
        table = "copy_deletions"
        table_description = "local copies that have to go"
        indexes = (Index(fields=("due_at",), name="copy_deletions_due"),)
