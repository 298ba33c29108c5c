"""Run all benchmarks, one process each, and regenerate the tables: ``python -m benchmarks [--quick] [--out FOLDER]``.

``python -m benchmarks tables`` only regenerates the tables from the JSON files.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

from benchmarks.common import NAMES, NOT_HERE, README, RESULTS, ROOT, console, regenerated

PARTICULAR = ("gpu",)  # need what not every machine has, and say so


def main() -> None:
    """Run what is asked for; exit with 1 if a benchmark failed."""
    failed = run(NAMES, sys.argv[1:]) if sys.argv[1:] != ["tables"] else []
    README.write_text(regenerated(README.read_text(encoding="utf-8"), RESULTS), encoding="utf-8")
    if failed:
        console.print(f"failed: {', '.join(failed)}")
        sys.exit(1)


def run(names: Sequence[str], options: Sequence[str]) -> list[str]:
    """Run benchmarks and return those that failed; one that says it cannot be run here is passed over."""
    failed = []
    for name in names:
        code = subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *options], cwd=ROOT).returncode
        if code and not (name in PARTICULAR and code == NOT_HERE):
            failed.append(name)
    return failed


if __name__ == "__main__":
    main()
