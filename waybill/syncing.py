"""Local copies, by what the settings say of them."""

from access.boxes import Boxes
from access.locations import Allowed
from access.sources import Sources
from waybill.settings import Settings


def sync_sources(settings: Settings) -> Sources:
    """What makes sync sources and reads their secrets."""
    profiles = frozenset(
        (tenant, profile) for tenant, _, profile in (one.partition(":") for one in settings.sync_profiles)
    )
    endpoints = frozenset(url.rstrip("/") for url in settings.sync_endpoints)
    allowed = Allowed(profiles, endpoints, directories=bool(settings.sync_root))
    return Sources(Boxes(settings.encryption_key_bytes), allowed)
