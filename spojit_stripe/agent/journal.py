"""Steps that are kept in a file: an agent of the command line goes on where it stopped, without an engine.

One line of JSON a record, synced before the next step begins. The file belongs to one run id and
one question; what is half written at its end is forgotten, and its step done again.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, cast

from spojit_stripe.data import segment
from spojit_stripe.errors import ConfigurationError, InputError
from spojit_stripe.steps import Child, Work
from spojit_stripe.values import JsonObject, JsonValue

__all__ = ["JournalSteps"]

_FOLDER: Final = "agents"

Pause = Callable[[str, float | None], Awaitable[JsonValue]]  # topic, seconds


class JournalSteps:
    """Implements `steps.Steps` over a file in the state folder. Use it as a context manager.

    `question` tells a run from another under the same id. `pause` waits for a message of a topic,
    or raises to end the process there; nothing is recorded then.
    """

    def __init__(
        self,
        state: Path,
        run_id: str,
        question: JsonObject,
        *,
        pause: Pause,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._path = state / _FOLDER / f"{segment(run_id)}.ndjson"
        self._run_id = run_id
        self._digest = hashlib.sha256(json.dumps(question, sort_keys=True).encode()).hexdigest()
        self._pause = pause
        self._clock = clock
        self._records: list[JsonObject] = []
        self._place = 0
        self._file: int | None = None

    def __enter__(self) -> JournalSteps:
        """Raises `InputError` where the run id belongs to another question, `ConfigurationError` for a bad file."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            self._lock()
            self._load()
        except OSError as error:
            self.close()
            raise ConfigurationError(
                f"can't keep the run in {self._path}: {error.strerror}; choose another folder with --state"
            ) from None
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _lock(self) -> None:
        try:
            import fcntl  # not on every system; the ledger protects writes there too
        except ImportError:
            return
        try:
            fcntl.flock(cast("int", self._file), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"run {self._run_id} is under way in another process; wait for it") from None

    def _load(self) -> None:
        text = self._path.read_bytes()
        whole = text[: text.rfind(b"\n") + 1]
        try:
            lines = [cast("JsonObject", json.loads(line)) for line in whole.splitlines()]
        except ValueError:
            raise ConfigurationError(f"{self._path} is damaged; move it away, and give another --run-id") from None
        if lines and lines[0].get("digest") != self._digest:
            raise InputError(
                f"--run-id {self._run_id}: that run had another question, connection or tools; give another id"
            )
        self._records = lines[1:]
        self._cut(len(whole))
        if not lines:
            self._append({"run_id": self._run_id, "digest": self._digest})

    def rewind(self, place: int) -> None:
        """Forget the records from `place` on, so that a failed step is done again under the same run id."""
        if place < len(self._records):
            whole = self._path.read_bytes().splitlines(keepends=True)
            self._cut(sum(map(len, whole[: place + 1])))
            del self._records[place:]

    def _cut(self, size: int) -> None:
        os.ftruncate(cast("int", self._file), size)
        os.lseek(cast("int", self._file), 0, os.SEEK_END)

    def _append(self, record: JsonObject) -> None:
        try:
            os.write(cast("int", self._file), json.dumps(record).encode() + b"\n")
            os.fsync(cast("int", self._file))
        except OSError as error:
            raise ConfigurationError(f"can't keep the run in {self._path}: {error.strerror}") from None

    @property
    def replayed(self) -> int:
        """How many steps an earlier process has done."""
        return len(self._records)

    # The port

    @property
    def run_id(self) -> str:
        return self._run_id

    @property
    def place(self) -> int:
        return self._place

    async def step(self, name: str, work: Work) -> JsonValue:
        if self._place < len(self._records):
            record = self._records[self._place]
            if record.get("name") != name:
                raise ConfigurationError(
                    f"run {self._run_id} did {record.get('name')!r} where this version does {name!r}; "
                    "give another --run-id (the ledger knows what was sent)"
                )
        else:
            record: JsonObject = {"name": name, "value": await work()}
            self._append(record)
            self._records.append(record)
        self._place += 1
        return json.loads(json.dumps(record["value"]))

    async def now(self) -> int:
        async def work() -> JsonValue:
            return int(self._clock())

        return cast("int", await self.step("now", work))

    async def wait(self, topic: str, *, timeout: float | None) -> JsonValue:
        async def work() -> JsonValue:
            return await self._pause(topic, timeout)

        return await self.step(f"wait {topic}", work)

    async def send(self, run_id: str, topic: str, value: JsonValue) -> None:
        raise RuntimeError("an agent sends nothing")

    async def sleep(self, seconds: float) -> None:
        raise RuntimeError("an agent does not sleep")

    async def gather(
        self, children: Sequence[Child], *, limit: int, stop_on: Callable[[JsonValue], bool]
    ) -> list[JsonValue]:
        raise RuntimeError("an agent has no children")
