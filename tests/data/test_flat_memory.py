"""A million rows pass through a spool, SQL and an iteration, and the process that asks stays small."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.long

PROGRAM = """
import asyncio, json, sys
from pathlib import Path
from spojit_stripe.data import ArtifactStore, Table, run_sql

def peak():
    # Not getrusage: its peak counts the process that started this one.
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) // 1024

async def ask(sql, folder, out, rows):
    await run_sql(sql, tables={"charges": Table(rows=rows)}, params={}, out=out, folder=folder)
    return out.finish()

def charge(n):
    return {"id": f"ch_{n}", "amount": 2**53 + n, "currency": ("usd", "jpy")[n % 2]}

async def main(folder, count):
    store = ArtifactStore(folder)
    out = store.spool("run-1/warm", threshold=0)
    out.write([{"a": 1}])
    await ask("select a from charges", folder, store.spool("run-1/x"), store.open(out.finish()))
    before = peak()
    out = store.spool("run-1/charges")
    for first in range(0, count, 100):
        out.write([charge(n) for n in range(first, first + 100)])
    handle = out.finish()
    charges = store.open(handle)
    sums = await ask(
        "select currency, cast(sum(amount - 9007199254740992) as bigint) as amount, count(*) as n "
        "from charges group by 1 order by 1", folder, store.spool("run-1/sums"), charges)
    every = await ask("select id, amount + 1 as amount from charges", folder, store.spool("run-1/every"), charges)
    copy = store.open(every)
    total = sum(row["amount"] - 2**53 - 1 for row in copy)
    print(json.dumps({"sums": sums, "rows": len(copy), "total": total, "grown": peak() - before,
        "handle": len(json.dumps(handle)), "last": copy[count - 1]}))

asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
"""


def test_a_million_rows_leave_the_caller_small(tmp_path: Path) -> None:
    count = 1_000_000
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path), str(count)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["rows"] == count
    assert said["total"] == count * (count - 1) // 2
    assert said["last"] == {"id": f"ch_{count - 1}", "amount": 2**53 + count}
    assert [(row["currency"], row["n"]) for row in said["sums"]] == [("jpy", count // 2), ("usd", count // 2)]
    assert sum(row["amount"] for row in said["sums"]) == count * (count - 1) // 2
    assert said["handle"] < 500
    assert said["grown"] < 40  # MiB; the rows as Python objects are some 400
