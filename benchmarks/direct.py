"""What Direct Mode costs, as ratios against the official client in the same run.

    python benchmarks/direct.py

Each figure is processor time of this process (user and system); the sides take turns, and a
ratio is the median over the rounds, so that a noisy neighbour hurts both alike. The server is
another process. Cold start is wall time of whole processes, in turn.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import stripe
from page_server import OBJECTS_A_PAGE, page_server

from spojit_stripe import Connection, Host, Paging, Position, ToolCall, run_tool
from spojit_stripe.values import Request

GETS = 400
PAGES = 20
ROUNDS = 9
KEY = "sk_test_benchmark"


async def measure(url: str) -> dict[str, list[float]]:
    client = stripe.StripeClient(KEY, base_addresses={"api": url})
    limits = {"account": 1_000_000, "endpoint": 1_000_000, "search": 1_000_000}
    connection = Connection.model_validate(
        {"name": "bench", "secret_key": KEY, "mode": "test", "base_url": url, "limits": limits}
    )
    figures: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder, Host(state=Path(folder)) as host:
        async with host.session(connection) as session:
            at = Position(run_id="bench")
            request = Request(method="GET", path="/v1/customers/cus_bench", template="/v1/customers/{customer}")

            def official_get() -> None:
                for _ in range(GETS):
                    client.v1.customers.retrieve("cus_bench")

            async def wire_get() -> None:
                for _ in range(GETS):
                    await session.wire.send(request)

            async def tool_get() -> None:
                call = ToolCall(tool="get-customer", params={"customer": "cus_bench"})
                for _ in range(GETS):
                    outcome = await run_tool(call, at=at, session=session)
                    assert outcome.value["id"] == "cus_bench"

            def official_list() -> None:
                listed = client.v1.charges.list({"limit": 100})
                assert sum(1 for _ in listed.auto_paging_iter()) == PAGES * OBJECTS_A_PAGE

            async def tool_list() -> None:
                call = ToolCall(tool="list-charges", paging=Paging(paginate="all"))
                outcome = await run_tool(call, at=at, session=session)
                assert outcome.value["fetched"] == PAGES * OBJECTS_A_PAGE, outcome
                assert outcome.value["complete"] is True

            sides: dict[str, Callable[[], object]] = {
                "official get": official_get,
                "wire get": wire_get,
                "run_tool get": tool_get,
                "official list": official_list,
                "run_tool list": tool_list,
            }
            for number in range(ROUNDS + 1):
                for name, side in sides.items():
                    spent = await _spent(side)
                    if number:  # the first round warms up
                        figures.setdefault(name, []).append(spent)
    return figures


async def _spent(side: Callable[[], object]) -> float:
    before = time.process_time()
    result = side()
    if isinstance(result, Awaitable):
        await result
    return time.process_time() - before


def wall_of(*command: str) -> float:
    before = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - before


def cold_starts() -> list[float]:
    ratios: list[float] = []
    for _ in range(9):
        ours = wall_of(sys.executable, "-m", "spojit_stripe", "--help")
        theirs = wall_of(sys.executable, "-c", "import httpx2")
        ratios.append(ours / theirs)
    return ratios[1:]


def main() -> None:
    os.environ.pop("SPOJIT_CONNECTIONS", None)
    with page_server(PAGES) as url:
        figures = asyncio.run(measure(url))
    objects = PAGES * OBJECTS_A_PAGE
    rows = [
        _row("one get, official client", figures["official get"], GETS),
        _row("one get through the wire", figures["wire get"], GETS, figures["official get"], 0.4),
        _row("one get through run_tool", figures["run_tool get"], GETS, figures["official get"], 0.6),
        _row("a listed object, official client", figures["official list"], objects),
        _row("a listed object, run_tool", figures["run_tool list"], objects, figures["official list"], 0.1),
        ("--help against `import httpx2`", "", f"{statistics.median(cold_starts()):.2f}", "<= 2.0"),
    ]
    print(
        f"stripe {stripe.VERSION}, Python {sys.version.split()[0]}, {GETS} gets, {objects} objects, {ROUNDS} rounds\n"
    )
    print(f"{'':34} {'CPU':>11} {'ratio':>7} {'expected':>9}")
    for what, spent, ratio, expected in rows:
        print(f"{what:34} {spent:>11} {ratio:>7} {expected:>9}")


def _row(
    what: str, spent: list[float], times: int, peer: list[float] | None = None, expected: float = 0.0
) -> tuple[str, str, str, str]:
    """One line: the median time, and the median of the rounds' ratios to the peer of the same round."""
    ratios = [1.0] if peer is None else [ours / theirs for ours, theirs in zip(spent, peer, strict=True)]
    each = statistics.median(spent) / times * 1e6
    return what, f"{each:8.0f} us", f"{statistics.median(ratios):.2f}", f"<= {expected}" if peer else ""


if __name__ == "__main__":
    main()
