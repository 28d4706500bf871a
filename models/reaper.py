"""What the reaper finds: scans of buckets, bytes that no row knows, and files whose bytes are not there.

``scans.py``, ``orphans.py`` and ``lost.py`` read and write the rows. They belong to no tenant: a key has its tenant's
slug in it.
"""

from enum import StrEnum

from tortoise import fields
from tortoise.indexes import Index
from tortoise.migrations.constraints import CheckConstraint, UniqueConstraint
from tortoise.models import Model


class ScanStep(StrEnum):
    """What a scan does next."""

    KEYS = "KEYS"  # lists what is in the bucket,
    MULTIPARTS = "MULTIPARTS"  # and the unfinished uploads in parts;
    ROWS = "ROWS"  # looks for rows that know it,
    FILES = "FILES"  # and for what rows know in the bucket
    DONE = "DONE"
    BROKEN = "BROKEN"  # PostgreSQL crashed and has forgotten the listing; another begins


class OrphanState(StrEnum):
    """Those in -ING are intents, written before S3 is asked to do anything: who dies leaves them to the next round."""

    SEEN = "SEEN"
    QUARANTINING = "QUARANTINING"
    QUARANTINED = "QUARANTINED"
    RESTORING = "RESTORING"
    RESTORED = "RESTORED"
    DELETING = "DELETING"
    DELETED = "DELETED"


class Scan(Model):
    """One comparison of a bucket with the rows; at most one of a bucket runs, held by one worker for a while.

    ``cursor`` and ``cursor_id`` say where the present step goes on, in its own terms.
    """

    id = fields.BigIntField(primary_key=True)
    bucket = fields.TextField()
    started_at = fields.DatetimeField()
    finished_at = fields.DatetimeField(null=True)
    held_by = fields.TextField()
    held_until = fields.DatetimeField()
    step = fields.CharEnumField(ScanStep, max_length=10)
    cursor = fields.TextField()
    cursor_id = fields.TextField()
    keys = fields.BigIntField()
    bytes = fields.BigIntField()
    multiparts = fields.BigIntField()
    foreign_keys = fields.BigIntField()  # not of our form, or of no tenant of ours
    foreign_bytes = fields.BigIntField()
    foreign_multiparts = fields.BigIntField()
    quarantine_keys = fields.BigIntField()
    quarantine_bytes = fields.BigIntField()

    class Meta:
        table = "reaper_scans"
        table_description = "comparisons of a bucket with the rows that know its keys"
        indexes = (Index(fields=("bucket", "id"), name="reaper_scans_bucket"),)
        constraints = (
            CheckConstraint(
                "step IN ('KEYS', 'MULTIPARTS', 'ROWS', 'FILES', 'DONE', 'BROKEN')", name="reaper_scans_step_known"
            ),
            CheckConstraint(
                "(step IN ('DONE', 'BROKEN')) = (finished_at IS NOT NULL)", name="reaper_scans_finished_at_known"
            ),
        )


class Orphan(Model):
    """An object, or an unfinished upload in parts, of a key of our form that no row knows."""

    id = fields.BigIntField(primary_key=True)
    bucket = fields.TextField()
    key = fields.TextField()
    multipart_id = fields.TextField()  # "" for an object
    size_bytes = fields.BigIntField()
    etag = fields.TextField()
    modified_at = fields.DatetimeField()  # S3's own time
    first_seen_at = fields.DatetimeField()
    sightings = fields.IntField()  # scans in a row that found it unchanged
    scan_id = fields.BigIntField()  # the last of them
    state = fields.CharEnumField(OrphanState, max_length=12)
    state_at = fields.DatetimeField()
    due_at = fields.DatetimeField()  # when somebody may do something about it, again or at all
    last_error = fields.TextField(null=True)

    class Meta:
        table = "orphans"
        table_description = "keys in S3 that no row knows, and what became of them"
        indexes = (Index(fields=("state", "due_at"), name="orphans_due"),)
        constraints = (
            UniqueConstraint(("bucket", "key", "multipart_id"), name="orphans_key_unique"),
            CheckConstraint(
                "state IN ('SEEN', 'QUARANTINING', 'QUARANTINED', 'RESTORING', 'RESTORED', 'DELETING', 'DELETED')",
                name="orphans_state_known",
            ),
        )


class LostFile(Model):
    """A complete upload whose bytes were not in the bucket, or of another size, at the last scan."""

    id = fields.BigIntField(primary_key=True)
    bucket = fields.TextField()
    key = fields.TextField()
    upload_pk = fields.BigIntField()
    size_bytes = fields.BigIntField()
    found_bytes = fields.BigIntField(null=True)  # None: there is nothing
    first_seen_at = fields.DatetimeField()
    scan_id = fields.BigIntField()

    class Meta:
        table = "lost_files"
        table_description = "complete files whose bytes are not in S3, or are others"
        constraints = (UniqueConstraint(("bucket", "key"), name="lost_files_key_unique"),)
