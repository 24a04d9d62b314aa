"""`sandbox`: a local double of Stripe, for trying things out without an account."""

from __future__ import annotations

from pathlib import Path

import click

from spojit_stripe.cli.base import Command
from spojit_stripe.errors import ConfigurationError

__all__ = ["sandbox"]


@click.command("sandbox", cls=Command, acts=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=12111,
    show_default=True,
    metavar="N",
    help="Port to listen on; 0 takes a free one.",
)
@click.option("--seed", type=click.IntRange(min=1), metavar="N", help="Start with N customers and what they bought.")
@click.option("--state", "file", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Keep it here.")
@click.option("--latency", type=click.FloatRange(min=0), default=0.0, metavar="MS", help="Delay every answer.")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), metavar="N", help="Requests per second allowed.")
def sandbox(host: str, port: int, seed: int | None, file: Path | None, latency: float, rate: float | None) -> int:
    """Serve a local double of Stripe until stopped. It is not Stripe, and no money moves.

    Prints its URL and keys. Add it as a connection with --base-url.
    """
    from spojit_stripe.sandbox import SandboxError, serve

    try:
        serve(host, port, state=file, seed=seed, latency_ms=latency, rate=rate)
    except SandboxError as error:
        raise ConfigurationError(str(error)) from None
    return 0
