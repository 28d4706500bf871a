"""The database: tables, migrations, filters, pages, and the errors of the domain. Imports nothing of ours."""

from models.objects import Batch, Object
from models.people import AccessLevel, ApiKey, Role, Tenant, User

__all__ = ["AccessLevel", "ApiKey", "Batch", "Object", "Role", "Tenant", "User"]
