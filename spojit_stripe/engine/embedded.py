"""Runs in this process: each with a folder, a lock and a database of its own, nothing to start.

    run ─► its row, its files ─► lock ─► engine: steps … ─► done, failed, or waits for a person
    resume ─► lock ─► wind back what failed ─► engine: recorded steps, then the rest

The lock is the operating system's: it is gone when the process is, however that ended. So a run
whose row says `running`, and whose lock nobody holds, was interrupted, and can be resumed.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import signal
import time
from collections.abc import Coroutine, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final, cast

from spojit_stripe.calling import approval_topic
from spojit_stripe.connection import Connection
from spojit_stripe.data import ArtifactStore, segment, thaw
from spojit_stripe.engine import durable
from spojit_stripe.engine.bundle import Bundle
from spojit_stripe.engine.context import RunContext
from spojit_stripe.engine.frames import Failure
from spojit_stripe.engine.runner import tasks_of
from spojit_stripe.engine.scope import recorded_form, refuse_handles
from spojit_stripe.engine.watch import Listener, Watch
from spojit_stripe.errors import ConfigurationError, InputError, RefusedError
from spojit_stripe.host import Host
from spojit_stripe.node import Sessions
from spojit_stripe.records import Approval, Entry, Run, RunState, State
from spojit_stripe.redact import redact_object, redact_text
from spojit_stripe.values import JsonObject, JsonValue
from spojit_stripe.workflow import check_inputs

__all__ = ["Embedded", "Interrupted"]

_SUBFOLDER: Final = "runs"
_LOCK_TRIES: Final = 5
_LOCK_SECONDS: Final = 0.1


class Interrupted(Exception):  # no error: a person stopped the process, and the run can be resumed
    """The process was asked to stop; what was under way has ended and is recorded."""


class Embedded:
    """The runs of one state folder, carried out by this process.

    `listener` sees what a run does. Raises `ConfigurationError` where another process holds a run
    or its database is no good; then nothing was changed.
    """

    def __init__(self, host: Host, listener: Listener | None = None) -> None:
        self._host = host
        self._listener = listener
        self.store = ArtifactStore(host.state)

    # What people do with runs

    def check_names(self, run_id: str, file: Path) -> None:
        """Raise where a run could not be recorded under these names: `InputError` or `ConfigurationError`."""
        if redact_text(run_id) != run_id:
            raise InputError("the run id holds what looks like a secret, and it is recorded; take another")
        for path in (file.absolute(), self._host.state.absolute()):
            if not str(path).isascii() and str(path) != str(path).encode(errors="replace").decode():
                raise ConfigurationError(f"{str(path)!r} is no UTF-8, and a run is recorded with it: name it otherwise")

    def start(self, bundle: Bundle, inputs: JsonObject, run_id: str, *, wait: bool = False) -> Run:
        """Run a workflow to its end, or until it waits for a person (`wait`: through that too).

        A run of that id is never begun twice: one that has ended is given as it ended, any
        other has to be resumed. Raises `InputError` for faulty inputs, `Interrupted`.
        """
        workflow = bundle.workflows[bundle.root]
        checked = check_inputs(workflow, inputs)
        _check_clean(checked)
        self.check_names(run_id, bundle.file)
        runs = self._host.records.runs
        run = Run(
            id=run_id,
            workflow=workflow.name,
            version=bundle.digest,
            file=str(bundle.file.absolute()),
            engine=durable.sqlite_url(self._folder(run_id).absolute() / "engine.db"),
            inputs=cast("JsonObject", recorded_form(checked, self.store, f"{segment(run_id)}/inputs")),
            state=RunState.RUNNING,
            created=int(self._host.clock()),
            finished=None,
            resumes=0,
            resumed=0,
            retried=(),
            exceptions=0,
            output=None,
            error=None,
        )
        earlier = runs.find(run_id)
        if earlier is not None:
            return self._earlier(earlier, run)
        with self._locked(run_id):
            runs.keep_version(bundle.digest, bundle.to_json())
            if not runs.create(run):
                return self._earlier(runs.get(run_id), run)
            return self._drive(run, bundle, wait=wait)

    def _earlier(self, earlier: Run, asked: Run) -> Run:
        if (earlier.version, earlier.inputs) != (asked.version, asked.inputs):
            what = "another version of the workflow" if earlier.version != asked.version else "other inputs"
            raise InputError(
                f"run {earlier.id} was begun with {what}; another --run-id is another run, which writes anew what "
                f"this one has written: look with `spojit-stripe runs show {earlier.id}`"
            )
        if earlier.state is RunState.DONE:
            return earlier
        state = self.state_of(earlier)
        what_next = "runs show" if state == "running" or self.is_held(earlier.id) else "runs resume"
        raise RefusedError(
            f"run {earlier.id} has begun already and is {state}, so it was not begun again; "
            f"go on with `spojit-stripe {what_next} {earlier.id}`"
        )

    def resume(self, run_id: str, *, wait: bool = False) -> Run:
        """Go on with a run from where it stands: interrupted, waiting, failed or cancelled.

        What failed for certain is tried again under the next generation of its key; a call of
        unknown outcome is settled first, under its own. Raises `Interrupted`.
        """
        runs = self._host.records.runs
        run = runs.get(run_id)
        with self._locked(run_id):
            run = self._caught_up(runs.get(run_id))
            if run.state is RunState.DONE:
                return run
            bundle = self.bundle_of(run)
            begun = self._is_begun(run)
            if begun:
                durable.check(run.engine)
            self._check_places(run_id)
            if run.state.ended:
                self._wind_back(run, begun=begun)
            else:
                runs.set_state(run_id, RunState.RUNNING)
            return self._drive(runs.get(run_id), bundle, wait=wait)

    def _caught_up(self, run: Run) -> Run:
        """A run as it ended for the engine: a full disk, or being killed, may have kept that from being noted.

        What was cancelled is not taken up by that: who resumes it sees it cancelled first.
        """
        ended = None if run.state.ended else durable.ended(run.engine, run.id)
        if ended is None or ended.state == "cancelled":
            return run
        self._note_end(run, ended)
        return self._host.records.runs.get(run.id)

    def bundle_of(self, run: Run) -> Bundle:
        """The files that a run runs, as they were when it began."""
        files = self._host.records.runs.version(run.version)
        return Bundle.of_record(files, Path(run.file), self._host.vocabulary)

    def _check_places(self, run_id: str) -> None:
        """What a run does next must not land elsewhere than what it has done. A new key of the same account is fine."""
        for name, place in self._host.records.runs.places(run_id).items():
            now = _place_of(self._host.connections.get(name))
            if now != place:
                raise ConfigurationError(
                    f"connection {name!r} leads elsewhere than when run {run_id} began: {_told(now)} instead of "
                    f"{_told(place)}; point it back and resume, or start a new run; nothing was done"
                )

    def _is_begun(self, run: Run) -> bool:
        """Whether it was given to the engine; until then there may be no database, and nothing is lost without."""
        if run.state is not RunState.CANCELLED:
            return run.state is not RunState.RUNNING
        records = self._host.records
        noted = records.runs.nodes(run.id) or next(records.ledger.entries(run_id=run.id, limit=1), None)
        return bool(noted) or durable.knows(run.engine, run.id)

    def _wind_back(self, run: Run, *, begun: bool) -> None:
        failed = [entry for entry in self._writes(run.id) if entry.state is State.FAILED]
        points: list[tuple[str, int]] = []
        is_stale = None
        record = (run.error or {}).get("failure")
        if isinstance(record, dict):
            failure = Failure.of_json(record)
            points = failure.points(run.id)
            is_stale = _met_a_loss if failure.lost else None
        if begun:
            durable.rewind(run.engine, run.id, points, is_stale=is_stale)
        self._host.records.runs.resume(run.id, tuple(entry.id for entry in failed))

    def _writes(self, run_id: str) -> list[Entry]:
        return list(self._host.records.ledger.entries(run_id=run_id, writes_only=True))

    def cancel(self, run_id: str) -> Run:
        """Let no further step of a run begin. What was sent stays sent, and is in the ledger.

        Raises `InputError` where the run has ended, before or meanwhile.
        """
        runs = self._host.records.runs
        run = runs.get(run_id)
        known = False
        if not run.state.ended:
            if self._is_begun(run):
                durable.check(run.engine)
            known = durable.cancel(run.engine, run_id)
        if not runs.cancel(run_id):
            ended = runs.get(run_id)
            # A process that runs it still: another's cancelling was noted, and may have been cut off there.
            noted = ended.state is RunState.CANCELLED and (not run.state.ended or self.is_held(run_id))
            if not noted:
                raise InputError(f"run {run_id} is {ended.state}, so there is nothing to cancel")
        if not known:  # the process that starts it sees the note, or has given it to the engine before that
            durable.cancel(run.engine, run_id)
        return runs.get(run_id)

    def wake(self, approval: Approval) -> list[str]:
        """Tell every run that waits for a decision; gives their ids. One in no process goes on when it is resumed."""
        topic = approval_topic(approval.id)
        woken: list[str] = []
        for one in self._host.records.runs.waits(topic=topic):
            run = self._host.records.runs.find(one.run_id)
            if run is not None:
                durable.send(run.engine, one.address, topic, key=_news(approval, one.address))
                woken.append(run.id)
        return woken

    def prune(self, run: Run) -> int:
        """Remove an ended run with its folder and artifacts; gives the bytes that were freed."""
        with self._locked(run.id):
            now = self._host.records.runs.find(run.id) or run
            if not now.state.ended:
                raise InputError(f"run {run.id} is {now.state}; only a run that has ended can be pruned")
            if (now.state, now.finished) != (run.state, run.finished):
                raise InputError(f"run {run.id} has gone on since it was looked at; look again")
            freed = self.store.prune(segment(run.id))
            folder = self._folder(run.id)
            freed += sum(file.stat().st_size for file in folder.glob("*") if file.is_file())
            self._host.records.runs.prune(run.id)
            shutil.rmtree(folder, ignore_errors=True)
        return freed

    def value_of(self, run: Run) -> JsonValue:
        """The output of a run that is done; a list that was stored is read as it is walked."""
        return thaw((run.output or {}).get("value"), self.store)

    def state_of(self, run: Run) -> str:
        """Where a run stands: its recorded state, or `interrupted` where its process is gone.

        One that was cancelled is `running` while its process ends what is under way.
        """
        if run.state is RunState.RUNNING:
            return "running" if self.is_held(run.id) else "interrupted"
        if run.state is RunState.CANCELLED and self.is_held(run.id):
            return "running"
        return run.state.value

    # The process that runs

    def _drive(self, run: Run, bundle: Bundle, *, wait: bool) -> Run:
        try:
            return asyncio.run(self._driven(run, bundle, wait=wait))
        except BaseException:
            self._host.records.runs.flush()
            raise

    async def _driven(self, run: Run, bundle: Bundle, *, wait: bool) -> Run:
        runs = self._host.records.runs
        watch = Watch(run.id, runs, self._listener, is_decided=self._is_decided)
        watch.take_up()
        context = RunContext(
            bundle=bundle,
            host=self._host,
            store=self.store,
            sessions=Sessions(self._host, lambda opened: runs.bind(run.id, opened.name, _place_of(opened))),
            watch=watch,
            retried=frozenset(run.retried),
            resumed=run.resumed,
        )
        engine = durable.Durable(
            run.engine,
            executor=run.id,
            tasks=tasks_of(context),
            clock=self._host.clock,
            on_wait=lambda topic, address: self._on_wait(run, topic, address),
            on_wake=lambda topic, _address: runs.woken(run.id, topic),
        )
        stopped = asyncio.Event()
        try:
            async with engine:
                with _stopping(engine, stopped):
                    await self._begin(engine, run, stopped)
                    while True:
                        await _first(engine.settled(), stopped.wait())
                        if stopped.is_set():
                            await engine.quiet()
                            raise Interrupted
                        ended = await engine.ended(run.id)
                        if ended is not None or not wait:
                            break
                        runs.set_state(run.id, RunState.WAITING)
                        await _first(engine.awake(), engine.over(run.id), stopped.wait())
                        if not stopped.is_set():
                            runs.set_state(run.id, RunState.RUNNING)
        finally:
            await context.sessions.aclose()
        self._note_end(run, ended)
        return runs.get(run.id)

    async def _begin(self, engine: durable.Durable, run: Run, stopped: asyncio.Event) -> None:
        """Give a run to the engine. Who cancels it earlier can only note that: no step begins before a look."""
        engine.stop()
        await engine.start(run.id, "run", {"inputs": run.inputs})
        if self._host.records.runs.get(run.id).state is RunState.CANCELLED:
            await asyncio.to_thread(durable.cancel, run.engine, run.id)
        elif not stopped.is_set():
            engine.go_on()

    def _on_wait(self, run: Run, topic: str, address: str) -> str | None:
        """Note who waits, and look once more: the decision may have come while there was nobody to wake."""
        records = self._host.records
        records.runs.wait(run.id, topic, address)
        approval = records.approvals.find(topic.removeprefix(approval_topic("")))
        return _news(approval, address) if approval is not None and approval.decided is not None else None

    def _is_decided(self, approval_id: str) -> bool:
        approval = self._host.records.approvals.find(approval_id)
        return approval is not None and approval.decided is not None

    def _note_end(self, run: Run, ended: durable.End | None) -> None:
        runs = self._host.records.runs
        if ended is None:
            runs.set_state(run.id, RunState.WAITING)
            return
        if ended.state == "cancelled":
            runs.finish(run.id, RunState.CANCELLED, output=None, error=None, exceptions=0)
            return
        if ended.state == "broken":
            error: JsonObject = {"error": "SpojitError", "message": f"a fault of this program: {ended.value}"}
            runs.finish(run.id, RunState.FAILED, output=None, error=error, exceptions=0)
            return
        record = cast("JsonObject", ended.value)
        exceptions = cast("int", record.get("exceptions", 0))
        if "failed" in record:
            failure = cast("JsonObject", record["failed"])
            found = Failure.of_json(failure)
            error = {**found.error.to_json(), "node": found.node, "failure": failure}
            state = RunState.UNKNOWN if found.unknown else RunState.FAILED
            runs.finish(run.id, state, output=None, error=error, exceptions=exceptions)
            return
        output: JsonObject = {"value": record["value"], "status": record.get("status")}
        runs.finish(run.id, RunState.DONE, output=output, error=None, exceptions=exceptions)

    # Folders and locks

    def _folder(self, run_id: str) -> Path:
        return self._host.state / _SUBFOLDER / segment(run_id)

    @contextmanager
    def _locked(self, run_id: str) -> Generator[None]:
        with self._lock_of(run_id) as file:
            if not _try_lock_patiently(file):
                file.seek(0)
                raise ConfigurationError(
                    f"run {run_id} is being run by another process ({file.read().strip() or 'starting'}); "
                    "nothing was done"
                )
            if os.fstat(file.fileno()).st_nlink:
                file.truncate(0)
                file.write(f"process {os.getpid()}")
                file.flush()
                yield
                return
        with self._locked(run_id):  # who held it has pruned the run, and the lock with it
            yield

    def _lock_of(self, run_id: str) -> IO[str]:
        folder = self._folder(run_id)
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            return (folder / "lock").open("a+", encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(
                f"can't keep the run in {folder}: {error.strerror}; choose another folder with --state or SPOJIT_STATE"
            ) from None

    def is_held(self, run_id: str) -> bool:
        """Whether a living process runs it."""
        path = self._folder(run_id) / "lock"
        with suppress(OSError), path.open(encoding="utf-8") as file:
            return not _try_lock(file, fcntl.LOCK_SH)  # those who only look do not stand in each other's way
        return False


def _place_of(connection: Connection) -> JsonObject:
    """Where a connection leads, as far as is known without asking the service."""
    return {"mode": connection.mode, "account": connection.account, "base_url": connection.base_url}


def _met_a_loss(output: JsonValue) -> bool:
    """Whether a part ended for want of a stored file, which may be there again."""
    failed = output.get("failed") if isinstance(output, dict) else None
    return isinstance(failed, dict) and Failure.of_json(failed).lost


def _told(place: JsonObject) -> str:
    account = f"account {place['account']}" if place["account"] else "the key's own account"
    return f"{place['mode']} mode, {account}, {place['base_url'] or 'the default host'}"


def _news(approval: Approval, address: str) -> str:
    """One message for each decision and who waits for it."""
    return f"{approval.id} {approval.decided} {address}"


def _try_lock_patiently(file: IO[str]) -> bool:
    """Whoever only looks holds the lock for a moment too; a process that runs keeps it."""
    for _ in range(_LOCK_TRIES):
        if _try_lock(file):
            return True
        time.sleep(_LOCK_SECONDS)
    return _try_lock(file)


def _try_lock(file: IO[str], kind: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _check_clean(inputs: JsonObject) -> None:
    """Inputs are recorded: they may hold no secret, and nothing that would pass for a stored list."""
    if redact_object(inputs) != inputs:
        raise InputError("the inputs hold what looks like a secret or card data, and inputs are recorded; leave it out")
    refuse_handles(inputs, "the inputs")


async def _first(*waiting: Coroutine[object, object, object]) -> None:
    """Return when the first of them has ended. Raises what it raised."""
    tasks = [asyncio.ensure_future(one) for one in waiting]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


@contextmanager
def _stopping(engine: durable.Durable, stopped: asyncio.Event) -> Generator[None]:
    """While a run goes on, Ctrl-C and a polite kill let no further step begin; the second one ends the process."""
    loop = asyncio.get_running_loop()

    def stop() -> None:
        if stopped.is_set():
            raise KeyboardInterrupt
        engine.stop()
        stopped.set()

    signals = (signal.SIGINT, signal.SIGTERM)
    for one in signals:
        with suppress(RuntimeError, ValueError):  # only the main thread hears signals
            loop.add_signal_handler(one, stop)
    try:
        yield
    finally:
        for one in signals:
            with suppress(RuntimeError, ValueError):
                loop.remove_signal_handler(one)
