"""The PDF: latexmk in a scratch folder, so that nothing but ``main.pdf`` is left behind."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from fedbench import store
from fedbench.config import digest
from fedbench.errors import UserError
from fedbench.files import sha256, write_atomic

MAIN, REFERENCES, PDF, MADE_FROM = "main.tex", "references.bib", "main.pdf", "made_from.json"
HOW = (
    "install TeX Live with latexmk (Debian, Ubuntu: apt-get install latexmk texlive-latex-extra "
    "texlive-fonts-recommended lmodern; macOS: brew install --cask mactex-no-gui), or copy the folder to Overleaf"
)
SECONDS = 600
SHOWN = 12  # lines of LaTeX's log in a message


def build(target: Path) -> Path:
    """Build ``main.pdf`` in ``target`` and note in ``made_from.json`` what from; the same sources give the same bytes.

    Raises:
        UserError: no latexmk, no ``main.tex``, or LaTeX fails.
    """
    if shutil.which("latexmk") is None or shutil.which("pdflatex") is None:
        raise UserError(f"cannot build {target / PDF}: latexmk and pdflatex are not installed; {HOW}.")
    for name in (MAIN, REFERENCES):
        if not (target / name).is_file():
            raise UserError(
                f"cannot build {target / PDF}: no {target / name}; copy it from the folder paper/ of "
                "fedbench's repository, which an installed package does not have, or write your own."
            )
    with tempfile.TemporaryDirectory(prefix="fedbench-paper-") as scratch:
        work = Path(scratch)
        for path in source_files(target):
            copy = work / path.relative_to(target)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
        _latexmk(work, target)
        built = (work / PDF).read_bytes()
        write_atomic(target / PDF, lambda part: _write(part, built))
    record = store.read_json(target / MADE_FROM) or {}
    made = {"sha256": sha256(target / PDF), "sources": sources_digest(target)}
    store.write_json(target / MADE_FROM, record | {"pdf": made})
    return target / PDF


def _write(part: Path, content: bytes) -> None:
    part.write_bytes(content)


def sources_digest(target: Path) -> str:
    """Return the digest of everything the PDF is built from."""
    return digest({path.relative_to(target).as_posix(): sha256(path) for path in source_files(target)})


def source_files(target: Path) -> list[Path]:
    """Return the files that LaTeX reads."""
    found = [path for ending in ("*.tex", "*.bib") for path in target.glob(ending)]
    found += [*target.glob("tables/*.tex"), *target.glob("figures/**/*.pdf")]
    return sorted(path for path in found if path.is_file())


def _latexmk(work: Path, target: Path) -> None:
    command = ["latexmk", "-norc", "-pdf", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", MAIN]
    dates = {"SOURCE_DATE_EPOCH": "0", "FORCE_SOURCE_DATE": "1"}
    try:
        done = subprocess.run(
            command, cwd=work, env=os.environ | dates, capture_output=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise UserError(f"cannot build {target / PDF}: LaTeX took more than {SECONDS} s.") from None
    if done.returncode != 0 or not (work / PDF).is_file():
        log = work / "main.log"
        said = log.read_bytes() if log.is_file() else done.stdout
        raise UserError(f"cannot build {target / PDF}: LaTeX failed:\n{_errors(said.decode(errors='replace'))}")


def _errors(log: str) -> str:
    """Return the lines of the log that say what went wrong, or its end."""
    lines = log.splitlines()
    at = [i for i, line in enumerate(lines) if re.match(r"! |.*:\d+: ", line)]
    chosen = lines[at[0] : at[0] + SHOWN] if at else lines[-SHOWN:]
    return "\n".join(chosen)
