"""A run's database from outside: for a process that looks, answers or winds back, and never launches the engine."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, cast
from urllib.parse import quote

from dbos import DBOSClient, WorkflowStatus
from dbos._serialization import DBOSPortableJSONSerializer
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import DatabaseError, OperationalError

from spojit_stripe.errors import ConfigurationError
from spojit_stripe.redact import redact_text
from spojit_stripe.values import JsonValue

__all__ = [
    "SERIALIZER",
    "End",
    "cancel",
    "check",
    "end_of",
    "ended",
    "explained",
    "knows",
    "prepare",
    "rewind",
    "send",
    "shown",
    "sqlite_url",
    "steps_of",
]

_LAST_STEP: Final = 2**31 - 1
SERIALIZER: Final = DBOSPortableJSONSerializer()


def sqlite_url(file: Path) -> str:
    """The URL of a SQLite file, as DBOS takes it: a `%` or `?` in a folder's name is no part of a URL's grammar."""
    return f"sqlite:///{quote(str(file))}"


@dataclass(frozen=True, slots=True)
class End:
    """How a run ended. `broken`: a fault of this program, `value` says which."""

    state: Literal["done", "cancelled", "broken"]
    value: JsonValue = None


def check(url: str) -> None:
    """Raise `ConfigurationError` for a database that is not there, or not whole; it is left as it is."""
    if url.startswith("sqlite:") and not Path(shown(url)).exists():
        raise ConfigurationError(
            f"the run's database {shown(url)} is not there; restore the state folder from a copy. "
            "What was sent stands in the ledger, which is a file of its own"
        )
    with explained(url):
        prepare(url)


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
    if url.startswith("sqlite:") and not Path(shown(url)).exists():
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
        return end_of(status)


def end_of(status: WorkflowStatus) -> End | None:
    if status.status == "SUCCESS":
        return End("done", cast("JsonValue", status.output))
    if status.status == "CANCELLED":
        return End("cancelled")
    if status.status in ("PENDING", "ENQUEUED"):
        return None
    return End("broken", redact_text(" ".join(str(status.error).split())))


def rewind(
    url: str, run_id: str, points: Sequence[tuple[str, int]], *, is_stale: Callable[[JsonValue], bool] | None = None
) -> None:
    """Wind ended workflows back, each to just before the step of that number, in the order given.

    Children come before their parent, for a parent that goes on asks them at once. What was
    cancelled is taken up where it stood, and what a fault broke where the fault was. Of the other
    children, those with a stale output are asked for it anew, with all their steps. Raises
    `ConfigurationError`.
    """
    with _client(url) as client:
        family = _family(client, run_id)
        if is_stale is not None:
            there = client.list_workflows(workflow_id_prefix=f"{run_id}/", status="SUCCESS", load_input=False)
            named = {address for address, _ in points}
            stale = [one.workflow_id for one in there if one.workflow_id not in named and is_stale(one.output)]
            points = [*((address, _LAST_STEP) for address in sorted(stale, key=len, reverse=True)), *points]
        over = {one.workflow_id for one in family if one.status in ("SUCCESS", "ERROR")}
        for address, step in points:
            if address in over:  # else a process that died meanwhile had wound it back already
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
    with explained(url):
        client = DBOSClient(system_database_url=url, serializer=SERIALIZER)
        try:
            yield client
        finally:
            client.destroy()


def prepare(url: str) -> None:
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
def explained(url: str) -> Generator[None]:
    """The database's errors in words that say what to do."""
    try:
        yield
    except OperationalError as error:
        what = redact_text(str(error.orig).splitlines()[0])
        if "malformed" in what:
            raise _damaged(url, what) from None
        raise ConfigurationError(
            f"the run's database {shown(url)} can't be used: {what}; free space or mend the folder, then resume"
        ) from None
    except DatabaseError as error:
        raise _damaged(url, redact_text(str(error.orig).splitlines()[0])) from None


def _damaged(url: str, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"the run's database {shown(url)} is cut or damaged ({why}); nothing was changed: restore it from a copy. "
        "What was sent stands in the ledger, which is a file of its own"
    )


def shown(url: str) -> str:
    return make_url(url).database or "" if url.startswith("sqlite:") else make_url(url).render_as_string()
