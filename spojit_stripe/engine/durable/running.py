"""The engine itself: the steps of a workflow, and the process that carries workflows out."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, cast

from dbos import DBOS, SetWorkflowID
from dbos._error import DBOSWorkflowCancelledError  # the only name it goes by
from dbos._serialization import deserialize_value
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from spojit_stripe.engine.durable.outside import SERIALIZER, End, end_of, explained, prepare, send, shown
from spojit_stripe.errors import ConfigurationError, RefusedError
from spojit_stripe.steps import Child, Results, Task, Work, gather_bounded
from spojit_stripe.values import JsonObject, JsonValue

__all__ = ["Durable", "DurableSteps"]

STEP_SEQUENCE: Final = "spojit-1"
"""Which sequence of steps the runner takes; raised when a running run could not go on with the new one."""

_FOR_EVER: Final = 10.0 * 365 * 86_400
_POLL_SECONDS: Final = 0.1
_LOOK_SECONDS: Final = 1.0
_RECORDING_SECONDS: Final = 10.0
_AT_ONCE: Final = 500  # children, whose arguments are in memory together


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
                "serializer": SERIALIZER,
                "notification_listener_polling_interval_sec": _POLL_SECONDS,
                "console_log_level": "CRITICAL",
                "log_level": "CRITICAL",
            }
        )
        # What is resumed comes through this queue, which looks once a second and has no setting for it.
        self._system._registry.get_internal_queue()._polling_interval_sec = _POLL_SECONDS  # pyright: ignore[reportPrivateUsage]
        _engine = self
        try:
            with explained(self.url):
                await asyncio.to_thread(prepare, self.url)
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
        with explained(self.url), SetWorkflowID(run_id):
            await DBOS.start_workflow_async(_task, run_id, task, argument)

    async def ended(self, run_id: str) -> End | None:
        """How a run ended, None while it has not."""
        (status,) = await DBOS.list_workflows_async(workflow_ids=[run_id], load_input=False)
        return end_of(status)

    async def settled(self) -> None:
        """Return when nothing more happens by itself: every part of every run has ended, or waits for a message.

        That is read from the database, for a part that was sent for hears of it a little later.
        Raises `ConfigurationError` where what happens can't be recorded any more.
        """
        while True:
            if self._is_quiet():
                with explained(self.url):
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
                f"the run's database {shown(self.url)} can't be written: how a part of the run ended could not be "
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
            if not any(stop_on(deserialize_value(row[0], row[1], SERIALIZER)) for row in found):
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
