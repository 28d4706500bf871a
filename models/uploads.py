"""Files: what was announced, what is there, and which bytes have to go. ``files.py`` reads and writes the rows."""

from tortoise import fields
from tortoise.fields.db_defaults import SqlDefault
from tortoise.indexes import Index
from tortoise.migrations.constraints import CheckConstraint, UniqueConstraint
from tortoise.models import Model

from models.file_state import FileState
from models.people import Tenant

FIRST_LOOK = "now() + interval '1 minute'"


class Upload(Model):
    """One upload of one object's file; its key in S3 is never used for another.

    ``is_current`` marks the one that is the object's file: the newest complete one, or the newest where none is. With
    the end of each, or its deletion, its key goes to ``deletions``.
    """

    id = fields.BigIntField(primary_key=True, generated=False)
    tenant: fields.ForeignKeyRelation[Tenant] = fields.ForeignKeyField(
        "models.Tenant", related_name="uploads", on_delete=fields.RESTRICT, db_constraint=False
    )
    object_pk = fields.BigIntField()  # references Object within the tenant; goes with it
    batch_pk = fields.BigIntField()  # the object's, which it never leaves
    bucket = fields.TextField()
    key = fields.TextField()
    name = fields.TextField()
    content_type = fields.TextField()
    size_bytes = fields.BigIntField()
    sha256 = fields.BinaryField(null=True)  # as declared
    state = fields.CharEnumField(FileState, max_length=9)
    is_current = fields.BooleanField()
    expires_at = fields.DatetimeField()  # of the URL; in parts, of the last URL that a part may get
    completed_at = fields.DatetimeField(null=True)
    read_at = fields.DatetimeField(null=True)  # when the worker may read its bytes, while they are VERIFYING
    ended_at = fields.DatetimeField(null=True)  # since when it is EXPIRED; a past one is forgotten after a while
    # When the worker looks for its bytes next, while it is PENDING.
    look_at = fields.DatetimeField(db_default=SqlDefault(FIRST_LOOK))
    problem = fields.TextField(null=True)  # why it ended, where that is not because its URL was over
    multipart_id = fields.TextField(null=True)  # S3's, of an upload in parts
    part_bytes = fields.BigIntField(null=True)  # of each part but the last, which has the rest

    class Meta:
        table = "uploads"
        table_description = "files of objects: announced, there, or given up"
        indexes = (Index(fields=("tenant_id", "object_pk"), name="uploads_object"),)
        constraints = (
            UniqueConstraint(("bucket", "key"), name="uploads_key_unique"),
            CheckConstraint("size_bytes >= 0", name="uploads_size_not_negative"),
            CheckConstraint("octet_length(sha256) = 32", name="uploads_sha256_is_one"),
            CheckConstraint("state IN ('PENDING', 'VERIFYING', 'COMPLETE', 'EXPIRED')", name="uploads_state_known"),
            CheckConstraint("state <> 'VERIFYING' OR read_at IS NOT NULL", name="uploads_read_at_known"),
            CheckConstraint("(state = 'EXPIRED') = (ended_at IS NOT NULL)", name="uploads_ended_at_known"),
            CheckConstraint("(state = 'COMPLETE') = (completed_at IS NOT NULL)", name="uploads_completed_at_known"),
            CheckConstraint("(multipart_id IS NULL) = (part_bytes IS NULL)", name="uploads_part_bytes_known"),
            CheckConstraint("part_bytes > 0", name="uploads_part_bytes_positive"),
        )


class Deletion(Model):
    """A key whose bytes have to go. Made by a trigger, so that no row goes without it; gone when the bytes are.

    They go at once, when the URL is over by which they could come again, and when each request is that began in time.
    An upload in parts is aborted each time; after the first no URL brings anything any more.
    """

    id = fields.BigIntField(primary_key=True)
    tenant_id = fields.BigIntField()
    bucket = fields.TextField()
    key = fields.TextField()
    reserved_bytes = fields.BigIntField()  # which could come again: of the tenant's quota, until they are gone for good
    due_at = fields.DatetimeField()
    over_at = fields.DatetimeField()  # when the URL is over
    until_at = fields.DatetimeField()  # when each request is that began in time
    attempts = fields.IntField()
    last_error = fields.TextField(null=True)
    multipart_id = fields.TextField(null=True)  # to be aborted first

    class Meta:
        table = "deletions"
        table_description = "keys in S3 whose bytes have to go"
        indexes = (
            Index(fields=("due_at",), name="deletions_due"),
            Index(fields=("bucket", "key"), name="deletions_key"),
        )
