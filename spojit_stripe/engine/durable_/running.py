"""The durability port over DBOS: the only importer of the durable engine.

Every step draws its number before its work begins, so that the numbers never depend on which of
two things ends first. Children are workflows of their own, their ids made of their parent's id
and their name. One process, one event loop, one database of the system.

What was seen of DBOS 3.4 and is designed around here: its default serializer is pickle; the
result of a child draws a number when it arrives; workflows that are recovered go through a
queue which any process of the same database reads (so an embedded run has a database alone);
only a workflow that has ended can be wound back, from a step on.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, cast
from urllib.parse import quote

from dbos import DBOS, DBOSClient, SetWorkflowID, WorkflowStatus
from dbos._error import DBOSWorkflowCancelledError  # the only name it goes by
from dbos._serialization import DBOSPortableJSONSerializer, deserialize_value
from sqlalchemy import create_engine, make_url, select, text
from sqlalchemy.exc import DatabaseError, DBAPIError, OperationalError

from spojit_stripe.errors import ConfigurationError, RefusedError
from spojit_stripe.redact import redact_text
from spojit_stripe.steps import Child, Results, Task, Work, gather_bounded
from spojit_stripe.values import JsonObject, JsonValue

__all__ = [
    "Durable",
    "DurableSteps",
    "End",
    "cancel",
    "check",
    "ended",
    "knows",
    "rewind",
    "send",
    "sqlite_url",
    "steps_of",
]

STEP_SEQUENCE: Final = "spojit-1"
"""Which sequence of steps the runner takes; raised when a running run could not go on with the new one."""

_SERIALIZER: Final = DBOSPortableJSONSerializer()
_FOR_EVER: Final = 10.0 * 365 * 86_400
_POLL_SECONDS: Final = 0.1
_LOOK_SECONDS: Final = 1.0
_RECORDING_SECONDS: Final = 10.0
_AT_ONCE: Final = 500  # children, whose arguments are in memory together


def sqlite_url(file: Path) -> str:
    """The URL of a SQLite file, as DBOS takes it: a `%` or `?` in a folder's name is no part of a URL's grammar."""
    return f"sqlite:///{quote(str(file))}"


@dataclass(frozen=True, slots=True)
class End:
    """How a run ended. `broken`: a fault of this program, `value` says which."""

    state: Literal["done", "cancelled", "broken"]
    value: JsonValue = None


@dataclass(frozen=True, slots=True)
class _Rest:
    """Where a part of a run rests: at the gate, or after step `place` for a message of `topic` or a time."""

    place: int | None = None
    topic: str | None = None


class DurableSteps:
    """The steps of one DBOS workflow: a run, or a child of one."""

    __slots__ = ("_engine", "_place", "_run_id")

    def __init__(self, run_id: str, engine: Durable) -> None:
        self._run_id = run_id
        self._engine = engine
        self._place = 0

    @property
    def run_id(self) -> str:
        return self._run_id

    @property
    def place(self) -> int:
        return self._place

    async def step(self, name: str, work: Work) -> JsonValue:
        await self._engine.pass_gate()
        slot = DBOS.reserve_step()
        self._place = slot.step_id

        async def done() -> JsonValue:  # the engine tells by the function, not by what it gives, whether to await
            return await work()

        return await slot.run_async({"name": name}, done)

    async def gather(self, children: Sequence[Child], *, limit: int, stop_on: Callable[[JsonValue], bool]) -> Results:
        # The numbers of all results come before those of the starts: which child ends first changes none.
        slots = {child.name: DBOS.reserve_step() for child in children}
        parent = cast("str", DBOS.workflow_id)
        numbers = {name: slot.step_id for name, slot in slots.items()}
        begun = await asyncio.to_thread(self._engine.begun, parent, numbers, stop_on)
        await asyncio.to_thread(self._engine.refuse_others, parent, children)
        started = 0

        async def run(child: Child) -> JsonValue:
            nonlocal started
            started += 1
            address = f"{parent}/{child.name}"
            with self._engine.awaiting(parent, address):
                with SetWorkflowID(address):
                    handle = await DBOS.start_workflow_async(_task, self._run_id, child.task, child.argument)

                async def result() -> JsonValue:
                    return await handle.get_result(polling_interval_sec=_POLL_SECONDS)

                return await slots[child.name].run_async({"name": f"{child.name} result"}, result)

        if begun is None:
            results = await gather_bounded(children, run, limit=limit, stop_on=stop_on)
        else:  # just what was begun then, whichever result comes first now
            results = await gather_bounded(children[:begun], run, limit=limit, stop_on=lambda _: False)
            results += [None] * (len(children) - begun)
        for _ in children[started:]:  # how many were started depends on what ended first; what follows must not
            DBOS.reserve_step()
        self._mark()
        return results

    async def wait(self, topic: str, *, timeout: float | None) -> JsonValue:
        await self._engine.pass_gate()
        address = cast("str", DBOS.workflow_id)
        with self._engine.resting(address, _Rest(self._place, topic)):
            self._engine.tell_waiting(topic, address)
            message = await DBOS.recv_async(topic, timeout_seconds=_FOR_EVER if timeout is None else timeout)
        self._engine.tell_woken(topic, address)
        self._mark()
        return cast("JsonValue", message)

    async def send(self, run_id: str, topic: str, value: JsonValue) -> None:
        await self._engine.pass_gate()
        await DBOS.send_async(run_id, value, topic)
        self._mark()

    async def sleep(self, seconds: float) -> None:
        await self._engine.pass_gate()
        with self._engine.resting(cast("str", DBOS.workflow_id), _Rest(self._place)):
            await DBOS.sleep_async(seconds)
        self._mark()

    async def now(self) -> int:
        async def clock() -> JsonValue:
            return int(self._engine.clock())

        return cast("int", await self.step("now", clock))

    def _mark(self) -> None:
        # A number that nothing uses: it says how far the sequence has come.
        self._place = DBOS.reserve_step().step_id


class Durable:
    """DBOS over one system database, within a running event loop. There is one in a process.

    `tasks` are the functions that runs are made of. `on_wait` and `on_wake` hear of parts of a
    run that wait for a message: its topic, and the address it has to be sent to. Where the
    message is due already, `on_wait` gives the key to send it under.
    """

    def __init__(
        self,
        url: str,
        *,
        executor: str,
        tasks: Mapping[str, Task],
        on_wait: Callable[[str, str], str | None] | None = None,
        on_wake: Callable[[str, str], None] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.url = url
        self.clock = clock
        self._executor = executor
        self.tasks = tasks
        self._on_wait = on_wait
        self._on_wake = on_wake
        self._inside: set[str] = set()  # what runs in this process, by address
        self._resting: dict[str, _Rest] = {}  # of these, what waits for a message, for a time or at the gate
        self._sending: set[asyncio.Future[None]] = set()  # messages that were due before anybody waited
        self._awaited: dict[str, set[str]] = {}  # of these, what waits for children: theirs
        self._left: dict[str, float] = {}  # what ran in this process, and when it ended
        self._fault: DBAPIError | None = None
        self._moved = asyncio.Event()
        self._open = asyncio.Event()
        self._open.set()

    async def __aenter__(self) -> Durable:
        """Take up what this executor left unfinished. Raises `ConfigurationError` for a database that is no good."""
        global _engine
        if _engine is not None:
            raise ConfigurationError("this process runs a durable engine already; it can run only one")
        log = logging.getLogger("dbos")
        log.setLevel(logging.CRITICAL)
        log.handlers = [logging.NullHandler()]  # its own keeps a standard error that may be closed by now
        self._system = DBOS(
            config={
                "name": "spojit-stripe",
                "system_database_url": self.url,
                "application_version": STEP_SEQUENCE,
                "executor_id": self._executor,
                "serializer": _SERIALIZER,
                "notification_listener_polling_interval_sec": _POLL_SECONDS,
                "console_log_level": "CRITICAL",
                "log_level": "CRITICAL",
            }
        )
        # What is resumed comes through this queue, which looks once a second and has no setting for it.
        self._system._registry.get_internal_queue()._polling_interval_sec = _POLL_SECONDS  # pyright: ignore[reportPrivateUsage]
        _engine = self
        try:
            with _explained(self.url):
                await asyncio.to_thread(_prepare, self.url)
                DBOS.launch()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        global _engine
        self._open.clear()
        _engine = None
        await asyncio.to_thread(DBOS.destroy)

    # Runs

    async def start(self, run_id: str, task: str, argument: JsonObject) -> None:
        """Begin a run, unless there is one of that id: then nothing happens."""
        with _explained(self.url), SetWorkflowID(run_id):
            await DBOS.start_workflow_async(_task, run_id, task, argument)

    async def ended(self, run_id: str) -> End | None:
        """How a run ended, None while it has not."""
        (status,) = await DBOS.list_workflows_async(workflow_ids=[run_id], load_input=False)
        return _end_of(status)

    async def settled(self) -> None:
        """Return when nothing more happens by itself: every part of every run has ended, or waits for a message.

        That is read from the database, for a part that was sent for hears of it a little later.
        Raises `ConfigurationError` where what happens can't be recorded any more.
        """
        while True:
            if self._is_quiet():
                with _explained(self.url):
                    unfinished = await self._unfinished()
                    rests = dict(self._resting)
                    waits = all(self._rests(address) for address in unfinished) and await asyncio.to_thread(
                        self._all_wait, rests
                    )
                if waits and rests == self._resting and self._is_quiet():
                    self._moved.clear()
                    return
            await asyncio.sleep(_POLL_SECONDS / 2)

    def _all_wait(self, rests: Mapping[str, _Rest]) -> bool:
        """Whether what rests is due for nothing: its time is not up, and nobody has sent for it."""
        database = self._system._sys_db  # pyright: ignore[reportPrivateUsage]
        messages, steps = database.tables.notifications.c, database.tables.operation_outputs.c
        with database.engine.connect() as connection:
            for address, rest in rests.items():
                if rest.place is None:
                    continue
                unread = select(messages.topic).where(
                    messages.destination_uuid == address, messages.topic == rest.topic, messages.consumed.is_(False)
                )
                if rest.topic is not None and connection.execute(unread.limit(1)).first() is not None:
                    return False
                taken = select(steps.function_name, steps.output).where(
                    steps.workflow_uuid == address, steps.function_id > rest.place
                )
                # One row, and that the time up to which it waits: else it has yet to begin, or has ended.
                rows = connection.execute(taken).fetchall()
                if [row[0] for row in rows] != ["DBOS.sleep"] or float(rows[0][1]) <= time.time():
                    return False
        return True

    async def _unfinished(self) -> list[str]:
        """The parts of runs that have not ended. Raises where the record of one could not be written."""
        if self._fault is not None:
            raise self._fault
        found = await DBOS.list_workflows_async(status=["PENDING", "ENQUEUED"], load_input=False, load_output=False)
        unfinished = [one.workflow_id for one in found]
        now = time.monotonic()
        if any(now - self._left.get(address, now) > _RECORDING_SECONDS for address in unfinished):
            raise ConfigurationError(
                f"the run's database {_shown(self.url)} can't be written: how a part of the run ended could not be "
                "recorded; free space or mend the folder, then resume"
            )
        return unfinished

    def _is_quiet(self) -> bool:
        return not self._sending and all(self._rests(address) for address in self._inside)

    def _rests(self, address: str) -> bool:
        """Whether nothing happens there by itself: it rests, or waits for children that all do.

        A child counts from before it is started until its result is recorded, so that no gap looks like rest.
        """
        children = self._awaited.get(address)
        return all(self._rests(one) for one in children) if children else address in self._resting

    def stop(self) -> None:
        """Let no further step begin; what is under way ends."""
        self._open.clear()

    def go_on(self) -> None:
        """Take `stop` back."""
        self._open.set()

    async def awake(self) -> None:
        """Return when something goes on that waited when all was `settled`."""
        await self._moved.wait()

    async def over(self, run_id: str) -> None:
        """Return when a run has ended: one that waits hears late of being cancelled from elsewhere."""
        while await self.ended(run_id) is None:
            await asyncio.sleep(_LOOK_SECONDS)

    async def quiet(self) -> None:
        """After `stop`, return when what was under way has ended."""
        while not self._is_quiet():
            await asyncio.sleep(_POLL_SECONDS / 2)

    # For the steps

    async def pass_gate(self) -> None:
        if not self._open.is_set():
            with self.resting(cast("str", DBOS.workflow_id)):
                await self._open.wait()

    @contextmanager
    def resting(self, address: str, rest: _Rest = _Rest()) -> Generator[None]:
        """While a part of a run waits for what is not in its hands."""
        self._resting[address] = rest
        try:
            yield
        finally:
            self._resting.pop(address, None)
            self._moved.set()

    @contextmanager
    def awaiting(self, parent: str, child: str) -> Generator[None]:
        """While a part of a run waits for a child of its own."""
        awaited = self._awaited.setdefault(parent, set())
        awaited.add(child)
        try:
            yield
        finally:
            awaited.discard(child)

    def begun(self, parent: str, numbers: Mapping[str, int], stop_on: Callable[[JsonValue], bool]) -> int | None:
        """Of children that are gathered again, how many had begun when one stopped the others; None: none has.

        All recorded results come at once then, so that a child might begin before the one that had
        stopped it was heard of. `numbers` are the steps of their results, by name and in order.
        """
        database = self._system._sys_db  # pyright: ignore[reportPrivateUsage]
        steps, runs = database.tables.operation_outputs.c, database.tables.workflow_status.c
        if not numbers:
            return None
        recorded = select(steps.output, steps.serialization).where(
            steps.workflow_uuid == parent,
            steps.function_id.between(min(numbers.values()), max(numbers.values())),
            steps.output.is_not(None),
        )
        with database.engine.connect() as connection:
            found = connection.execute(recorded).fetchall()
            if not any(stop_on(deserialize_value(row[0], row[1], _SERIALIZER)) for row in found):
                return None
            children = select(runs.workflow_uuid).where(runs.workflow_uuid.startswith(f"{parent}/", autoescape=True))
            there = {row[0].removeprefix(f"{parent}/") for row in connection.execute(children)}
        return max((place for place, name in enumerate(numbers, start=1) if name in there), default=0)

    def refuse_others(self, parent: str, children: Sequence[Child]) -> None:
        """Raise `RefusedError` where one of the children was begun before, for another item than it has now.

        What that one gave would count for this one. The rest of an argument may rightly be another: a deadline, say.
        """
        database = self._system._sys_db  # pyright: ignore[reportPrivateUsage]
        wanted = {f"{parent}/{child.name}": child for child in children if "item" in child.argument}
        addresses = [*wanted]
        for start in range(0, len(addresses), _AT_ONCE):
            some = addresses[start : start + _AT_ONCE]
            for one in database.list_workflows(workflow_ids=some, load_output=False):
                given = cast("JsonObject", cast("Any", one.input)["args"][-1])
                child = wanted[one.workflow_id]
                if given["item"] != json.loads(json.dumps(child.argument["item"])):
                    raise RefusedError(
                        f"{child.name} was begun for another item than the list has there now, so nothing more was "
                        f"done; `spojit-stripe runs show {parent.partition('/')[0]}` tells what was"
                    )

    def tell_waiting(self, topic: str, address: str) -> None:
        key = self._on_wait(topic, address) if self._on_wait is not None else None
        if key is not None:
            # In a thread without the engine's context: this is the voice of somebody outside.
            sending = asyncio.get_running_loop().run_in_executor(None, partial(send, self.url, address, topic, key=key))
            self._sending.add(sending)
            sending.add_done_callback(self._sending.discard)

    def tell_woken(self, topic: str, address: str) -> None:
        if self._on_wake is not None:
            self._on_wake(topic, address)

    async def run_task(self, run_id: str, task: str, argument: JsonObject) -> JsonValue:
        address = cast("str", DBOS.workflow_id)
        self._inside.add(address)
        self._left.pop(address, None)
        try:
            return await self.tasks[task](DurableSteps(run_id, self), argument)
        except DBAPIError as error:  # nothing more can be recorded
            self._fault = self._fault or error
            raise
        finally:
            self._inside.discard(address)
            self._left[address] = time.monotonic()


_engine: Durable | None = None


@DBOS.workflow(name="spojit.task", max_recovery_attempts=None)
async def _task(run_id: str, task: str, argument: JsonObject) -> JsonValue:
    engine = _engine
    if engine is None:
        raise DBOSWorkflowCancelledError("the engine is shutting down")
    return await engine.run_task(run_id, task, argument)


# From outside: a process that only looks or answers never launches the engine


def check(url: str) -> None:
    """Raise `ConfigurationError` for a database that is not there, or not whole; it is left as it is."""
    if url.startswith("sqlite:") and not Path(_shown(url)).exists():
        raise ConfigurationError(
            f"the run's database {_shown(url)} is not there; restore the state folder from a copy. "
            "What was sent stands in the ledger, which is a file of its own"
        )
    with _explained(url):
        _prepare(url)


def send(url: str, address: str, topic: str, *, key: str) -> None:
    """Wake what waits at `address` for `topic`; the same `key` wakes once. Raises `ConfigurationError`."""
    with _client(url) as client:
        client.send(address, {"woken": topic}, topic=topic, idempotency_key=key)


def cancel(url: str, run_id: str) -> bool:
    """Cancel a run and its children: no further step of theirs begins. Raises `ConfigurationError`.

    False where the engine has not been given it yet; there may be no database then.
    """
    if not knows(url, run_id):
        return False
    with _client(url) as client:
        # Again until none is left: a part may have begun between the look and the cancelling.
        while ids := [one.workflow_id for one in _family(client, run_id) if one.status in ("PENDING", "ENQUEUED")]:
            client.cancel_workflows(ids)
    return True


def knows(url: str, run_id: str) -> bool:
    """Whether the engine has been given a run. Raises `ConfigurationError` for a database that is not whole."""
    if url.startswith("sqlite:") and not Path(_shown(url)).exists():
        return False
    with _client(url) as client:
        try:
            return bool(_family(client, run_id))
        except OperationalError as error:
            if "no such" not in str(error.orig):
                raise
            return False  # its tables are still being made


def ended(url: str, run_id: str) -> End | None:
    """How a run ended, None while it has not, or was not begun. Raises `ConfigurationError`."""
    if not knows(url, run_id):
        return None
    with _client(url) as client:
        (status,) = client.list_workflows(workflow_ids=[run_id], load_input=False)
        return _end_of(status)


def _end_of(status: WorkflowStatus) -> End | None:
    if status.status == "SUCCESS":
        return End("done", cast("JsonValue", status.output))
    if status.status == "CANCELLED":
        return End("cancelled")
    if status.status in ("PENDING", "ENQUEUED"):
        return None
    return End("broken", redact_text(" ".join(str(status.error).split())))


def rewind(url: str, run_id: str, points: Sequence[tuple[str, int]]) -> None:
    """Wind ended workflows back, each to just before the step of that number, in the order given.

    Children come before their parent, for a parent that goes on asks them at once. What was
    cancelled is taken up where it stood, and what a fault broke where the fault was. Raises
    `ConfigurationError`.
    """
    with _client(url) as client:
        family = _family(client, run_id)
        ended = {one.workflow_id for one in family if one.status in ("SUCCESS", "ERROR")}
        for address, step in points:
            if address in ended:  # else a process that died meanwhile had wound it back already
                client.rewind_workflow(address, start_step=step)
        done = {address for address, _ in points}
        broken = [one.workflow_id for one in family if one.status == "ERROR" and one.workflow_id not in done]
        for address in sorted(broken, key=len, reverse=True):
            client.rewind_workflow(address, start_step=_place_of_fault(client, address))
        cancelled = [one.workflow_id for one in family if one.status == "CANCELLED"]
        if cancelled:
            client.resume_workflows(cancelled)


def _place_of_fault(client: DBOSClient, address: str) -> int:
    """The first step that raised, else the one after the last."""
    steps = client.list_workflow_steps(address)
    raised = [step["function_id"] for step in steps if step["error"] is not None]
    return min(raised, default=1 + max((step["function_id"] for step in steps), default=0))


def steps_of(url: str, run_id: str) -> dict[str, list[tuple[int, str]]]:
    """Number and name of every recorded step, by workflow: of the run itself and of its children."""
    with _client(url) as client:
        return {
            one.workflow_id: [
                (step["function_id"], step["function_name"]) for step in client.list_workflow_steps(one.workflow_id)
            ]
            for one in _family(client, run_id)
        }


def _family(client: DBOSClient, run_id: str) -> list[Any]:
    found = client.list_workflows(workflow_id_prefix=run_id, load_input=False, load_output=False)
    return [one for one in found if one.workflow_id == run_id or one.workflow_id.startswith(f"{run_id}/")]


@contextmanager
def _client(url: str) -> Generator[DBOSClient]:
    check(url)
    with _explained(url):
        client = DBOSClient(system_database_url=url, serializer=DBOSPortableJSONSerializer())
        try:
            yield client
        finally:
            client.destroy()


def _prepare(url: str) -> None:
    """SQLite as it has to be, and a look at whether the file is whole, before anything is written to it."""
    if not url.startswith("sqlite:"):
        return
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            found = connection.execute(text("PRAGMA quick_check(1)")).scalar()
            if found != "ok":
                raise _damaged(url, str(found))
            connection.execute(text("PRAGMA journal_mode = WAL"))
    finally:
        engine.dispose()


@contextmanager
def _explained(url: str) -> Generator[None]:
    """The database's errors in words that say what to do."""
    try:
        yield
    except OperationalError as error:
        what = redact_text(str(error.orig).splitlines()[0])
        if "malformed" in what:
            raise _damaged(url, what) from None
        raise ConfigurationError(
            f"the run's database {_shown(url)} can't be used: {what}; free space or mend the folder, then resume"
        ) from None
    except DatabaseError as error:
        raise _damaged(url, redact_text(str(error.orig).splitlines()[0])) from None


def _damaged(url: str, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"the run's database {_shown(url)} is cut or damaged ({why}); nothing was changed: restore it from a copy. "
        "What was sent stands in the ledger, which is a file of its own"
    )


def _shown(url: str) -> str:
    return make_url(url).database or "" if url.startswith("sqlite:") else make_url(url).render_as_string()
