"""Where rows, local copies and buckets differ, as it was last found. This is its shape."""

from enum import StrEnum
from typing import Any

from tortoise import fields
from tortoise.migrations.constraints import CheckConstraint
from tortoise.models import Model


class DriftKind(StrEnum):
    """What differs. The first four are of copies that are SYNCED."""

    MISSING = "MISSING"  # the copy is not there
    DAMAGED = "DAMAGED"  # it is not what was copied
    CHANGED = "CHANGED"  # the source has another file of the name by now
    GONE = "GONE"  # the source has none any more
    EXTRA = "EXTRA"  # something is among the copies that no row knows
    UNKNOWN = "UNKNOWN"  # the source has a file that nobody has told of


class DriftReport(Model):
    """The latest of a source, and whether a new one is wanted. Whoever makes it holds it until ``held_until``.

    ``report`` is ``worker.drift_report``'s. ``repair`` and ``verify`` are of what is asked for.
    """

    source_id = fields.BigIntField(primary_key=True, generated=False)
    tenant_id = fields.BigIntField()
    asked_at = fields.DatetimeField(null=True)  # null: nobody waits for one
    repair = fields.BooleanField()
    verify = fields.BooleanField()
    held_by = fields.UUIDField(null=True)
    held_until = fields.DatetimeField(null=True)
    checked_at = fields.DatetimeField(null=True)
    report: Any = fields.JSONField(null=True)

    class Meta:
        table = "drift_reports"
        table_description = "where rows, local copies and buckets differ"
        constraints = (
            CheckConstraint("num_nulls(held_by, held_until) IN (0, 2)", name="drift_reports_held_whole"),
            CheckConstraint("num_nulls(checked_at, report) IN (0, 2)", name="drift_reports_made_whole"),
        )
