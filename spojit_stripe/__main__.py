"""`python -m spojit_stripe` and the console script `spojit-stripe`."""

from __future__ import annotations

import sys

__all__ = ["main"]

_INTERRUPTED = 130


def main() -> int:
    """Run the command line; the result is the exit code."""
    try:
        from spojit_stripe.cli.app import run  # here, so that Ctrl-C is heard while it loads
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return _INTERRUPTED
    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
