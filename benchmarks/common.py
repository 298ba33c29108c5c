"""What the benchmarks share: interleaved timing, facts about the machine, results as JSON, tables in README.md."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.console import Console

ROOT = Path(__file__).resolve().parents[1]
README = Path(__file__).with_name("README.md")
RESULTS = Path(__file__).with_name("results")
BEGIN, END = "<!-- generated: do not edit below -->", "<!-- generated: do not edit above -->"
# in the README's order
NAMES = ("overhead", "peers", "parallel", "growth", "evaluation", "startup", "precision", "changes", "chaos", "gpu")
NOT_HERE = 2  # exit status of a benchmark that cannot be run on this machine
LONGEST = 3600  # seconds that a command may take
console = Console(highlight=False, soft_wrap=True)


# -- what a benchmark returns --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Spread:
    """Repeats of one measurement."""

    median: float
    low: float
    high: float
    repeats: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Summarise ``values``."""
        numbers = [float(value) for value in values]  # NumPy's compare to what JSON does not know
        return cls(statistics.median(numbers), min(numbers), max(numbers), len(numbers))


@dataclass(frozen=True)
class Row:
    """One line of a benchmark's table.

    Attributes:
        target: ``("<=", 1.05)`` or ``(">=", 5.0)``, compared with the median; None: only shown.
        note: what happened where there is no number.
    """

    what: str
    measured: Spread | None
    unit: str = ""
    target: tuple[str, float] | None = None
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without a target or a measurement."""
        if self.target is None or self.measured is None:
            return None
        sign, bound = self.target
        return self.measured.median <= bound if sign == "<=" else self.measured.median >= bound


@dataclass
class Report:
    """What a benchmark found.

    Attributes:
        facts: anything else worth keeping (settings, versions of peers).
        hardware: of the machine, beyond what :func:`hardware` says; ``gpu`` is shown.
    """

    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    hardware: dict[str, Any] = field(default_factory=dict)

    def add(self, what: str, values: float | Sequence[float], unit: str = "", **more: Any) -> None:
        """Append a row of one or several repeats."""
        self.rows.append(Row(what, Spread.of([values] if isinstance(values, int | float) else values), unit, **more))

    def fail(self, what: str, note: str, **more: Any) -> None:
        """Append a row that could not be measured."""
        self.rows.append(Row(what, None, note=note, **more))


@dataclass(frozen=True)
class Settings:
    """How a benchmark is run. ``quick`` shows that it works; its numbers mean little. ``env``: see ``peers``."""

    quick: bool
    repeats: int
    scratch: Path
    env: Path


# -- timing --------------------------------------------------------------------------------------------------------


def interleave(tasks: Mapping[str, Callable[[], float]], repeats: int, warmups: int = 0) -> dict[str, list[float]]:
    """Call every task ``repeats`` times in turn, each time in the opposite order; return what they returned.

    Whatever disturbs the machine for a while disturbs all of them.
    """
    values: dict[str, list[float]] = {name: [] for name in tasks}
    for repeat in range(-warmups, repeats):
        for name in tasks if repeat % 2 == 0 else reversed(tasks):
            value = tasks[name]()
            if repeat >= 0:
                values[name].append(value)
    return values


def seconds(task: Callable[[], Any]) -> float:
    """Return how long ``task`` takes on the wall."""
    started = time.perf_counter()
    task()
    return time.perf_counter() - started


def ratios(a: Sequence[float], b: Sequence[float]) -> list[float]:
    """Return a/b pair by pair."""
    return [x / y for x, y in zip(a, b, strict=True)]


class NotHere(RuntimeError):
    """This machine lacks what is to be measured."""


class CommandFailed(RuntimeError):
    """A command that is measured ended with an error."""


def command(*arguments: object, python: Path | str = sys.executable, **environment: str) -> float:
    """Run ``python ARGUMENTS`` from the repository's root and return its seconds."""
    return seconds(lambda: output(*arguments, python=python, **environment))


def output(*arguments: object, python: Path | str = sys.executable, **environment: str) -> str:
    """Run ``python ARGUMENTS`` from the repository's root and return its standard output."""
    line = [str(python), *map(str, arguments)]
    env = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"} | environment
    try:
        done = subprocess.run(line, cwd=ROOT, env=env, capture_output=True, text=True, timeout=LONGEST)
    except subprocess.TimeoutExpired:
        raise CommandFailed(f"{' '.join(line)} did not end within {LONGEST} s") from None
    if done.returncode:
        raise CommandFailed(f"{' '.join(line)} ended with {done.returncode}: {(done.stderr or done.stdout)[-1500:]}")
    return done.stdout


# -- facts ---------------------------------------------------------------------------------------------------------


def hardware() -> dict[str, Any]:
    """Name the machine in general terms."""
    names = {
        key.strip(): value.strip()
        for key, _, value in (line.partition(":") for line in _read("/proc/cpuinfo").splitlines())
    }
    flags = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in names.get("flags", "").split()]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cpu = names.get("model name", platform.processor())
    return {
        "cpu": cpu, "vector": flags, "cores": os.cpu_count(), "memory_gib": round(memory, 1),
        "system": f"{platform.system()} {platform.machine()}",
    }  # fmt: skip


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of the packages that are installed."""
    found = {"python": platform.python_version()}
    for name in ("fedbench", "torch", "monai", "numpy", "scipy", "ray", *packages):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def memory(*keys: str) -> dict[str, float]:
    """Return fields of this process's ``/proc/self/status`` (VmRSS, RssAnon, VmHWM) in MiB."""
    fields = dict(line.split(":", 1) for line in _read("/proc/self/status").splitlines())
    return {key: int(fields[key].split()[0]) / 1024 for key in keys}


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


# -- running -------------------------------------------------------------------------------------------------------


def main(name: str, title: str, measure: Callable[[Settings], Report], argv: Sequence[str] | None = None) -> None:
    """Run one benchmark: measure, print, keep the result, put it into README.md."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=title)
    parser.add_argument("--quick", action="store_true", help="only show that it works; kept only with --out")
    parser.add_argument("--repeats", type=int, help="of every measurement (default: 5, quick: 2)")
    parser.add_argument("--out", type=Path, help=f"where the result is kept (default: {RESULTS.relative_to(ROOT)})")
    parser.add_argument("--env", type=Path, default=default_env(), help="the peers' environment (default: %(default)s)")
    options = parser.parse_args(argv)
    repeats = options.repeats or (2 if options.quick else 5)
    line = f"python -m benchmarks.{name}" + " --quick" * options.quick
    line += f" --repeats {options.repeats}" if options.repeats else ""
    before = os.getloadavg()[0]
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix=f"fedbench-{name}-") as scratch:
        try:
            report = measure(Settings(options.quick, repeats, Path(scratch), options.env))
        except NotHere as reason:
            console.print(f"{name}: {reason}")
            sys.exit(NOT_HERE)
    result = {
        "name": name,
        "title": title,
        "command": line,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes"),
        "quick": options.quick,
        "verdict": verdict(report.rows),
        "rows": [asdict(row) | {"met": row.met} for row in report.rows],
        "notes": report.notes,
        "facts": report.facts,
        "hardware": hardware() | report.hardware,
        "versions": versions(),
        "repeats": repeats,
        "seconds": round(time.perf_counter() - started, 1),
        "load_before": round(before, 2),
    }
    console.print(section(result))
    target = options.out or (None if options.quick else RESULTS)
    if target is not None:
        target.mkdir(parents=True, exist_ok=True)
        (target / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if target == RESULTS:
        README.write_text(regenerated(README.read_text(encoding="utf-8"), RESULTS), encoding="utf-8")


def default_env() -> Path:
    """Where the peers are installed unless told otherwise."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "fedbench-peers"


def verdict(rows: Sequence[Row]) -> str:
    """Say how many of the targets are met; a target that could not be measured is not met."""
    aimed = [row for row in rows if row.target is not None]
    if not aimed:
        return "no target"
    return f"{sum(row.met is True for row in aimed)} of {len(aimed)} targets met"


# -- README --------------------------------------------------------------------------------------------------------


def regenerated(readme: str, results: Path) -> str:
    """Return ``readme`` with the part between the markers made from the JSON files in ``results``."""
    head, _, rest = readme.partition(BEGIN)
    tail = rest.partition(END)[2]
    parts = [_section_of(results, name) for name in NAMES]
    return f"{head}{BEGIN}\n\n" + "\n\n".join(parts) + f"\n\n{END}{tail}"


def _section_of(results: Path, name: str) -> str:
    file = results / f"{name}.json"
    if not file.exists():
        return f"### {name}\n\nNot measured yet: `python -m benchmarks.{name}`."
    return section(json.loads(file.read_text(encoding="utf-8")))


def section(result: Mapping[str, Any]) -> str:
    """Return a benchmark's result as Markdown."""
    machine = result["hardware"]
    lines = [
        f"### {result['name']}: {result['title']}",
        "",
        f"**{result['verdict']}**{' (quick mode: the numbers mean little)' if result['quick'] else ''} · "
        f"`{result['command']}` · {result['date'][:10]} · {machine['cpu']}, {machine['cores']} cores, "
        f"{machine['memory_gib']:g} GiB{' · ' + machine['gpu'] if 'gpu' in machine else ''} · "
        f"torch {result['versions'].get('torch')} · "
        f"load before: {result['load_before']:g}",
        "",
        "| what | median | range (repeats) | target | met |",
        "|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        spread, target = row["measured"], row["target"]
        unit = f" {row['unit']}" if row["unit"] else ""
        shown = f"{figure(spread['median'])}{unit}" if spread else row["note"]
        several = spread is not None and spread["repeats"] > 1
        around = f"{figure(spread['low'])}–{figure(spread['high'])} ({spread['repeats']})" if several else ""
        wanted = f"{target[0].replace('<=', '≤').replace('>=', '≥')} {target[1]:g}{unit}" if target else ""
        met = {True: "yes", False: "**no**", None: "not measured" if target else ""}[row["met"]]
        lines.append(f"| {row['what']} | {shown} | {around} | {wanted} | {met} |")
    lines += [f"\n{note}" for note in result["notes"]]
    return "\n".join(lines)


def figure(value: float) -> str:
    """Three significant digits, without exponents for what people read as plain numbers."""
    if value == 0:
        return "0"
    if not 1e-4 <= abs(value) < 1e6:
        return f"{value:.1e}"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:#.3g}".rstrip(".")
