"""`demo`: a narrated tour. Real commands over real HTTP, against a sandbox of its own.

Every step says which exit code and which words it expects; the tour fails where one differs.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.request import ProxyHandler, Request, build_opener

import click

from spojit_stripe.cli.base import Command
from spojit_stripe.cli.report import note

if TYPE_CHECKING:
    from spojit_stripe.values import JsonValue

__all__ = ["demo"]

KILLED: Final = -9
_REFUSED: Final = 4
_PATIENCE: Final = 30.0
_WIDTH: Final = 132
_CUSTOMERS: Final = 12
_KEY_VARIABLE: Final = "DEMO_STRIPE_KEY"


@click.command("demo", cls=Command, acts=True)
@click.option("--keep", is_flag=True, help="Keep the folder with the connections and the ledger.")
def demo(keep: bool) -> int:
    """A narrated tour: list, charge once despite a crash, refund under a policy.

    It starts a sandbox on this machine, works in a folder of its own, and needs neither an
    account nor a network.
    """
    folder = Path(tempfile.mkdtemp(prefix="spojit-stripe-demo-"))
    try:
        with _sandbox(folder) as (url, key):
            _Tour(folder, url, key).run()
    except _SurpriseError as surprise:
        sys.stdout.flush()
        note(f"error: the demo did not go as it should: {surprise}")
        return 1
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
    if keep:
        note(f"kept: {folder} (use it with --connections {folder}/connections.yaml --state {folder}/state)")
    return 0


class _SurpriseError(Exception):
    """A step ended otherwise than it should."""


@dataclass(frozen=True, slots=True)
class _Ended:
    code: int
    text: str

    def find(self, pattern: str) -> str:
        match = re.search(pattern, self.text)
        if match is None:
            raise _SurpriseError(f"{pattern!r} is not in the output")
        return match.group()


def _say(text: str = "") -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


@contextlib.contextmanager
def _sandbox(folder: Path) -> Generator[tuple[str, str]]:
    """A sandbox process on a free port: its URL and its secret key."""
    arguments = ["sandbox", "--port", "0", "--seed", str(_CUSTOMERS)]
    with (
        (folder / "sandbox.log").open("w") as log,
        subprocess.Popen(_command(arguments), stdout=subprocess.PIPE, stderr=log, text=True) as process,  # noqa: S603
    ):
        try:
            told: dict[str, str] = {}
            for line in process.stdout or ():
                name, _, value = line.strip().partition("  ")
                told[name] = value.strip()
                if "url" in told and "secret key" in told:
                    break
            else:
                raise _SurpriseError((folder / "sandbox.log").read_text().strip() or "the sandbox did not start")
            yield told["url"], told["secret key"]
        finally:
            process.terminate()


def _command(arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "spojit_stripe", *arguments]


class _Tour:
    def __init__(self, folder: Path, url: str, key: str) -> None:
        self._url = url
        # Wide enough for the columns that the tour looks for; a narrower window wraps.
        width = max(shutil.get_terminal_size((_WIDTH, 40)).columns, _WIDTH)
        self._environment: Mapping[str, str] = {
            **{name: value for name, value in os.environ.items() if not name.startswith("SPOJIT_")},
            "SPOJIT_CONNECTIONS": str(folder / "connections.yaml"),
            "SPOJIT_STATE": str(folder / "state"),
            _KEY_VARIABLE: key,
            "PYTHONUNBUFFERED": "1",  # so that data and words come in their order
            "PYTHONIOENCODING": "utf-8",
            "COLUMNS": str(width),
        }

    def run(self) -> None:
        _say("A tour of spojit_stripe. The commands are real, the server is a sandbox on this machine: not Stripe.")
        _say(f"It listens on {self._url} with {_CUSTOMERS} customers; its key is in ${_KEY_VARIABLE}.")
        self._tools()
        self._connections()
        self._charges()
        customer, charge = self._charge_once()
        self._refund(charge)
        self._ledger(customer, charge)
        _say("\nThat is all: nothing twice, nothing without leave, and every write on record.")

    # The steps

    def _tools(self) -> None:
        self._title("What can be called")
        self._call(["tools"], words=["create-charge", "list-charges", "raw-api-request"])

    def _connections(self) -> None:
        self._title("Two connections to the same account: one that only reads, one that may write within a cap")
        reference = ["--secret-key", f"${{env:{_KEY_VARIABLE}}}", "--mode", "test", "--base-url", self._url]
        self._call(["connections", "add", "books", *reference])
        self._call(["connections", "add", "till", *reference, "--writes", "allow", "--cap-per-call", "20000:usd"])
        self._call(["connections", "list"], words=["books", "deny", "till", "allow"])
        self._call(["connections", "test", "books"], words=["list-charges", "works"])

    def _charges(self) -> None:
        self._title("Charges, filtered by status: Stripe's list can't, so it is done here, and says so")
        self._call(
            ["call", "list-charges", "--connection", "books", "--status", "failed", "--all"],
            words=["ch_", "failed", r"\d\.\d\d [A-Z]{3}|\d [A-Z]{3}", "filtered here", r"charges?, .*complete, "],
        )

    def _charge_once(self) -> tuple[str, str]:
        self._title("A customer is created and charged; the program is killed while the charge is in flight")
        made = self._call(
            [
                *("call", "create-customer", "--connection", "till", "--run-id", "order-6735-customer"),
                *("--name", "Ada Example", "--email", "ada@example.com", "--source", "tok_visa", "--format", "table"),
            ],
            words=["cus_"],
        )
        customer = made.find(r"\bcus_\w+")
        charge = [
            *("call", "create-charge", "--connection", "till", "--run-id", "order-6735-charge"),
            *("--customer", customer, "--amount", "10500", "--currency", "usd", "--metadata", "order_id=6735"),
            *("--format", "table"),
        ]
        self._call([*charge, "--dry-run"], words=[r"105\.00 USD", "allow:", "nothing was sent"])
        self._kill_in_flight(charge)
        _say("\nThe money may have moved; nobody here knows. The ledger has the call, written before it was sent:")
        self._call(["ledger", "list", "--writes"], words=[r"POST /v1/charges +105\.00 USD +open"])
        _say("\nThe same command with the same run id asks under the same key, so Stripe can't charge again:")
        again = self._call(charge, words=["ch_", "stored answer"])
        _say("\nAnd once more; now the ledger knows, and nothing is sent:")
        self._call(charge, words=["ch_", "nothing was sent"])
        _say("\nThe customer's charges, as Stripe lists them: exactly one.")
        self._call(
            ["call", "list-charges", "--connection", "books", "--customer", customer, "--all"],
            words=[r"105\.00 USD", r"\b1 charge, complete"],
        )
        return customer, again.find(r"\bch_\w+")

    def _kill_in_flight(self, arguments: Sequence[str]) -> None:
        self._control("faults", {"method": "POST", "path": "/v1/charges", "hold": "after"})
        _say("\n(The sandbox is told to make the charge and keep its answer back.)")
        self._prompt(arguments)
        with subprocess.Popen(  # noqa: S603 # our own command
            _command(arguments),
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
        ) as process:
            ends = time.monotonic() + _PATIENCE
            while not self._control("holds"):
                if process.poll() is not None or time.monotonic() > ends:
                    process.kill()
                    raise _SurpriseError("the charge did not get to the sandbox")
                time.sleep(0.02)
            process.kill()
            text, _ = process.communicate()
        _say(f"{text.rstrip()}\nKilled")
        self._control("release", {})
        if process.returncode not in (KILLED, 1):  # Windows knows no signals
            raise _SurpriseError(f"the killed command ended with {process.returncode}")

    def _refund(self, charge: str) -> None:
        self._title("A refund, which has no tool of its own: refused by the connection that only reads, then allowed")
        refund = [
            *("call", "raw-api-request", "--run-id", "refund-6735", "--method", "POST", "--path", "/v1/refunds"),
            *("--param", f"charge={charge}", "--param", "amount=2500", "--format", "table"),
        ]
        self._call([*refund, "--connection", "books"], code=_REFUSED, words=["writes are denied"])
        self._call([*refund, "--connection", "till"], words=["re_", r"25\.00 USD"])

    def _ledger(self, customer: str, charge: str) -> None:
        self._title("The ledger of it all")
        self._call(["ledger", "list"], words=[customer, charge, "re_", r"25\.00 USD +done", r"105\.00 USD +done"])

    # Means

    def _title(self, text: str) -> None:
        _say(f"\n== {text}")

    def _prompt(self, arguments: Sequence[str]) -> None:
        _say(f"\n$ {shlex.join(['spojit-stripe', *arguments])}")

    def _call(self, arguments: Sequence[str], *, code: int = 0, words: Sequence[str] = ()) -> _Ended:
        """Run a command, show it with its output, and hold it against what is expected."""
        self._prompt(arguments)
        done = subprocess.run(  # noqa: S603 # our own command
            _command(arguments),
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            check=False,
        )
        _say(done.stdout.rstrip())
        if done.returncode:
            _say(f"(exit code {done.returncode})")
        if done.returncode != code:
            raise _SurpriseError(f"exit code {done.returncode} instead of {code}")
        ended = _Ended(done.returncode, done.stdout)
        for pattern in words:
            ended.find(pattern)
        return ended

    def _control(self, action: str, body: JsonValue = None) -> JsonValue:
        """The sandbox's control API; Stripe has nothing like it."""
        data = None if body is None else json.dumps(body).encode()
        request = Request(  # noqa: S310 # our own sandbox
            f"{self._url}/_sandbox/{action}", data=data, headers={"Content-Type": "application/json"}
        )
        with build_opener(ProxyHandler({})).open(request, timeout=_PATIENCE) as answer:
            return json.load(answer)
