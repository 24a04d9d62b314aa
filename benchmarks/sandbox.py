"""The ceiling of the sandbox: how fast it can answer, so that benchmarks on it know what they measure.

    python benchmarks/sandbox.py [--customers 1000] [--seconds 5]

The server is another process, the client a bare socket that does next to nothing: pages
of 100 charges one after another through a whole history, then creates, each with an
idempotency key. Beside the rate by the clock stands the rate per second of the server's
processor time, which is what one core could do if nothing else used it.
"""

from __future__ import annotations

import argparse
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode

_KEY = "sk_test_sandbox_secret"
_TICK = os.sysconf("SC_CLK_TCK")


class Caller:
    """One kept connection."""

    def __init__(self, url: str) -> None:
        host, port = url.removeprefix("http://").rsplit(":", 1)
        self._socket = socket.create_connection((host, int(port)))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def get(self, target: str) -> bytes:
        """The body of a page."""
        return self._exchange(f"GET {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {_KEY}\r\n\r\n".encode())

    def post(self, target: str, params: dict[str, object], key: str) -> bytes:
        """The body of an answer to a form."""
        body = urlencode(params)
        return self._exchange(
            f"POST {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {_KEY}\r\nIdempotency-Key: {key}\r\n"
            f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
        )

    def _exchange(self, request: bytes) -> bytes:
        self._socket.sendall(request)
        head = b""
        while b"\r\n\r\n" not in head:
            head += self._read(262_144)
        head, _, body = head.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError((head + body)[:500].decode("utf-8", "replace"))
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        parts, left = [body], length - len(body)
        while left:
            parts.append(self._read(min(left, 1_048_576)))
            left -= len(parts[-1])
        return b"".join(parts)

    def _read(self, count: int) -> bytes:
        more = self._socket.recv(count)
        if not more:
            raise RuntimeError("the sandbox closed the connection")
        return more


def pages(caller: Caller, seconds: float) -> tuple[int, int]:
    """Walk through the charges, from the newest to the oldest and again; pages and bytes."""
    count, size, cursor, end = 0, 0, "", time.perf_counter() + seconds
    while time.perf_counter() < end:
        body = caller.get(f"/v1/charges?limit=100{cursor}")
        count, size = count + 1, size + len(body)
        at = body.rfind(b'{"id":"ch_')
        more = body.rfind(b'"has_more":true') > at
        last = body[at + 7 : body.index(b'"', at + 7)].decode()
        cursor = f"&starting_after={last}" if more else ""
    return count, size


def creates(caller: Caller, target: str, params: dict[str, object], seconds: float) -> tuple[int, int]:
    """Create objects one after another; how many."""
    count, size, end = 0, 0, time.perf_counter() + seconds
    begin = time.time_ns()
    while time.perf_counter() < end:
        size += len(caller.post(target, params, f"bench-{begin}-{count}"))
        count += 1
    return count, size


def processor(pid: int) -> float:
    """Seconds of processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def memory(pid: int) -> int:
    """The most memory that a process has had, in MB."""
    line = next(each for each in Path(f"/proc/{pid}/status").read_text().splitlines() if each.startswith("VmHWM"))
    return int(line.split()[1]) // 1024


def measure(name: str, pid: int, work: Callable[[], tuple[int, int]]) -> None:
    """Do it and print both rates."""
    used, begin = processor(pid), time.perf_counter()
    count, size = work()
    wall, used = time.perf_counter() - begin, processor(pid) - used
    rates = f"{count / wall:9,.0f} /s {count / max(used, 1e-9):9,.0f} per core-second"
    print(f"{name:<24} {rates} {size / count / 1e3:8.1f} KB each")


def seed(state: Path, customers: int) -> None:
    """Make the business in a process of its own, and print what it took."""
    program = (
        "import sys\nfrom pathlib import Path\n"
        "from spojit_stripe.sandbox.app import App\nfrom spojit_stripe.sandbox.clock import Clock\n"
        "from spojit_stripe.sandbox.context import Settings\nfrom spojit_stripe.sandbox.seed import Seed\n"
        "app = App.open(Path(sys.argv[1]), Clock(), Settings())\n"
        "Seed(int(sys.argv[2])).plant(app)\nprint(app.store.counts(0)['charge'])\napp.store.close()\n"
    )
    begin = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", program, str(state), str(customers)], check=True, capture_output=True, text=True
    )
    wall, used = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    charges, cpu = int(done.stdout), used.ru_utime + used.ru_stime
    size = state.stat().st_size / 1e6
    print(
        f"seed of {customers:,} customers, {charges:,} charges: {wall:.1f} s by the clock, {cpu:.1f} s of processor, "
        f"{charges / wall:,.0f} charges/s, {used.ru_maxrss // 1024} MB of memory, a file of {size:,.0f} MB"
    )


def main() -> None:
    """Seed, serve, measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--customers", type=int, default=1_000, help="size of the seed (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of each measurement (default: %(default)s)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "sandbox.db"
        seed(state, given.customers)
        command = [sys.executable, "-m", "spojit_stripe.sandbox", "--port", "0", "--state", str(state)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
            assert server.stdout is not None
            caller = Caller(server.stdout.readline().split()[-1])
            pages(caller, 1.0)  # warm up
            measure("pages of 100 charges", server.pid, lambda: pages(caller, given.seconds))
            person = {"name": "A Person", "email": "a@example.com", "metadata[order]": "6735"}
            measure("customers created", server.pid, lambda: creates(caller, "/v1/customers", person, given.seconds))
            order = {"amount": 1900, "currency": "eur", "source": "tok_visa", "metadata[order_id]": "6735"}
            measure("charges created", server.pid, lambda: creates(caller, "/v1/charges", order, given.seconds))
            print(f"memory of the server: {memory(server.pid)} MB at most")
            server.terminate()


if __name__ == "__main__":
    main()
