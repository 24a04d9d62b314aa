"""A store in a folder of the test, and a way to ask it SQL."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from spojit_stripe.data import ArtifactStore, SqlLimits, Table, run_sql
from spojit_stripe.values import JsonObject, JsonValue

CHARGE: JsonObject = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "object": {"const": "charge"},
        "amount": {"type": "integer", "format": "minor-units"},
        "currency": {"type": "string"},
        "created": {"type": "integer", "format": "unix-time"},
        "customer": {"type": ["string", "object", "null"]},
        "paid": {"type": "boolean"},
        "metadata": {"type": "object"},
    },
}

LIMITS = SqlLimits()
Ask = Callable[..., list[JsonValue]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A state folder whose name would be a pattern, were it ever taken for one."""
    return tmp_path / "state [a] *"


@pytest.fixture
def store(folder: Path) -> ArtifactStore:
    return ArtifactStore(folder)


@pytest.fixture
def ask(store: ArtifactStore, folder: Path) -> Ask:
    """Run one SELECT and give its rows; afterwards nothing of the work is left."""

    def ask(
        sql: str,
        rows: object = (),
        *,
        schema: JsonObject | None = None,
        tables: dict[str, Table] | None = None,
        limits: SqlLimits = LIMITS,
        **params: JsonValue,
    ) -> list[JsonValue]:
        out = store.spool("run-1/answer", threshold=100_000_000)
        given = {"charges": Table(rows=rows, schema=schema)} if tables is None else tables
        try:
            result = asyncio.run(run_sql(sql, tables=given, params=params, out=out, limits=limits, folder=folder))
            found = out.finish()
        finally:
            out.discard()
            assert list(folder.glob("tmp/*")) == []
        assert isinstance(found, list)
        assert result.count == len(found)
        assert all(tuple(row) == result.columns for row in found)
        return found

    return ask
