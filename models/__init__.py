"""The database: tables, migrations, filters, pages, and the errors of the domain. Imports nothing of ours."""

from models.audit import Action, AuditEntry
from models.batches import BatchState
from models.canaries import CanaryAlert, CanaryKey
from models.drift import DriftKind, DriftReport
from models.file_state import FileState
from models.grants import Grant
from models.objects import Batch, Object
from models.operators import Operator
from models.people import AccessLevel, ApiKey, KeyScope, Role, Tenant, User
from models.reaper import LostFile, Orphan, OrphanState, Scan, ScanStep
from models.sync import CopyDeletion, Sync, SyncSource, SyncState
from models.uploads import Deletion, Upload

__all__ = [
    "AccessLevel",
    "Action",
    "ApiKey",
    "AuditEntry",
    "Batch",
    "BatchState",
    "CanaryAlert",
    "CanaryKey",
    "CopyDeletion",
    "Deletion",
    "DriftKind",
    "DriftReport",
    "FileState",
    "Grant",
    "KeyScope",
    "LostFile",
    "Object",
    "Operator",
    "Orphan",
    "OrphanState",
    "Role",
    "Scan",
    "ScanStep",
    "Sync",
    "SyncSource",
    "SyncState",
    "Tenant",
    "Upload",
    "User",
]
