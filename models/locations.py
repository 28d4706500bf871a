"""Where files come from and go to, as sources keep it. ``access.locations`` says which a tenant may use."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

_IDS = re.compile(r"\{oeid\}|\{ref_id\}")


@dataclass(frozen=True, slots=True)
class Location:
    """A part of a bucket. At most one of ``profile`` and ``role`` is given; without both requests are not signed.

    ``prefix`` may hold ``{oeid}`` and ``{ref_id}``: with a file's name after it, it is the file's key.
    """

    bucket: str
    prefix: str = ""
    endpoint: str = ""  # AWS without one
    region: str = ""  # the profile's, or else the service's
    profile: str = ""  # of the service's AWS configuration
    role: str = ""  # ARN, which is assumed with the tenant's slug as external id

    @property
    def tells_batches_apart(self) -> bool:
        """Whether no file of a batch has a key that one of another batch could have: no id or name has a "/" in it."""
        return any("{oeid}" in part and "{ref_id}" not in part for part in self.prefix.split("/")[:-1])

    def key(self, oeid: str, ref_id: str, file_name: str) -> str:
        # Not str.format, which would read attributes of what is put in; nor one after the other, in what is put in.
        return _IDS.sub(lambda found: oeid if found[0] == "{oeid}" else ref_id, self.prefix) + file_name


@dataclass(frozen=True, slots=True)
class Directory:
    """Below the configured root, in the tenant's own directory."""

    directory: str


Destination: TypeAlias = Directory | Location


def stored(place: Destination) -> dict[str, Any]:
    return {name: value for name, value in asdict(place).items() if value}


def location(kept: Mapping[str, Any]) -> Location:
    return Location(**kept)


def destination(kept: Mapping[str, Any]) -> Destination:
    return Directory(**kept) if "directory" in kept else Location(**kept)
