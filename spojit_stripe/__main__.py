"""`python -m spojit_stripe` and the console script `spojit-stripe`."""

from __future__ import annotations

import sys

from spojit_stripe.cli.app import run

__all__ = ["main"]


def main() -> int:
    """Run the command line; the result is the exit code."""
    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
