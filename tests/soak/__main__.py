"""python -m tests.soak [--seconds N] [--held N] [--rate N] [--keep]: runs the soak; see the package."""

import argparse
import sys

from tests.soak.measuring import faults_of
from tests.soak.soak import soak


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=7_200, help="in all (7,200)")
    parser.add_argument("--held", type=float, default=3_600, help="with a transaction open (3,600)")
    parser.add_argument("--rate", type=float, default=200, help="jobs a second (200)")
    parser.add_argument("--keep", action="store_true", help="prune nothing, to see what is found")
    given = parser.parse_args()
    rest = given.seconds - given.held
    phases = soak(
        warm_up=rest / 3,
        held=given.held,
        after=2 * rest / 3,
        rate=given.rate,
        # Pruning goes in rounds, of which a phase is to have many.
        kept=None if given.keep else min(60, given.seconds / 100),
        say=lambda text: print(text, flush=True),
    )
    faults = faults_of(phases, given.rate, most_memory=20, most_size=20)
    print(*faults, sep="\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
