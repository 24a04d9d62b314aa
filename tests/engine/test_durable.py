"""What the adapter knows of its parts by itself, and how it speaks of its database."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from spojit_stripe.engine import durable
from spojit_stripe.engine.durable import Durable
from spojit_stripe.errors import ConfigurationError


def test_a_part_that_waits_for_children_rests_only_while_all_of_them_do(tmp_path: Path) -> None:
    """From before a child is started until its result is recorded: a slow machine looks at rest in between."""
    engine = Durable(durable.sqlite_url(tmp_path / "e.db"), executor="x", tasks={})
    assert not engine._rests("run")
    with engine.awaiting("run", "run/a"):
        assert not engine._rests("run"), "the child has not begun"
        with engine.resting("run/a"):
            assert engine._rests("run")
            with engine.awaiting("run", "run/b"):
                assert not engine._rests("run"), "one of two goes on"
                with engine.awaiting("run/b", "run/b/c"), engine.resting("run/b/c"):
                    assert engine._rests("run")
        assert not engine._rests("run"), "its result is not recorded yet"
    assert not engine._rests("run")


@pytest.mark.parametrize("name", ["plain", "50%25 of it", "a?b=c", "x#y", "é ü"])
def test_a_file_is_named_in_a_url_whatever_it_is_called(tmp_path: Path, name: str) -> None:
    file = tmp_path / name / "engine.db"
    url = durable.sqlite_url(file)
    with pytest.raises(ConfigurationError) as caught:
        durable.check(url)
    assert caught.value.message.startswith(f"the run's database {file} is not there; ")
    file.parent.mkdir()
    file.write_bytes(b"")  # an empty file is an empty database
    durable.check(url)
    assert {path.name.partition("-")[0] for path in file.parent.iterdir()} == {"engine.db"}


def test_there_is_one_engine_in_a_process_and_its_log_stays_silent(tmp_path: Path, capsys) -> None:
    async def work() -> None:
        async with Durable(durable.sqlite_url(tmp_path / "e.db"), executor="x", tasks={}):
            with pytest.raises(ConfigurationError, match="this process runs a durable engine already"):
                async with Durable(durable.sqlite_url(tmp_path / "f.db"), executor="y", tasks={}):
                    raise AssertionError
            logging.getLogger("dbos").error("not for people")

    asyncio.run(work())
    assert capsys.readouterr() == ("", "")
