"""How long commands take that train nothing: from the shell's call to the end of the process."""

from __future__ import annotations

from benchmarks.common import Report, Settings, command, interleave, main, output

TITLE = "commands that train nothing"
HEAVY = ("torch", "monai", "ray", "pandas", "matplotlib")
IMPORTED = """
import sys
from fedbench.cli import main
sys.argv[1:] = {line!r}
try:
    main()
except SystemExit:
    pass
sys.stdout.write("imported:" + ",".join(name for name in {heavy!r} if name in sys.modules))
"""


def measure(settings: Settings) -> Report:
    """Make a finished results folder, then time the commands on it in turn."""
    report = Report()
    out = settings.scratch / "results"
    suite = ("--suite", "smoke") if settings.quick else ("--all", "--rounds", "1")  # as many runs as the default suite
    output("-m", "fedbench", "run", *suite, "--out", out)
    runs = len(list(out.glob("*/done")))
    commands: list[tuple[str, tuple[object, ...], float | None]] = [
        ("`fedbench --help`", ("--help",), 0.4),
        ("`fedbench run --help`", ("run", "--help"), None),
        ("`fedbench list algorithms`", ("list", "algorithms"), 1.0),
        ("`fedbench list datasets`", ("list", "datasets"), 1.0),
        (f"`fedbench status` of {runs} finished runs", ("status", "--out", out), 1.0),
        (f"`fedbench run {' '.join(suite)}` with all {runs} runs finished", ("run", *suite, "--out", out), 5.0),
    ]
    tasks = {name: lambda line=line: command("-m", "fedbench", *line) for name, line, _ in commands}
    tasks["`python -c pass`, for comparison"] = lambda: command("-c", "pass")
    times = interleave(tasks, settings.repeats if settings.quick else max(settings.repeats, 10), warmups=1)
    bounds = {name: bound for name, _, bound in commands}
    for name, values in times.items():
        bound = bounds.get(name)
        report.add(name, values, "s", target=("<=", bound) if bound else None)
    for line in (("--help",), ("list", "algorithms"), ("status", "--out", str(out))):
        heavy = output("-c", IMPORTED.format(line=list(line), heavy=HEAVY)).rpartition("imported:")[2]
        report.facts[f"heavy packages imported by {line[0]}"] = heavy
    listed = "; ".join(f"{name.split()[-1]}: {heavy or 'none'}" for name, heavy in report.facts.items())
    report.notes.append(f"Of {', '.join(HEAVY)}, the commands import: {listed}.")
    return report


if __name__ == "__main__":
    main("startup", TITLE, measure)
