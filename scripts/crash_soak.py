#!/usr/bin/env python3
"""The long form of the crash matrix: runs killed until a number of kills is reached.

    python scripts/crash_soak.py --kills 1000 [--kills-of-a-run 5] [--seed 0]

Every outcome has to equal that of an undisturbed run. About two seconds a kill on two cores;
stop it with Ctrl-C at any time, what was counted so far is printed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from random import Random

from spojit_stripe.testing.crashes import CrashLab


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--kills-of-a-run", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        lab = CrashLab(Path(folder))
        quiet = lab.outcome(kills=0)
        print(f"undisturbed: {quiet.held}")
        number = options.seed
        try:
            while lab.kills < options.kills:
                outcome = lab.outcome(kills=options.kills_of_a_run, chance=Random(number))
                if outcome != quiet:
                    print(f"run {number} differs: {outcome}")
                    return 1
                number += 1
                print(f"{lab.runs} runs, {lab.kills} kills, {time.monotonic() - began:.0f} s", flush=True)
        except KeyboardInterrupt:
            pass
    print(f"{lab.runs} runs with {lab.kills} kills, every one like the undisturbed run")
    return 0


if __name__ == "__main__":
    sys.exit(main())
