"""Batches and the objects in them. Rows are read by ``pages.py`` and written by ``writes.py``; this is their shape."""

from typing import Any

from tortoise import fields
from tortoise.indexes import Index
from tortoise.migrations.constraints import CheckConstraint, UniqueConstraint
from tortoise.models import Model

from models.people import Tenant, User


class Batch(Model):
    """A named group of objects. The time of creation is part of ``id`` (``ids.py``).

    Once it is sealed, nothing that is in it changes any more (``sealing.py``).
    """

    id = fields.BigIntField(primary_key=True, generated=False)
    tenant: fields.ForeignKeyRelation[Tenant] = fields.ForeignKeyField(
        "models.Tenant", related_name="batches", on_delete=fields.RESTRICT, db_constraint=False
    )
    batch_id = fields.TextField()
    created_by: fields.ForeignKeyRelation[User] = fields.ForeignKeyField(
        "models.User", related_name="batches", on_delete=fields.RESTRICT, db_constraint=False
    )
    sealed_at = fields.DatetimeField(null=True)
    sealed_by: fields.ForeignKeyNullableRelation[User] = fields.ForeignKeyField(
        "models.User", related_name="sealed", on_delete=fields.RESTRICT, db_constraint=False, null=True
    )
    digest = fields.BinaryField(null=True)  # of what was in it when it was sealed

    class Meta:
        table = "batches"
        table_description = "named groups of objects"
        constraints = (
            UniqueConstraint(("tenant", "batch_id"), name="batches_batch_id_unique"),
            UniqueConstraint(("tenant", "id"), name="batches_tenant_id_unique"),
            CheckConstraint("batch_id <> ''", name="batches_batch_id_not_empty"),
            CheckConstraint("octet_length(digest) = 32", name="batches_digest_is_sha256"),
            CheckConstraint("num_nulls(sealed_at, sealed_by_id, digest) IN (0, 3)", name="batches_sealed_whole"),
        )


class Object(Model):
    """``data`` is ``[{"key": ..., "value": ...}, ...]`` in the order given, and the single source of truth.

    The table ``object_pairs`` is derived from it by triggers and has no model: nothing but filters reads it and
    nothing but the triggers writes it.
    """

    id = fields.BigIntField(primary_key=True, generated=False)
    tenant: fields.ForeignKeyRelation[Tenant] = fields.ForeignKeyField(
        "models.Tenant", related_name="objects", on_delete=fields.RESTRICT, db_constraint=False
    )
    batch_pk = fields.BigIntField()  # references Batch within the tenant
    object_id = fields.TextField()
    data: Any = fields.JSONField()
    updated_at = fields.DatetimeField()

    class Meta:
        table = "objects"
        table_description = "objects with their key/value data"
        indexes = (Index(fields=("tenant_id", "batch_pk", "id"), name="objects_batch"),)
        constraints = (
            UniqueConstraint(("tenant", "object_id"), name="objects_object_id_unique"),
            UniqueConstraint(("tenant", "id"), name="objects_tenant_id_unique"),
            CheckConstraint("object_id <> ''", name="objects_object_id_not_empty"),
            CheckConstraint("jsonb_typeof(data) = 'array'", name="objects_data_is_list"),
        )
