"""Every figure of `docs/performance.md`, measured side by side in one run on one machine: `python -m bench`.

Real HTTP on loopback, `appendfsync always`, the JSON log on, both policies computed, a realistic mix of records and
meetings from the simulator, 32 keep-alive connections. Servers take turns, and medians are told. After each load the
state of the service is compared with what the simulator knows; where they differ, the run ends.
"""

import argparse
import os
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from bench.parts import PARTS, Run
from bench.truth import Mismatch

PAGE: Final = Path(__file__).parents[1] / "docs" / "performance.md"
MARK: Final = "<!-- Below this line `make bench` writes. -->"


def conditions(run: Run) -> str:
    """Return a sentence that says where and when this was measured."""
    load = os.getloadavg()[0]
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout
    return (
        f"Measured {datetime.now(UTC):%Y-%m-%d} at {commit.strip() or 'an unknown commit'} with Python"
        f" {platform.python_version()} on {os.cpu_count()} cores ({platform.machine()}), medians of {run.runs} runs;"
        f" load average at the start {load:.1f}. Where that is above 2, others used the machine too, and processor time"
        " tells more than rates."
    )


def main() -> None:
    """Measure, print it as it comes, and write it into the page where it is everything."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure how fast and how large.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"only these, not written: {', '.join(PARTS)}")
    parser.add_argument("--full", action="store_true", help="100,000 live calls and a backlog of a million records")
    asked = parser.parse_args()
    if unknown := set(asked.parts) - set(PARTS):
        parser.error(f"there is no {' and no '.join(sorted(unknown))}")
    run = Run(full=asked.full)
    head = [conditions(run), "", "| what | goal | measured |", "| --- | --- | --- |"]
    print("\n".join(head))
    rows: list[str] = []
    for name in asked.parts or PARTS:
        begun = time.monotonic()
        try:
            for row in PARTS[name](run):
                print(row, flush=True)
                rows.append(row)
        except Mismatch as problem:
            sys.exit(f"{name}: the state is wrong. {problem}")
        print(f"({name} took {time.monotonic() - begun:.0f} s)", file=sys.stderr, flush=True)
    print("\n".join(run.tables))
    if not asked.parts:
        text = PAGE.read_text().partition(MARK)[0]
        PAGE.write_text(f"{text}{MARK}\n\n" + "\n".join([*head, *rows, *run.tables]) + "\n")


if __name__ == "__main__":
    main()
