"""Whom the embedded servers run as: PostgreSQL refuses root, so that root starts them as a system user of their own."""

import contextlib
import os
import pwd
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

SYSTEM_USER = "waybill-postgres"


@dataclass(frozen=True)
class ServerUser:
    """Runs commands and owns directories; without ``ids`` (user, group) it is the one who runs Waybill."""

    ids: tuple[int, int] | None = None

    @classmethod
    def of(cls, pgdata: Path) -> "ServerUser":
        """The owner of the data when root serves another user's, otherwise the system user, made when missing.

        Raises OSError.
        """
        if os.geteuid() != 0:
            return cls()
        if pgdata.exists():
            return cls((pgdata.stat().st_uid, pgdata.stat().st_gid))
        with contextlib.suppress(KeyError):
            return cls._named()
        command = ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
        command += ["--shell", "/usr/sbin/nologin", SYSTEM_USER]
        said = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
        try:
            return cls._named()
        except KeyError:
            raise OSError(f"no system user {SYSTEM_USER} could be made: {said.stderr.strip()}") from None

    @classmethod
    def _named(cls) -> "ServerUser":
        account = pwd.getpwnam(SYSTEM_USER)
        return cls((account.pw_uid, account.pw_gid))

    def blocker(self, target: Path) -> str:
        """The first part of ``target`` that root's server user cannot enter or execute, or nothing."""
        if self.ids is None:
            return ""
        way = [str(path) for path in (*reversed(target.parents), target) if path.exists()]
        script = 'for path do test -x "$path" || { printf %s "$path"; exit; }; done'
        return self.run("/bin/sh", "-c", script, "sh", *way).stdout

    def make_directory(self, path: Path) -> None:
        """With its parents where they are missing; root's server user can enter them, whatever root's umask is."""
        for part in [part for part in (*reversed(path.parents), path) if not part.exists()]:
            part.mkdir(exist_ok=True)
            if self.ids:
                part.chmod(0o755)

    def make_private(self, path: Path) -> None:
        """A new directory for the server alone."""
        path.mkdir(mode=0o700)
        self.own(path)

    def own(self, path: Path) -> None:
        if self.ids:
            os.chown(path, *self.ids)

    def run(
        self,
        *command: str | Path,
        text: str = "",
        output: IO[bytes] | None = None,
        directory: Path = Path("/"),
        environment: Mapping[str, str] | None = None,
        files: Sequence[IO[bytes]] = (),
    ) -> subprocess.CompletedProcess[str]:
        """Out of reach of the terminal's Ctrl-C and of our environment. ``text`` goes to its standard input.

        It inherits the open ``files``, and with them their locks.
        """
        return subprocess.run(
            command,
            input=text,
            stdout=output or subprocess.PIPE,
            stderr=output or subprocess.PIPE,
            text=True,
            check=False,
            cwd=directory,
            env={"PATH": os.defpath, "LC_ALL": "C", **(environment or {})},
            pass_fds=[file.fileno() for file in files],
            start_new_session=True,
            user=self.ids and self.ids[0],
            group=self.ids and self.ids[1],
            extra_groups=[] if self.ids else None,
        )
