"""The database: tables, migrations, filters, pages, and the errors of the domain. Imports nothing of ours."""

from models.objects import Batch, Object
from models.people import Access, ApiKey, Role, Tenant, User

__all__ = ["Access", "ApiKey", "Batch", "Object", "Role", "Tenant", "User"]
