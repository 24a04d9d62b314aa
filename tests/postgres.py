"""A PostgreSQL server for tests: that of the machine, or the one that `pgserver` brings."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_INSTALLED = Path("/usr/lib/postgresql")


@contextmanager
def postgres_server() -> Iterator[str | None]:
    """The URL of a server on a free port of this machine, without a database; None where there are no programs."""
    folder = Path(tempfile.mkdtemp(prefix="spojit-pg-"))
    try:
        programs = _programs(folder)
        if programs is None:
            yield None
            return
        user = _unprivileged(folder)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        data = folder / "data"
        quiet: dict[str, Any] = {"check": True, "capture_output": True, "cwd": folder, **user}
        made = ["-D", data, "-A", "trust", "-U", "sync", "-E", "UTF8", "--no-locale", "--no-sync"]
        subprocess.run([programs / "initdb", *made], **quiet)
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
        control = [programs / "pg_ctl", "-D", data]
        subprocess.run([*control, "-w", "-o", options, "-l", folder / "log", "start"], **quiet)
        try:
            yield f"postgresql://sync:geheim@127.0.0.1:{port}"
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], **quiet)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _programs(folder: Path) -> Path | None:
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    for there in sorted(_INSTALLED.glob("*/bin/initdb"), reverse=True):
        return there.parent
    spec = importlib.util.find_spec("pgserver")  # not imported: importing it does more than this needs
    if spec is None or spec.origin is None:
        return None
    brought = Path(spec.origin).parent / "pginstall"
    if not (brought / "bin" / "initdb").exists():
        return None
    # A copy, laid out as it was: another user may not be able to look into this environment.
    shutil.copytree(brought, folder / "site" / "pgserver" / "pginstall", symlinks=True)
    libraries = brought.parent.parent / "pgserver.libs"
    if libraries.is_dir():
        shutil.copytree(libraries, folder / "site" / "pgserver.libs")
    return folder / "site" / "pgserver" / "pginstall" / "bin"


def _unprivileged(folder: Path) -> dict[str, Any]:
    """As whom to run it: the server refuses to run as root."""
    if os.getuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        os.chown(folder, entry.pw_uid, entry.pw_gid)
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    return {}
