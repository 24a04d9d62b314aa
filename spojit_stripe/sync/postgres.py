"""Rows in a PostgreSQL database: in the first schema of the connection's search path."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from spojit_stripe.errors import ConfigurationError, InputError
from spojit_stripe.redact import HIDDEN, printable, redact_text
from spojit_stripe.sync.passwords import passwords_in
from spojit_stripe.sync.resources import Column
from spojit_stripe.sync.rows import Cell
from spojit_stripe.sync.tables import META, Found, Tables

if TYPE_CHECKING:
    import psycopg

__all__ = ["PostgresTables"]

_LOCK: Final = 0x53505359
_CONNECT_SECONDS: Final = 15


class PostgresTables(Tables):
    """Implements `Destination` in a database that is there already."""

    _types = {"text": "text", "integer": "bigint", "boolean": "boolean", "json": "json"}  # noqa: RUF012 # as declared

    def __init__(self, url: str) -> None:
        super().__init__()
        if find_spec("psycopg") is None:
            raise ConfigurationError(
                "PostgreSQL needs a driver that is not installed: pip install 'spojit_stripe[postgres]'"
            )
        try:
            parts = urlsplit(url)
            port = f":{parts.port}" if parts.port else ""
        except ValueError:
            raise InputError(
                "--to: the PostgreSQL URL is none; it looks like postgresql://user@host/database"
            ) from None
        self._url = url
        self._secrets = {one for found in passwords_in(url) for one in (found, unquote(found))}
        self.shown = f"postgresql://{parts.hostname or ''}{port}{parts.path}"
        self._open: psycopg.Connection[Found] | None = None

    @property
    def _db(self) -> psycopg.Connection[Found]:
        if self._open is None:
            raise ConfigurationError(f"{self.shown} is not open")
        return self._open

    @contextmanager
    def _connected(self) -> Generator[None]:
        with self._explained(), self._connection() as db:
            self._open = db
            try:
                schema, alone = self._ask(
                    "SELECT current_schema(), pg_try_advisory_lock(?, hashtext(coalesce(current_schema(), '')))",
                    (_LOCK,),
                )[0]
                if schema is None:
                    raise ConfigurationError(f"{self.shown} has no schema to work in; set the user's search_path")
                if not alone:
                    raise ConfigurationError(
                        f"can't sync to {self.shown}: another sync works on it; wait until that has ended"
                    )
                yield
            finally:
                self._open = None

    @contextmanager
    def _connection(self) -> Generator[psycopg.Connection[Found]]:
        import psycopg

        db = psycopg.connect(
            self._url, autocommit=True, connect_timeout=_CONNECT_SECONDS, application_name="spojit-stripe sync"
        )
        try:
            yield db
        finally:
            # The server hears a little later that a connection is closed, and the next run may come at once.
            with suppress(psycopg.Error):
                db.execute("SELECT pg_advisory_unlock_all()")
            db.close()

    @contextmanager
    def _transaction(self) -> Generator[None]:
        with self._explained(), self._db.transaction():
            yield

    def _ask(self, sql: str, values: Sequence[Cell] = ()) -> list[Found]:
        with self._explained():
            # Every statement is of this package, with marks for its values.
            cursor = self._db.execute(_marked(sql), values or None)
            return cursor.fetchall() if cursor.description else []

    def _write(self, sql: str, rows: Iterable[Sequence[Cell]]) -> None:
        with self._explained(), self._db.cursor() as cursor:
            cursor.executemany(_marked(sql), rows)

    def _columns_in(self, table: str) -> dict[str, str]:
        found = self._ask(
            "SELECT column_name, upper(data_type) FROM information_schema.columns"
            " WHERE table_schema = current_schema() AND table_name = ? ORDER BY ordinal_position",
            (table,),
        )
        return {str(name): str(kind) for name, kind in found}

    def _from_object(self, column: Column) -> str:
        if column.kind == "text":
            return (
                f"CASE json_typeof(object -> '{column.name}') WHEN 'object' THEN object -> '{column.name}' ->> 'id'"
                f" ELSE object ->> '{column.name}' END"
            )
        if column.kind == "json":
            return (
                f"CASE json_typeof(object -> '{column.name}') WHEN 'null' THEN NULL ELSE object -> '{column.name}' END"
            )
        return f"(object ->> '{column.name}')::{self._types[column.kind]}"

    def _make_view(self, name: str, sql: str) -> None:
        self._ask(f"CREATE OR REPLACE VIEW {name} AS {sql}")

    @contextmanager
    def _looking(self) -> Generator[bool]:
        with self._explained(), self._connection() as db:
            self._open = db
            try:
                yield bool(self._columns_in(META))
            finally:
                self._open = None

    @contextmanager
    def _explained(self) -> Generator[None]:
        import psycopg  # slow to load, and not needed for help

        try:
            yield
        except psycopg.Error as error:
            text = redact_text(str(error)).strip().splitlines()
            told = printable(text[0] if text else type(error).__name__)
            for secret in sorted(self._secrets, key=len, reverse=True):
                told = told.replace(secret, HIDDEN)
            raise ConfigurationError(f"can't sync to {self.shown}: {told}") from None


def _marked(sql: str) -> bytes:
    return sql.replace("%", "%%").replace("?", "%s").encode()
