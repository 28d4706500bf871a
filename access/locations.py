"""Which buckets and directories a tenant's sync sources may use: the service reads and writes there in its own name."""

import re
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass

from models.errors import BadInput, Forbidden
from models.locations import Destination, Directory, Location

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", re.ASCII)
_REGION = re.compile(r"[a-z0-9-]{1,32}", re.ASCII)
_DIRECTORY = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}", re.ASCII)
_ROLE = re.compile(r"arn:aws[a-z-]*:iam::[0-9]{12}:role/[\w+=,.@/-]{1,512}", re.ASCII)
_MOST_PREFIX_BYTES = 400


@dataclass(frozen=True, slots=True)
class Allowed:
    """By the settings: ``profiles`` are pairs of a tenant's slug and a profile, ``endpoints`` are URLs."""

    profiles: Collection[tuple[str, str]] = ()
    endpoints: Collection[str] = ()
    directories: bool = False  # whether there is a root


def check(allowed: Allowed, tenant_slug: str, origin: Location, destination: Destination) -> None:
    """Raises BadInput for what cannot be, Forbidden for what the service's operator has not allowed the tenant."""
    check_location(allowed, tenant_slug, origin, "origin")
    if isinstance(destination, Location):
        check_location(allowed, tenant_slug, destination, "destination")
        if not destination.profile and not destination.role:
            raise BadInput('The destination needs a "profile" or a "role": nobody may write to a bucket unsigned.')
        return
    if not allowed.directories:
        raise BadInput("The service keeps no local copies in directories: ask its operator to set WAYBILL_SYNC_ROOT.")
    if not _DIRECTORY.fullmatch(destination.directory):
        raise BadInput(
            'A "directory" has 1 to 63 small letters, digits, "-" and "_", and begins with a letter or digit.'
        )


def check_location(allowed: Allowed, tenant_slug: str, place: Location, what: str) -> None:
    """As ``check``, of one of the two: ``what`` names it."""
    if not _BUCKET.fullmatch(place.bucket):
        raise BadInput(f"The bucket of the {what} has no name that S3 allows.")
    if place.region and not _REGION.fullmatch(place.region):
        raise BadInput(f"The region of the {what} has no name that a region has.")
    if len(place.prefix.encode(errors="replace")) > _MOST_PREFIX_BYTES or any(
        unicodedata.category(one) in ("Cc", "Cs") for one in place.prefix
    ):
        raise BadInput(f"The prefix of the {what} has at most {_MOST_PREFIX_BYTES} bytes and no control characters.")
    if place.profile and place.role:
        raise BadInput(f'The {what} has a "profile" or a "role", not both.')
    if place.role and not _ROLE.fullmatch(place.role):
        raise BadInput(f"The role of the {what} is no ARN of a role: arn:aws:iam::123456789012:role/name.")
    if place.profile and (tenant_slug, place.profile) not in allowed.profiles:
        raise Forbidden(
            f'The tenant may not use the profile of the {what}: the operator allows it with "{tenant_slug}:NAME" in'
            " WAYBILL_SYNC_PROFILES."
        )
    if place.endpoint and place.endpoint.rstrip("/") not in allowed.endpoints:
        raise Forbidden(f"The endpoint of the {what} is not one that the operator allows, in WAYBILL_SYNC_ENDPOINTS.")


def directory_of(name: str) -> Directory:
    """That of a source which names no destination."""
    return Directory(name)
