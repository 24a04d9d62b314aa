"""What a tour is made of: a sandbox, a stage for commands, and a check that each ended as it should."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.request import ProxyHandler, Request, build_opener

if TYPE_CHECKING:
    from spojit_stripe.values import JsonValue

__all__ = ["CUSTOMERS", "KEY_VARIABLE", "Ended", "Stage", "SurpriseError", "examples_dir", "sandbox_process", "say"]

KEY_VARIABLE: Final = "DEMO_STRIPE_KEY"
CUSTOMERS: Final = 12
_KILLED: Final = -9
_PATIENCE: Final = 30.0
_WIDTH: Final = 132


def examples_dir() -> Path:
    """The folder of the example workflows, in a checkout or in an installation."""
    package = Path(__file__).parents[2]
    inside = package / "examples"
    return inside if inside.is_dir() else package.parent / "examples"


class SurpriseError(Exception):
    """A step ended otherwise than it should."""


@dataclass(frozen=True, slots=True)
class Ended:
    code: int
    text: str

    def find(self, pattern: str) -> str:
        match = re.search(pattern, self.text)
        if match is None:
            raise SurpriseError(f"{pattern!r} is not in the output")
        return match.group()


def say(text: str = "") -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


@contextlib.contextmanager
def sandbox_process(folder: Path) -> Generator[tuple[str, str]]:
    """A sandbox process on a free port: its URL and its secret key."""
    arguments = ["sandbox", "--port", "0", "--seed", str(CUSTOMERS)]
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
                raise SurpriseError((folder / "sandbox.log").read_text().strip() or "the sandbox did not start")
            yield told["url"], told["secret key"]
        finally:
            process.terminate()


def _command(arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "spojit_stripe", *arguments]


class Stage:
    """Where commands are shown and run: a folder of its own, a sandbox's URL, an environment."""

    def __init__(self, folder: Path, url: str, key: str) -> None:
        self.url = url
        # Wide enough for the columns that the tour looks for; a narrower window wraps.
        width = max(shutil.get_terminal_size((_WIDTH, 40)).columns, _WIDTH)
        self._environment: Mapping[str, str] = {
            **{name: value for name, value in os.environ.items() if not name.startswith("SPOJIT_")},
            "SPOJIT_CONNECTIONS": str(folder / "connections.yaml"),
            "SPOJIT_STATE": str(folder / "state"),
            KEY_VARIABLE: key,
            "PYTHONUNBUFFERED": "1",  # so that data and words come in their order
            "PYTHONIOENCODING": "utf-8",
            "COLUMNS": str(width),
        }

    def with_(self, environment: Mapping[str, str]) -> None:
        """Give the commands more of an environment."""
        self._environment = {**self._environment, **environment}

    def title(self, text: str) -> None:
        say(f"\n== {text}")

    def prompt(self, arguments: Sequence[str]) -> None:
        say(f"\n$ {shlex.join(['spojit-stripe', *arguments])}")

    def call(self, arguments: Sequence[str], *, code: int = 0, words: Sequence[str] = ()) -> Ended:
        """Run a command, show it with its output, and hold it against what is expected."""
        self.prompt(arguments)
        done = subprocess.run(  # noqa: S603 # our own command
            _command(arguments),
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            check=False,
        )
        say(done.stdout.rstrip())
        if done.returncode:
            say(f"(exit code {done.returncode})")
        if done.returncode != code:
            raise SurpriseError(f"exit code {done.returncode} instead of {code}")
        ended = Ended(done.returncode, done.stdout)
        for pattern in words:
            ended.find(pattern)
        return ended

    def kill_in_flight(self, arguments: Sequence[str], method: str, path: str, what: str) -> None:
        """Run a command and kill it once the sandbox has its request, and before it has the answer."""
        self.control("faults", {"method": method, "path": path, "hold": "after"})
        say(f"\n(The sandbox is told to {what} and keep its answer back.)")
        self.prompt(arguments)
        with subprocess.Popen(  # noqa: S603 # our own command
            _command(arguments),
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
        ) as process:
            ends = time.monotonic() + _PATIENCE
            while not self.control("holds"):
                if process.poll() is not None or time.monotonic() > ends:
                    process.kill()
                    raise SurpriseError(f"{method} {path} did not get to the sandbox")
                time.sleep(0.02)
            process.kill()
            text, _ = process.communicate()
        say(f"{text.rstrip()}\nKilled")
        self.control("release", {})
        if process.returncode not in (_KILLED, 1):  # Windows knows no signals
            raise SurpriseError(f"the killed command ended with {process.returncode}")

    def control(self, action: str, body: JsonValue = None) -> JsonValue:
        """The sandbox's control API; Stripe has nothing like it."""
        data = None if body is None else json.dumps(body).encode()
        request = Request(  # noqa: S310 # our own sandbox
            f"{self.url}/_sandbox/{action}", data=data, headers={"Content-Type": "application/json"}
        )
        with build_opener(ProxyHandler({})).open(request, timeout=_PATIENCE) as answer:
            return json.load(answer)
