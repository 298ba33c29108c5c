"""Apply every declared mutation to a copy of the tree and run the tests that should notice.

``python -m tests.mutants`` tries all, ``python -m tests.mutants metrics fedprox`` those of files whose names contain a
word. Exit status 1 if a mutation survives, 2 if one cannot be tried: its text is not there once, or the tests
fail without it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from tests.mutants.declared import MUTATIONS, Mutation

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("fedbench", "algorithms", "datasets", "tests", "benchmarks", "pyproject.toml")
PATIENCE = 900  # seconds for the tests of one mutation
PASSED, FAILED = 0, 1  # what pytest says; anything else is not a verdict
console = Console(highlight=False, soft_wrap=True, markup=False)


def copy_tree(target: Path) -> None:
    """Copy what the tests need; plugins are linked to where an installed package has them."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__"), symlinks=True)
        else:
            shutil.copy(source, target / name)
    for plugins in ("algorithms", "datasets"):
        link = target / "fedbench" / plugins
        if not link.exists():
            link.symlink_to(Path("..") / plugins)


def run_tests(tree: Path, files: Sequence[str]) -> tuple[int, str]:
    """Run test files in the copy until one fails: pytest's exit status and the last lines."""
    line = [sys.executable, "-B", "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *files]
    env = os.environ | {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(line, cwd=tree, env=env, capture_output=True, text=True, timeout=PATIENCE)
    return done.returncode, (done.stdout + done.stderr)[-1500:]


def mutated(text: str, mutation: Mutation) -> str | None:
    """Return the text with the mutation; None where what it replaces is not there exactly once."""
    return text.replace(mutation.old, mutation.new) if text.count(mutation.old) == 1 else None


def main(words: Sequence[str]) -> int:
    """Try the mutations; return the exit status."""
    chosen = [m for m in MUTATIONS if not words or any(word in m.file for word in words)]
    with tempfile.TemporaryDirectory(prefix="fedbench-mutants-") as folder:
        tree = Path(folder)
        copy_tree(tree)
        gone = [m for m in chosen if mutated((tree / m.file).read_text(encoding="utf-8"), m) is None]
        for mutation in gone:
            console.print(f"not there once: {mutation.file}: {mutation.old}")
        if gone or not chosen:
            console.print(f"{len(gone)} of {len(chosen)} mutations cannot be applied")
            return 2
        status, text = run_tests(tree, sorted({file for m in chosen for file in m.tests}))
        if status != PASSED:
            console.print(f"the tests fail without any mutation:\n{text}")
            return 2
        return _try_all(tree, chosen)


def _try_all(tree: Path, chosen: Sequence[Mutation]) -> int:
    survived, unclear = 0, 0
    for number, mutation in enumerate(chosen, start=1):
        file = tree / mutation.file
        sound = file.read_text(encoding="utf-8")
        file.write_text(mutated(sound, mutation) or "", encoding="utf-8")
        try:
            status, text = run_tests(tree, mutation.tests)
        finally:
            file.write_text(sound, encoding="utf-8")
        verdict = {PASSED: "SURVIVED", FAILED: "killed"}.get(status, "UNCLEAR")
        survived, unclear = survived + (status == PASSED), unclear + (verdict == "UNCLEAR")
        console.print(f"[{number}/{len(chosen)}] {verdict:<8} {mutation.file}: {mutation.old} -> {mutation.new}")
        if verdict == "UNCLEAR":
            console.print(text)
    console.print(f"{len(chosen) - survived - unclear} of {len(chosen)} mutations killed, {survived} survived")
    return 2 if unclear else int(survived > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
