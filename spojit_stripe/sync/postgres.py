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
from spojit_stripe.sync.rows import Cell
from spojit_stripe.sync.tables import META, Found, Tables
from spojit_stripe.sync.views import TEXTS, View

if TYPE_CHECKING:
    import psycopg

__all__ = ["PostgresTables"]

_LOCK: Final = 0x53505359
_CONNECT_SECONDS: Final = 15
_BUSY: Final = "30s"
_KINDS: Final = {"v": "view", "r": "table", "m": "materialized view"}
_ENCODINGS: Final = ("UTF8", "SQL_ASCII")


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
            hosts = [_shown(host) for host in parts.netloc.rpartition("@")[2].split(",")]
        except ValueError:
            raise InputError(
                "--to: the PostgreSQL URL is none; it looks like postgresql://user@host/database"
            ) from None
        self._url = url
        self._secrets = {one for found in passwords_in(url) for one in (found, unquote(found))}
        self.shown = f"postgresql://{','.join(hosts)}{parts.path}"
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
                encoding = db.info.parameter_status("server_encoding")
                # One that an earlier version has filled goes on as far as it can.
                if encoding and encoding not in _ENCODINGS and not self._columns_in(META):
                    raise ConfigurationError(
                        f"{self.shown} is a database in {encoding}, which has no room for every name; "
                        "choose one whose encoding is UTF8"
                    )
                yield
            finally:
                self._open = None

    @contextmanager
    def _connection(self) -> Generator[psycopg.Connection[Found]]:
        import psycopg

        db = psycopg.connect(
            self._url,
            autocommit=True,
            connect_timeout=_CONNECT_SECONDS,
            application_name="spojit-stripe sync",
            client_encoding="UTF8",  # whatever PGCLIENTENCODING or the database has
        )
        try:
            # Else somebody's open transaction holds a run for ever, and all that queue behind it.
            db.execute(
                "SELECT set_config('lock_timeout', %s, false) WHERE current_setting('lock_timeout') = '0'",
                (_BUSY,),
            )
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

    def _stranger(self, name: str, view: View) -> str | None:
        found = self._ask(
            "SELECT c.relkind::text, a.attname::text, format_type(a.atttypid, NULL) FROM pg_class c"
            " LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
            " JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE c.relname = ? AND n.nspname = current_schema() ORDER BY a.attnum",
            (name,),
        )
        if not found:
            return None
        columns = tuple(column for _, column, _ in found)
        # The server replaces no view that has other types, or more columns.
        is_ours = (
            found[0][0] == "v"
            and len(columns) >= len(view.columns)
            and columns == (view.columns + view.added)[: len(columns)]
            and all((kind == "text") == (column in TEXTS) for _, column, kind in found)
        )
        return None if is_ours else _KINDS.get(str(found[0][0]), "relation")

    def _make_view(self, name: str, sql: str) -> None:
        # To replace a view waits for all that read it, and takes the right to do so: only where it must be.
        kept = f"view {name}"
        found = self._ask(f"SELECT value FROM {META} WHERE name = ?", (kept,))  # noqa: S608 # our own name
        if found and found[0][0] == f"{sql}\n{self._view_there(name)}":
            return
        self._ask(f"CREATE OR REPLACE VIEW {name} AS {sql}")
        self._write(
            f"INSERT INTO {META} (name, value) VALUES (?, ?)"  # noqa: S608 # our own name
            " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            [(kept, f"{sql}\n{self._view_there(name)}")],
        )

    def _view_there(self, name: str) -> str:
        """A view as the server words it; nothing where it is gone."""
        return str(self._ask("SELECT coalesce(pg_get_viewdef(to_regclass(?)), '')", (name,))[0][0])

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
        except psycopg.errors.LockNotAvailable:
            raise ConfigurationError(
                f"can't sync to {self.shown}: another session holds a lock on a table or view there; "
                "end its transaction (pg_stat_activity shows it) and try again"
            ) from None
        except psycopg.Error as error:
            text = redact_text(str(error)).strip().splitlines()
            told = printable(text[0] if text else type(error).__name__)
            for secret in sorted(self._secrets, key=len, reverse=True):
                told = told.replace(secret, HIDDEN)
            raise ConfigurationError(f"can't sync to {self.shown}: {told}") from None


def _shown(host: str) -> str:
    """One host of a URL, which may name several. Raises `ValueError` where its port is none."""
    parts = urlsplit(f"//{host}")
    name = parts.hostname or ""
    name = f"[{name}]" if ":" in name else name
    return f"{name}:{parts.port}" if parts.port else name


def _marked(sql: str) -> bytes:
    return sql.replace("%", "%%").replace("?", "%s").encode()
