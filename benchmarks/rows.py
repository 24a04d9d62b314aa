#!/usr/bin/env python3
"""A million rows through a workflow: memory stays flat, and the engine's database stays small.

    python benchmarks/rows.py [--rows 1000000]

The workflow lists charges, adds them up with SQL and makes as many rows of them again, which a
second statement counts. Each size is a process of its own, against a server of ready-made pages.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WORKFLOW = """
name: rows
nodes:
  - {id: charges, type: connector, connector: stripe, connection: big, tool: list-charges, paginate: all}
  - id: totals
    type: transform
    sql: select currency, sum(amount) as amount, count(*) as n from charges group by 1
  - {id: again, type: transform, sql: "select id, amount, currency from charges"}
  - {id: counted, type: transform, sql: "select count(*) as n from again"}
  - {id: out, type: response, body: {totals: "{{ totals.data }}", again: "{{ counted.data[0].n }}"}}
"""
SERVER = """
import asyncio, json, re, sys
TOTAL, PAGE = int(sys.argv[1]), 100
BEGAN = 1_600_000_000
def charge(at):
    return {"id": f"ch_{at:012d}", "object": "charge", "amount": 100 + at % 900, "currency": "usd",
            "status": "succeeded", "created": BEGAN + at, "livemode": False, "metadata": {}}
async def serve(reader, writer):
    try:
        while True:
            head = (await reader.readuntil(b"\\r\\n\\r\\n")).decode()
            path = head.split(" ", 2)[1]
            path = path.replace("%5B", "[").replace("%5D", "]")
            find = lambda name: (re.search(name + r"=([^&]+)", path) or [0, ""])[1]
            low = max(0, int(find(r"created\\[gte\\]") or 0) - BEGAN, int(find(r"created\\[gt\\]") or 0) + 1 - BEGAN)
            below, upto = int(find(r"created\\[lt\\]") or 1 << 40), int(find(r"created\\[lte\\]") or 1 << 40)
            high = min(below - BEGAN, upto + 1 - BEGAN, TOTAL)
            after = find("starting_after")
            top = min(int(after[3:]) if after else high, high)
            rows = [charge(at) for at in range(top - 1, max(top - 1 - PAGE, low - 1), -1)]
            more = bool(rows) and rows[-1]["created"] - BEGAN > low
            body = json.dumps({"object": "list", "url": "/v1/charges", "has_more": more, "data": rows}).encode()
            writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\nRequest-Id: req_1\\r\\n"
                b"Date: Wed, 25 Nov 2026 12:00:00 GMT\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body) + body)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()
async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


def _run(folder: Path) -> None:
    from spojit_stripe.engine import Bundle, Embedded
    from spojit_stripe.host import Host

    with Host(connections=folder / "connections.yaml", state=folder / "state") as host:
        bundle = Bundle.of_file(folder / "rows.yaml", host.vocabulary)
        began = time.perf_counter()
        run = Embedded(host).start(bundle, {}, "run-1")
        seconds = time.perf_counter() - began
    assert run.output is not None, run.error
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    database = sum(file.stat().st_size for file in (folder / "state" / "runs").rglob("engine.db*"))
    found = {"seconds": seconds, "peak_mib": int(peak.split()[1]) / 1024, "database": database}
    print(json.dumps({**found, "output": run.output["value"]}))


def _measured(rows: int) -> dict:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = subprocess.Popen([sys.executable, "-c", SERVER, str(rows)], stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            url = f"http://127.0.0.1:{server.stdout.readline().strip()}"
            (folder / "connections.yaml").write_text(
                "connections:\n  big:\n    connector: stripe\n    secret_key: ${env:BENCH_KEY}\n    mode: test\n"
                f"    base_url: {url}\n    limits: {{account: 100000, endpoint: 100000}}\n"
            )
            (folder / "rows.yaml").write_text(WORKFLOW)
            command = [sys.executable, __file__, "--child", str(folder)]
            environment = {**os.environ, "BENCH_KEY": "sk_test_benchbenchbench"}
            done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        finally:
            server.kill()
            server.wait()
        if done.returncode:
            raise SystemExit(done.stderr)
        return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        _run(options.child)
        return
    print(f"{'rows':>10} {'seconds':>9} {'peak memory':>12} {'engine.db':>11}")
    for rows in (options.rows // 100, options.rows):
        found = _measured(rows)
        wanted = sum(100 + at % 900 for at in range(rows))
        assert found["output"] == {"totals": [{"currency": "usd", "amount": wanted, "n": rows}], "again": rows}, found
        print(
            f"{rows:>10,} {found['seconds']:>9.1f} {found['peak_mib']:>8.0f} MiB {found['database'] / 1024:>7.0f} KiB"
        )


if __name__ == "__main__":
    main()
