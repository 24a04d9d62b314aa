"""A whole history of charges, read by this project, the official client and a sync tool.

    python benchmarks/history.py                 # a few minutes
    python benchmarks/history.py --full          # 100,000 charges everywhere, about an hour
    python benchmarks/history.py --million       # and the memory of a read of 1,000,000
    python benchmarks/history.py --venv VENV     # more to compare with, see below

Each side is a process of its own against a page server in another one (`history_server.py`), at
0, 50 and 300 ms latency, with 25 requests a second allowed (Stripe's documented limit for an
endpoint) and with 100. The sides that read one page after another are never near a limit at
50 ms and more, so they are shown a shorter history: their speed does not depend on its length.
All of them only count; this project does so through `run_tool`, and once more into an artifact
on the disk ("spojit, kept"). Judge by ratios
within one run: the machine is the same for all.

The official client's asynchronous half needs httpx, and dlt is not installed with this project:
`python -m venv VENV && VENV/bin/pip install dlt httpx stripe`, then pass `--venv VENV`. dlt's own
REST source reads the list, with Stripe's cursor.
"""

from __future__ import annotations

import argparse
import asyncio
import atexit
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import urlopen

from history_server import Remote, history_server

if TYPE_CHECKING:
    from spojit_stripe.connector import Sink
    from spojit_stripe.values import JsonObject

KEY = "sk_test_benchmark"
LATENCIES = (0.0, 0.05, 0.3)
READS_A_MONTH = 10_000  # Stripe's least allocation; more with more transactions


# The sides. Each gives, ready to start, a function that reads the whole list and counts it.


def nothing() -> None:
    pass


@dataclass(frozen=True)
class Side:
    read: Callable[[], int]
    finish: Callable[[], None] = nothing  # what is not measured: syncing the artifact to the disk


class Count:
    """A sink that counts, as the other sides do."""

    def __init__(self) -> None:
        self.objects = 0

    def write(self, objects: Sequence[JsonObject]) -> None:
        self.objects += len(objects)

    def write_encoded(self, rows: Iterable[bytes]) -> None:
        self.objects += sum(1 for _ in rows)


def ours(url: str, rate: int) -> Side:
    sink = Count()
    read = _through_run_tool(url, rate, lambda _folder: sink)
    return Side(read)


def kept(url: str, rate: int) -> Side:
    from spojit_stripe.data import ArtifactStore, Spool

    spools: list[Spool] = []

    def spool(folder: Path) -> Spool:
        spools.append(ArtifactStore(folder).spool("bench/charges", threshold=0, resumable=True))
        return spools[0]

    def finish() -> None:
        assert isinstance(spools[0].finish(), dict), "a history is an artifact"

    return Side(_through_run_tool(url, rate, spool), finish)


def _through_run_tool(url: str, rate: int, sink_in: Callable[[Path], Sink]) -> Callable[[], int]:
    from spojit_stripe import Connection, Done, Host, Paging, Position, Session, ToolCall, run_tool

    limits = {"account": rate, "endpoint": rate}
    connection = Connection.model_validate(
        {"name": "bench", "secret_key": KEY, "mode": "test", "base_url": url, "limits": limits}
    )
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    host = Host(state=Path(folder.name))
    sink = sink_in(Path(folder.name))
    runner = asyncio.Runner()
    at = Position(run_id="bench")

    async def begin() -> Session:
        """Open the connection and read one page, as a process that is at work has done before."""
        session = await host.session(connection).__aenter__()
        await run_tool(ToolCall(tool="list-charges"), at=at, session=session)
        return session

    session = runner.run(begin())

    async def read() -> int:
        call = ToolCall(tool="list-charges", paging=Paging(paginate="all"))
        outcome = await run_tool(call, at=at, session=session, sink=sink)
        assert isinstance(outcome, Done), outcome
        assert outcome.value["complete"] is True, outcome.value
        return int(str(outcome.value["fetched"]))

    return lambda: runner.run(read())


def official(url: str, rate: int) -> Side:
    import stripe

    client = stripe.StripeClient(KEY, base_addresses={"api": url})
    return Side(lambda: sum(1 for _ in client.v1.charges.list({"limit": 100}).auto_paging_iter()))


def official_async(url: str, rate: int) -> Side:
    import stripe

    async def read() -> int:
        http = stripe.HTTPXClient()
        client = stripe.StripeClient(KEY, base_addresses={"api": url}, http_client=http)
        listed = await client.v1.charges.list_async({"limit": 100})
        count = 0
        async for _ in listed.auto_paging_iter():
            count += 1
        await http.close_async()
        return count

    return Side(lambda: asyncio.run(read()))


def dlt(url: str, rate: int) -> Side:
    from dlt.sources.rest_api import rest_api_resources

    paginator = {
        "type": "cursor",
        "cursor_path": "data[-1].id",
        "cursor_param": "starting_after",
        "has_more_path": "has_more",
    }
    endpoint = {"path": "/v1/charges", "params": {"limit": 100}, "data_selector": "data", "paginator": paginator}
    config = {
        "client": {"base_url": url, "headers": {"Authorization": f"Bearer {KEY}"}},
        "resources": [{"name": "charges", "endpoint": endpoint}],
    }
    return Side(lambda: sum(1 for _ in rest_api_resources(config)[0]))


SIDES = {"spojit": ours, "spojit, kept": kept, "stripe": official, "stripe async": official_async, "dlt": dlt}


# One measurement


@dataclass(frozen=True, kw_only=True)
class Row:
    side: str
    rate: int
    latency: float
    objects: int
    seconds: float
    cpu: float
    rss: float  # MiB, the peak
    requests: int
    refused: int

    @property
    def speed(self) -> float:
        return self.objects / self.seconds

    @property
    def share(self) -> float:
        """Of the limit, in per cent: 100 objects a request."""
        return self.speed / self.rate

    @property
    def micros(self) -> float:
        """Processor time for an object, in microseconds."""
        return self.cpu / self.objects * 1e6

    def line(self) -> str:
        return (
            f"{self.side:13}{self.rate:5}/s{self.latency * 1000:6.0f} ms{self.objects:10,}{self.seconds:9.1f} s"
            f"{self.speed:10,.0f}{self.share:8.1f}%{self.micros:9.0f} us{self.rss:7.0f} MiB"
            f"{self.requests:8,}{self.refused:5}"
        )


def measure(side: str, server: Remote, *, rate: int, latency: float, count: int, python: str = sys.executable) -> Row:
    server.configure(count=count, latency=latency, rate=rate)
    command = [python, __file__, "--side", side, "--url", server.url, "--rate", str(rate)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["objects"] == count, f"{side} read {told['objects']:,} of {count:,} charges"
    stats = server.stats()
    return Row(
        side=side,
        rate=rate,
        latency=latency,
        objects=count,
        seconds=told["seconds"],
        cpu=told["cpu"],
        rss=told["rss"],
        requests=int(stats["requests"]),
        refused=int(stats["refused"]),
    )


def run_side(name: str, url: str, rate: int) -> None:
    """One read in this process: what it took, as JSON. Imports and the first page are not measured."""
    side = SIDES[name](url, rate)
    began, cpu = time.perf_counter(), time.process_time()
    objects = side.read()
    told = {
        "objects": objects,
        "seconds": time.perf_counter() - began,
        "cpu": time.process_time() - cpu,
        "rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    side.finish()
    print(json.dumps(told))


def ceiling(server: Remote) -> float:
    """Pages a second that the server itself gives to a client that throws them away."""
    server.configure(count=1_000_000, latency=0.0, rate=1_000_000)
    began = time.perf_counter()
    for _ in range(300):
        with urlopen(f"{server.url}/v1/charges?limit=100") as answer:
            answer.read()
    return 300 / (time.perf_counter() - began)


# All of them


def main() -> None:
    parser = argparse.ArgumentParser(description="Whole histories, at the rate limit, in flat memory.")
    parser.add_argument("--full", action="store_true", help="100,000 charges for every side")
    parser.add_argument("--million", action="store_true", help="also a read of 1,000,000, for its memory")
    parser.add_argument("--venv", help="a virtual environment with dlt, httpx and stripe")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--rate", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        run_side(given.side, given.url, given.rate)
        return
    peers = {"stripe": sys.executable}
    if given.venv:
        python = str(Path(given.venv) / "bin" / "python")
        peers |= {"stripe async": python, "dlt": python}
    with history_server() as server:
        pages = ceiling(server)
        print(f"the server itself: {pages:,.0f} pages a second, one connection; Python {sys.version.split()[0]}\n")
        print(
            f"{'':13}{'limit':>7}{'latency':>9}{'objects':>10}{'time':>11}{'objects/s':>10}{'of limit':>9}"
            f"{'CPU each':>12}{'peak':>11}{'reqs':>8}{'429':>5}"
        )
        rows = [*_ours(server, given.full), *_peers(server, peers, given.full)]
        if given.million:
            rows.append(_shown(measure("spojit, kept", server, rate=100, latency=0.05, count=1_000_000)))
        _judge(rows)


def _ours(server: Remote, full: bool) -> list[Row]:
    rows: list[Row] = []
    for rate in (25, 100):
        for latency in LATENCIES:
            # A minute for each at 25/s, so the short run has its long one where it tells most.
            whole = full or rate == 100 or latency == LATENCIES[-1]
            rows.append(
                _shown(measure("spojit", server, rate=rate, latency=latency, count=100_000 if whole else 25_000))
            )
    rows.append(_shown(measure("spojit, kept", server, rate=100, latency=0.05, count=100_000)))
    return rows


def _peers(server: Remote, peers: dict[str, str], full: bool) -> list[Row]:
    rows: list[Row] = []
    for side, python in peers.items():
        for latency in LATENCIES:
            count = 100_000 if full else 3_000
            rows.append(_shown(measure(side, server, rate=100, latency=latency, count=count, python=python)))
    return rows


def _shown(row: Row) -> Row:
    print(row.line(), flush=True)
    return row


def _judge(rows: list[Row]) -> None:
    """The marks, each against what was measured."""
    mine = {(row.rate, row.latency): row for row in rows if row.side == "spojit"}
    theirs = {row.latency: row for row in rows if row.side == "stripe"}
    slow = LATENCIES[-1]
    plain = {key: -(-row.objects // 100) for key, row in mine.items()}
    headline = mine[25, slow]
    print("\nof the limit at 300 ms, and the rest")
    _mark("25/s", mine[25, slow].share, ">=", 95, "%")
    _mark("100/s", mine[100, slow].share, ">=", 90, "%")
    _mark(
        "more requests than one cursor",
        max((row.requests / plain[key] - 1) * 100 for key, row in mine.items()),
        "<=",
        3,
        "%",
    )
    _mark("429s", sum(row.refused for row in mine.values()), "<=", 0, "")
    for rate, wanted in ((25, 10), (100, 38)):
        _mark(
            f"x the official client, {rate}/s, 300 ms",
            mine[rate, slow].speed / theirs[slow].speed,
            ">=",
            wanted,
            f"x, of {rate * 100 / theirs[slow].speed:.1f} x that the limit allows",
        )
    _mark("CPU of the official client's", mine[100, slow].micros / theirs[slow].micros, "<=", 0.06, "x")
    _mark("peak memory", max(row.rss for row in rows if row.side.startswith("spojit")), "<=", 120, "MiB")
    print(
        f"\n{headline.objects:,} charges take {headline.requests:,} reads of Stripe's monthly allocation: "
        f"{headline.requests / READS_A_MONTH:.1%} of the least one ({READS_A_MONTH:,})."
    )


def _mark(what: str, value: float, sign: str, wanted: float, unit: str) -> None:
    met = value >= wanted if sign == ">=" else value <= wanted
    print(f"  {what:38}{value:9.2f} {unit:4} {sign} {wanted:g}{'' if met else '   MISSED'}")


if __name__ == "__main__":
    main()
