#!/usr/bin/env python3
"""What a workflow costs beside the durable engine's own steps, in one run.

    python benchmarks/engine.py [--nodes 300] [--parked 1000]

Two figures, each beside DBOS alone on SQLite in WAL mode: the time of a `transform: set` node
against that of a bare step, and the memory of a run parked at an approval against that of a bare
workflow in `recv`. Every measurement is a process of its own; medians of three rounds in turn.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

EXPECTED = 1.5


def _bundle(folder: Path, nodes: int):
    from spojit_stripe.engine import Bundle
    from spojit_stripe.workflow import NO_EXTRAS

    lines = ["name: bench", "inputs: {type: object, properties: {n: {type: integer}}, required: [n]}", "nodes:"]
    lines += [f'  - {{id: n{at}, type: transform, set: {{v: "{{{{ input.n + {at} }}}}"}}}}' for at in range(nodes)]
    lines += ['  - {id: ok, type: human, message: "Go on?"}'] if nodes == 1 else []
    file = folder / "bench.yaml"
    file.write_text("\n".join(lines) + "\n")
    return Bundle.of_file(file, NO_EXTRAS)


async def _ours(folder: Path, nodes: int, runs: int) -> dict[str, float]:
    from spojit_stripe.data import ArtifactStore
    from spojit_stripe.engine import RunContext, Watch, tasks_of
    from spojit_stripe.engine.durable import Durable, sqlite_url
    from spojit_stripe.host import Host
    from spojit_stripe.node import Sessions

    with Host(state=folder) as host:
        context = RunContext(
            bundle=_bundle(folder, nodes),
            host=host,
            store=ArtifactStore(folder / "artifacts"),
            sessions=Sessions(host),
            watch=Watch("bench", host.records.runs),
        )
        async with Durable(sqlite_url(folder / "engine.db"), executor="bench", tasks=tasks_of(context)) as engine:
            await engine.start("warm", "run", {"inputs": {"n": 0}})
            await engine.settled()
            before, began = _memory(), time.perf_counter()
            for number in range(runs):
                await engine.start(f"run-{number}", "run", {"inputs": {"n": number}})
            await engine.settled()
            return {"seconds": time.perf_counter() - began, "bytes": _memory() - before}


async def _bare(folder: Path, nodes: int, runs: int) -> dict[str, float]:
    import logging

    from dbos import DBOS, SetWorkflowID
    from dbos._serialization import DBOSPortableJSONSerializer

    from spojit_stripe.engine.durable.outside import prepare, sqlite_url

    logging.getLogger("dbos").setLevel(logging.CRITICAL)
    url = sqlite_url(folder / "engine.db")

    @DBOS.workflow(name="bare", max_recovery_attempts=None)
    async def bare(n: int) -> int:
        for at in range(nodes):

            async def work(at: int = at) -> dict[str, int]:
                return {"v": n + at}

            await DBOS.run_step_async({"name": f"n{at}"}, work)
        if nodes == 1:
            await DBOS.recv_async("approval", timeout_seconds=1e6)
        return n

    DBOS(
        config={
            "name": "bench",
            "system_database_url": url,
            "application_version": "1",
            "executor_id": "bench",
            "serializer": DBOSPortableJSONSerializer(),
            "notification_listener_polling_interval_sec": 0.1,
            "console_log_level": "CRITICAL",
            "log_level": "CRITICAL",
        }
    )
    prepare(url)
    DBOS.launch()
    handles = []
    with SetWorkflowID("warm"):
        handles.append(await DBOS.start_workflow_async(bare, 0))
    await _done(handles, waits=nodes == 1)
    before, began = _memory(), time.perf_counter()
    handles = []
    for number in range(runs):
        with SetWorkflowID(f"run-{number}"):
            handles.append(await DBOS.start_workflow_async(bare, number))
    await _done(handles, waits=nodes == 1)
    found = {"seconds": time.perf_counter() - began, "bytes": _memory() - before}
    await asyncio.to_thread(DBOS.destroy)
    return found


async def _done(handles: list, *, waits: bool) -> None:
    from dbos import DBOS

    if not waits:
        for handle in handles:
            await handle.get_result(polling_interval_sec=0.05)
        return
    while True:  # every one of them sits in its recv, whose timeout is recorded as a step
        steps = await DBOS.list_workflow_steps_async(handles[-1].get_workflow_id())
        if any(step["function_name"] == "DBOS.sleep" for step in steps):
            return
        await asyncio.sleep(0.05)


def _memory() -> float:
    """Resident memory now, in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return float(pages * resource.getpagesize())


def _measured(what: str, nodes: int, runs: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--child", what, "--nodes", str(nodes), "--parked", str(runs)]
        done = subprocess.run([*command, "--folder", folder], capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr)
        return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--nodes", type=int, default=300)
    parser.add_argument("--parked", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", choices=["ours", "bare"])
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    if options.child:
        work = _ours if options.child == "ours" else _bare
        print(json.dumps(asyncio.run(work(options.folder, options.nodes, options.parked))))
        return
    steps = {"ours": [], "bare": []}
    parked = {"ours": [], "bare": []}
    for _ in range(options.rounds):
        for who in ("bare", "ours"):
            steps[who].append(_measured(who, options.nodes, 1)["seconds"] / options.nodes * 1e3)
            parked[who].append(_measured(who, 1, options.parked)["bytes"] / options.parked / 1024)
    print(f"{'':44}{'':>12}{'ratio':>8}  expected")
    for name, unit, found in (("a step", "ms", steps), ("a parked run", "KiB", parked)):
        bare, ours = (statistics.median(found[who]) for who in ("bare", "ours"))
        print(f"{f'{name}, DBOS alone':44}{bare:>9.2f} {unit:<3}{1:>7.2f}")
        label = "a set node of a workflow" if unit == "ms" else "a run parked at an approval"
        print(f"{label:44}{ours:>9.2f} {unit:<3}{ours / bare:>7.2f}  <= {EXPECTED}")


if __name__ == "__main__":
    main()
