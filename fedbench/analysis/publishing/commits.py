"""Which code made runs, by what they say, and which commit holds it, by git's history; nothing is checked out.

`fedbench publish` notes it; `python -m fedbench.analysis.publishing.commits results/published` does for all that is
there.
"""

from __future__ import annotations

import ast
import hashlib
import json
import subprocess
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

from fedbench.analysis.evidence import Evidence
from fedbench.analysis.loading import MANIFEST, published_folders
from fedbench.errors import UserError
from fedbench.store import read_json, write_json
from fedbench.wording import listed

COMMITS = "commits.json"  # beside published folders: digest of a harness -> a commit that holds it
MODULES = "RESULT_MODULES"
WRITTEN_IN = ("sources", "registry")  # where a commit says which modules these are; earlier ones in the second


def one_version(evidence: Evidence) -> dict[str, str]:
    """Return version and code digest of the harness that made all runs.

    Raises:
        UserError: they were made by several.
    """
    found: dict[tuple[str, str], list[str]] = {}
    for run_id, text in zip(evidence.runs["run_id"], evidence.runs["identity"], strict=True):
        identity = json.loads(text)
        found.setdefault((str(identity["fedbench"]), str(identity["harness"])), []).append(str(run_id))
    if len(found) > 1:
        held = "; ".join(f"{version} ({code[:12]}): {listed(ids)}" for (version, code), ids in sorted(found.items()))
        raise UserError(
            f"{evidence.source}: the runs were made by {len(found)} versions of fedbench's code ({held}), so they are "
            "not comparable. Publish the runs of one: --suite NAME takes those of today's code, or use another folder."
        )
    version, code = next(iter(found))
    return {"fedbench": version, "harness": code}


def note(published: Path, checkout: Path = Path(__file__).parents[3]) -> dict[str, str]:
    """Write into ``published`` which commits hold the harnesses of all published folders; return it.

    What was noted before stays. Outside a checkout with a history nothing is known and nothing is written.
    """
    known: dict[str, str] = read_json(published / COMMITS) or {}
    manifests = [read_json(folder / MANIFEST) or {} for folder in published_folders(published)]
    codes = [code for manifest in manifests for code in (manifest, *manifest.get("added", ()))]
    wanted = {code["runs by"]["harness"] for code in codes if "runs by" in code} - known.keys()
    if found := commits_of(wanted, checkout):
        write_json(published / COMMITS, dict(sorted({**known, **found}.items())))
    return {**known, **found}


def commits_of(digests: Collection[str], checkout: Path) -> dict[str, str]:
    """Return the newest commit that holds each harness, by its digest (:mod:`fedbench.sources`), where there is one."""
    wanted, found = set(digests), dict[str, str]()
    made: dict[tuple[str, ...], str] = {}
    for commit in _git(checkout, "log", "--format=%H").decode().split() if wanted else ():
        blobs = tuple(_blobs(checkout, commit))
        if not blobs:
            continue
        if blobs not in made:
            made[blobs] = hashlib.sha256(b"".join(_git(checkout, "cat-file", "blob", b) for b in blobs)).hexdigest()
        if made[blobs] in wanted:
            found.setdefault(made[blobs], commit)
            wanted.discard(made[blobs])
        if not wanted:
            break
    return found


def _blobs(checkout: Path, commit: str) -> Iterator[str]:
    """Yield git's names of the files of the harness modules in a commit; none where it does not say which they are."""
    lines = _git(checkout, "ls-tree", "-r", commit, "fedbench/").decode().splitlines()
    names = {path.removeprefix("fedbench/"): meta.split()[2] for meta, _, path in (x.partition("\t") for x in lines)}
    for source in WRITTEN_IN:
        text = _git(checkout, "cat-file", "blob", names[f"{source}.py"]) if f"{source}.py" in names else b""
        if MODULES.encode() in text:
            files = [f"{module}.py" for module in _modules(text)]
            if all(file in names for file in files):
                yield from (names[file] for file in files)
            return


def _modules(source: bytes) -> tuple[str, ...]:
    """Return what a source file assigns to :data:`MODULES`; nothing if it does not."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and [getattr(target, "id", "") for target in node.targets] == [MODULES]:
            return tuple(ast.literal_eval(node.value))
    return ()


def _git(checkout: Path, *arguments: str) -> bytes:
    """Return what git prints; nothing where there is no git or no history."""
    try:
        return subprocess.run(["git", *arguments], cwd=checkout, capture_output=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        return b""


if __name__ == "__main__":
    for digest, commit in note(Path(sys.argv[1])).items():
        sys.stdout.write(f"{digest[:12]} is held by commit {commit}\n")
