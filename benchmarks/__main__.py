"""Run all benchmarks, one process each, and regenerate the tables: ``python -m benchmarks [--quick] [--out FOLDER]``.

``python -m benchmarks tables`` only regenerates the tables from the JSON files.
"""

from __future__ import annotations

import subprocess
import sys

from benchmarks.common import NAMES, README, RESULTS, ROOT, console, regenerated


def main() -> None:
    """Run what is asked for; exit with 1 if a benchmark failed."""
    failed = []
    if sys.argv[1:] != ["tables"]:
        for name in NAMES:
            line = [sys.executable, "-m", f"benchmarks.{name}", *sys.argv[1:]]
            if subprocess.run(line, cwd=ROOT).returncode:
                failed.append(name)
    README.write_text(regenerated(README.read_text(encoding="utf-8"), RESULTS), encoding="utf-8")
    if failed:
        console.print(f"failed: {', '.join(failed)}")
        sys.exit(1)


if __name__ == "__main__":
    main()
