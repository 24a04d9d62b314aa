"""Where artifacts lie: a folder of this machine, or any place that fsspec reaches."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Generator
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from spojit_stripe.data.folders import explained, make_private, sync_folder
from spojit_stripe.errors import ConfigurationError
from spojit_stripe.values import JsonObject

__all__ = ["Files", "LocalFiles", "LostError", "RemoteFiles", "lost"]


class LostError(ConfigurationError):
    """An artifact can't be had as it was recorded; whoever needs it waits until it can.

    What was done with it stays done: to make it anew could give something else.
    """

    lost = True

    def to_json(self) -> JsonObject:
        # As what it is to whoever reads the record back: `errors` knows no floor above it.
        return {**super().to_json(), "error": ConfigurationError.__name__}


def lost(key: str, what: str) -> LostError:
    return LostError(
        f"artifact {key} {what}; put the file back from a copy of the state folder and resume "
        "(a new run would do everything anew)"
    )


class Files(Protocol):
    """The few things a store needs. All raise `ConfigurationError`, those that read `LostError`."""

    def put(self, draft: Path, key: str) -> None:
        """Make a synced draft the file `key`, whole or not at all."""
        ...

    def size(self, key: str) -> int | None:
        """The file's size, or None where there is none."""
        ...

    def read(self, key: str) -> BinaryIO: ...

    def path(self, key: str, scratch: Path) -> Path:
        """The file on this machine; one from elsewhere is fetched to `scratch`."""
        ...

    def remove(self, stem: str) -> int:
        """Remove the artifacts of `stem` and all below it, and tell how many bytes that freed."""
        ...


class LocalFiles:
    """A folder, for this user alone."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, draft: Path, key: str) -> None:
        target = self._root / key
        with explained("keep a result", self._root):
            make_private(target.parent)
            draft.replace(target)
        sync_folder(target.parent)

    def size(self, key: str) -> int | None:
        target = self._inside(key)
        with explained("read a result", self._root, LostError):
            return target.stat().st_size if target.is_file() else None

    def read(self, key: str) -> BinaryIO:
        target = self._inside(key)
        with explained("read a result", self._root, LostError):
            try:
                return target.open("rb")
            except FileNotFoundError:
                raise lost(key, "is missing") from None

    def path(self, key: str, scratch: Path) -> Path:
        return self._inside(key)

    def remove(self, stem: str) -> int:
        freed = 0
        with explained("remove results", self._root):
            folder = self._root / stem
            found = [*folder.parent.glob(f"{folder.name}-{'[0-9a-f]' * 12}.ndjson")]
            found += folder.rglob("*.ndjson")
            for one in found:
                freed += one.stat().st_size
                one.unlink()
            shutil.rmtree(folder, ignore_errors=True)
            with contextlib.suppress(OSError):
                folder.parent.rmdir()  # only where it is empty
        return freed

    def _inside(self, key: str) -> Path:
        target = self._root / key
        if not target.resolve().is_relative_to(self._root.resolve()):  # through a link
            raise LostError(f"artifact {key} lies outside of its store; the record was changed by hand")
        return target


class _FileSystem(Protocol):
    """The part of fsspec's interface that is used here."""

    def put_file(self, lpath: str, rpath: str) -> None: ...
    def get_file(self, rpath: str, lpath: str) -> None: ...
    def makedirs(self, path: str, exist_ok: bool = False) -> None: ...
    def isfile(self, path: str) -> bool: ...
    def size(self, path: str) -> int | None: ...
    def open(self, path: str, mode: str) -> BinaryIO: ...
    def find(self, path: str) -> list[str]: ...
    def rm_file(self, path: str) -> None: ...


class RemoteFiles:
    """What lies behind an fsspec URL. An object store shows an object only once it is whole."""

    def __init__(self, name: str, url: str) -> None:
        self._name = name
        with self._explained("reach"):
            import fsspec.core  # pyright: ignore[reportMissingTypeStubs]

            found = cast("tuple[_FileSystem, str]", fsspec.core.url_to_fs(url))  # pyright: ignore[reportUnknownMemberType]
        self._files, root = found
        self._root = root.rstrip("/")

    def put(self, draft: Path, key: str) -> None:
        target = self._at(key)
        with self._explained("keep a result in"):
            self._files.makedirs(target.rpartition("/")[0], exist_ok=True)
            self._files.put_file(str(draft), target)

    def size(self, key: str) -> int | None:
        with self._explained("read", LostError):
            return self._files.size(self._at(key)) if self._files.isfile(self._at(key)) else None

    def read(self, key: str) -> BinaryIO:
        with self._explained("read", LostError):
            try:
                return self._files.open(self._at(key), "rb")
            except FileNotFoundError:
                raise lost(key, "is missing") from None

    def path(self, key: str, scratch: Path) -> Path:
        target = scratch / key.replace("/", "=")
        with self._explained("read", LostError):
            try:
                self._files.get_file(self._at(key), str(target))
            except FileNotFoundError:
                raise lost(key, "is missing") from None
        return target

    def remove(self, stem: str) -> int:
        folder = self._at(stem)
        freed = 0
        with self._explained("remove results from"):
            for one in self._files.find(folder.rpartition("/")[0]):
                mine = one.startswith(f"{folder}/") or (
                    one.startswith(f"{folder}-") and len(one) == len(folder) + len("-.ndjson") + 12
                )
                if mine and one.endswith(".ndjson"):
                    freed += self._files.size(one) or 0
                    self._files.rm_file(one)
        return freed

    def _at(self, key: str) -> str:
        return f"{self._root}/{key}"

    @contextlib.contextmanager
    def _explained(self, what: str, kind: type[ConfigurationError] = ConfigurationError) -> Generator[None]:
        try:
            yield
        except ConfigurationError:
            raise
        except Exception as error:  # every service behind fsspec has errors of its own
            # Their texts may hold the URL, and the URL may hold a password: only the kind is told.
            why = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else type(error).__name__
            raise kind(
                f"can't {what} artifact store {self._name!r}: {why}; check its URL, its access and its fsspec package"
            ) from None
