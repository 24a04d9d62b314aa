"""`python -m spojit_stripe.sandbox`: the command `spojit-stripe sandbox` without the command line's library."""

import argparse
import sys

from spojit_stripe.sandbox import serve as serving
from spojit_stripe.sandbox.errors import SandboxError
from spojit_stripe.sandbox.seed import Seed


def main() -> int:
    """Serve; 0 when stopped, 2 for input that makes no sense, 3 when the file or the port can't be used."""
    parser = argparse.ArgumentParser(
        prog="python -m spojit_stripe.sandbox", description="An offline double of Stripe's API. It is not Stripe."
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", default=12_111, type=int, help="port, 0 for a free one (default: %(default)s)")
    parser.add_argument("--seed", help="start with so many customers, each with about ten charges")
    parser.add_argument("--state", help="keep everything in this file")
    parser.add_argument("--latency", default=0.0, type=float, metavar="MS", help="delay every answer")
    parser.add_argument("--rate", type=float, help="requests per second of an account")
    given = parser.parse_args()
    code = 2
    try:
        seed = None if given.seed is None else Seed.checked(given.seed).customers
        code = 3
        serving(given.host, given.port, given.state, seed, given.latency, given.rate)
    except SandboxError as error:
        sys.stderr.write(f"error: {error}\n")
        return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
