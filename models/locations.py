"""Where files come from and go to, as sources keep it. ``access.locations`` says which a tenant may use."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

_PLACEHOLDER = re.compile(r"\{(oeid|ref_id)\}")


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
        return _PLACEHOLDER.sub(lambda found: oeid if found[1] == "oeid" else ref_id, self.prefix) + file_name

    @property
    def common(self) -> str:
        """What all keys begin with."""
        return _PLACEHOLDER.split(self.prefix, 1)[0]

    def names(self) -> "Names | None":
        """None where keys do not tell whose they are: an id is missing, or it could end at several places."""
        *directories, last = [_PLACEHOLDER.split(one) for one in self.prefix.split("/")]
        ids = {name for _, *rest in directories for name in rest[:1]}
        if len(last) > 1 or any(len(one) > 3 for one in directories) or ids != {"oeid", "ref_id"}:
            return None
        return Names(directories, last[0])


@dataclass(frozen=True, slots=True)
class Names:
    """Reads keys back: parts of the prefix are texts, or what is before a placeholder, its name, and what is after."""

    directories: Sequence[Sequence[str]]
    last: str

    def of(self, key: str) -> tuple[str, str, str] | None:
        """oeid, ref_id and file_name; None where it is no file's key."""
        *parts, file_name = key.split("/")
        if len(parts) != len(self.directories) or not file_name.startswith(self.last) or file_name == self.last:
            return None
        found: dict[str, str] = {}
        for part, (before, *rest) in zip(parts, self.directories, strict=True):
            name, after = rest or ("", "")
            middle = part[len(before) : len(part) - len(after)]
            if part != before + middle + after or bool(name) != bool(middle):
                return None
            if name and found.setdefault(name, middle) != middle:
                return None
        return found["oeid"], found["ref_id"], file_name.removeprefix(self.last)


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
