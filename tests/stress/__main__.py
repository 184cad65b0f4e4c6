"""python -m tests.stress [--seconds N] [--seed N]: runs the stress test; see the package."""

import argparse
import sys
import time

from tests.stress.campaign import campaign


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.stress", description=__doc__)
    parser.add_argument("--seconds", type=float, default=45, help="for how long (45)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="the time, if not given")
    parser.add_argument("--scale", type=float, default=1, help="so many times the usual jobs (1)")
    parser.add_argument("--deferrers", type=int, default=2)
    parser.add_argument("--operators", type=int, default=1)
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    violations = campaign(
        given.seconds,
        given.seed,
        scale=given.scale,
        deferrers=given.deferrers,
        operators=given.operators,
        say=lambda text: print(text, flush=True),
    )
    for violation in violations[:50]:
        print(violation)
    if len(violations) > 50:
        print(f"... and {len(violations) - 50} more")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
