"""The database: tables, migrations, filters, pages, and the errors of the domain. Imports nothing of ours."""

from models.file_state import FileState
from models.grants import Grant
from models.objects import Batch, Object
from models.people import AccessLevel, ApiKey, Role, Tenant, User
from models.uploads import Deletion, Upload

__all__ = [
    "AccessLevel",
    "ApiKey",
    "Batch",
    "Deletion",
    "FileState",
    "Grant",
    "Object",
    "Role",
    "Tenant",
    "Upload",
    "User",
]
