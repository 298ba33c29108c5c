"""Results on disk: one folder per run id, written atomically, sealed by checksums.

``run.json`` provenance · ``cases.parquet`` one row per client's model, case and class · ``rounds.parquet`` one row per
round, client and metric · ``checkpoint.safetensors`` final training state · ``predictions.npz`` a few predicted slices
per case and ``features.npz`` bottleneck features, both for figures (:mod:`fedbench.views`) · ``done`` the checksums of
the others, written last. A folder without ``done`` is unfinished.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from fedbench.errors import UserError
from fedbench.files import is_locked, sha256, try_lock, write_atomic, write_text
from fedbench.reading import plain_name, read_table, unlinked, unreadable
from fedbench.wording import listed

if TYPE_CHECKING:  # pandas takes most of a second, and to look after runs nobody needs it
    import pandas as pd

RUN = "run.json"
CASES = "cases.parquet"
ROUNDS = "rounds.parquet"
CHECKPOINT = "checkpoint.safetensors"
PREDICTIONS = "predictions.npz"
FEATURES = "features.npz"
PROGRESS = "progress.json"
FAILURE = "failure.json"
TRACEBACK = "traceback.txt"
DONE = "done"
REASON = ".reason.txt"
RUN_ID = re.compile(r"[^./][^/]*\.s\d+\.[^/]+")  # dataset.algorithm.sSEED...; see Cell.id
SEALED = (RUN, CASES, ROUNDS, CHECKPOINT, PREDICTIONS, FEATURES)

IDENTIFYING = ("dataset", "algorithm", "seed", "partition", "data")  # of a record's identity, what frames tell
TOLD = ("started", "ended", "seconds", "steps", "parameters")

LOCKS, QUARANTINE = ".locks", ".quarantine"
OWN = (LOCKS, QUARANTINE, ".views", ".cluster", "figures")  # folders beside those of runs; `.prepared` may be a link

UNWRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM)

Status = Literal["done", "failed", "interrupted", "absent", "damaged"]


class Results(NamedTuple):
    """Tidy frames over all finished runs.

    Columns of all three: ``run_id``, ``dataset``, ``algorithm``, ``setting`` (the algorithm as written, with its
    parameters), ``seed``, ``fold`` (-1: no folds), ``unseen`` (the modality left out of training, or empty) and
    ``partition`` (digest of who held what).

    Attributes:
        runs: one row per run. ``started``, ``ended`` (UTC), ``seconds`` (with scoring), ``steps`` (of the optimiser,
            all clients'), ``parameters`` (of the segmentation network), ``clients_at_once`` (that trained side by
            side, in an attempt with the most), ``identity`` (JSON of all that determined the result: the
            learning rate, ...). Those of a publication have further columns, see
            :class:`fedbench.analysis.evidence.Evidence`.
        cases: one row per client's model, test case and class. ``client``, ``client_modality`` (what it trains on),
            ``deployment`` (global, personal, ...: which of the algorithm's models), ``selection`` (last or
            best-validation: of which round), ``relation`` (of the client to the modality: in, minor, cross, unseen),
            ``modality``, ``patient``, ``case``; ``class`` and ``label`` (its name and number); ``dice``, ``nsd`` and
            ``hd95`` in ``unit`` (mm or px), NaN where both masks are empty; ``volume_truth`` and ``volume_prediction``
            (3-D: ml; 2-D: unit squared; not published); ``flag`` (both-empty; missed: only the prediction is empty;
            false-alarm: only the truth; else empty text).
        rounds: one row per ``round`` (counted from 0), ``client`` (empty text: not of one) and ``metric``, with its
            ``value``: ``segmentation`` (mean loss, as is every further term that an algorithm names),
            ``validation dice`` (of the model that the client would use), ``bytes up``, ``bytes down``, ``seconds`` and
            ``validation seconds``.
    """

    runs: pd.DataFrame
    cases: pd.DataFrame
    rounds: pd.DataFrame


class Store:
    """A folder of runs. Any number of processes may work in it at once; a run is worked on by one of them.

    Args:
        reading: nothing will be written but what is found damaged, which stays where that cannot be; the folder is
            there.

    Attributes:
        left: what is wrong with each run that was found damaged and could not be moved, by its id.

    Raises:
        UserError: the folder cannot be made or written, or one in it that is written into is a symbolic link.
    """

    def __init__(self, root: Path, *, reading: bool = False) -> None:
        self.root = root
        self.left: dict[str, str] = {}
        self._reading = reading
        if reading:
            return
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"cannot write results to {root}: {error.strerror}; choose another folder with --out."
            ) from None
        if not os.access(root, os.W_OK):
            raise UserError(f"cannot write results to {root}: no permission; choose another folder with --out.")
        for name in OWN:
            unlinked(root, name)

    @property
    def prepared(self) -> Path:
        """Where prepared datasets are kept."""
        return self.root / ".prepared"

    def folder(self, run_id: str) -> Path:
        """Return the run's folder (it may not exist).

        Raises:
            UserError: the id is no plain name: a plugin or a prepared store made it up.
        """
        return self.root / plain_name(run_id, "run id")

    def lock(self, run_id: str) -> AbstractContextManager[bool]:
        """Claim a run; yields False if another process has it.

        Raises:
            UserError: its folder, or that of the locks, is a symbolic link: what lies at its end is not to be written.
        """
        if (folder := self.folder(run_id)).is_symlink():
            raise UserError(f"{folder} is a symbolic link, which no run is written through; remove it.")
        unlinked(self.root, LOCKS)
        return try_lock(self._lock_file(run_id))

    def running(self, run_id: str) -> bool:
        """Say whether a living process works on the run."""
        return is_locked(self._lock_file(run_id))

    def _lock_file(self, run_id: str) -> Path:
        return self.root / LOCKS / run_id

    def status(self, run_id: str, *, claimed: bool = False) -> Status:
        """Return how far a run is; ``done`` means its checksums were verified.

        A folder that says it is done but does not match its checksums is moved to ``.quarantine`` and counts as absent;
        one that another process has claimed is left to it. ``damaged``: it cannot be moved, by whoever only reads.

        Args:
            claimed: the caller holds the run's lock.

        Raises:
            UserError: what is done could not be read.
        """
        folder = self.folder(run_id)
        if (folder / DONE).exists():
            problem = broken(folder)
            if problem is None:
                return "done"
            if not claimed:
                return self._claim_and_move(run_id, problem)
            self.quarantine(run_id, problem)
            return "absent"
        if (folder / FAILURE).exists():
            return "failed"
        return "interrupted" if (folder / CHECKPOINT).exists() else "absent"

    def _claim_and_move(self, run_id: str, problem: str) -> Status:
        """Move a run that was found damaged aside, if nobody else has it and that can be done; return its status."""
        unlinked(self.root, LOCKS)
        try:
            with try_lock(self._lock_file(run_id)) as free:  # it may be moved, and made anew, by now
                return self.status(run_id, claimed=True) if free else "absent"
        except OSError as error:
            if not self._reading or error.errno not in UNWRITABLE:
                raise
            self.left[run_id] = (
                f"{problem}; left in {self.folder(run_id)}: {self.root} cannot be written ({error.strerror})"
            )
            return "damaged"

    def quarantine(self, run_id: str, reason: str) -> Path:
        """Move a corrupt folder aside, never delete it; the reason is written beside it.

        The caller holds the run's lock.

        Raises:
            UserError: the place is a symbolic link.
        """
        target = unlinked(self.root, QUARANTINE) / f"{run_id}.{time.time_ns()}"
        target.parent.mkdir(exist_ok=True)
        try:
            os.rename(self.folder(run_id), target)
        except FileNotFoundError:  # another process was first
            return target
        write_text(target.with_name(target.name + REASON), reason + "\n")
        return target

    def set_aside(self) -> dict[str, str]:
        """Return why each folder that is still in ``.quarantine`` was moved there, by its name; oldest first."""
        place = self.root / QUARANTINE
        found = {path.name.removesuffix(REASON): path for path in place.glob(f"*{REASON}")}
        names = sorted((name for name in found if (place / name).is_dir()), key=_moved_at)
        return {name: found[name].read_text(encoding="utf-8").strip() for name in names}

    def run_ids(self) -> list[str]:
        """All runs that have a folder; other folders (figures, tables) are passed over."""
        return sorted(p.name for p in self.root.iterdir() if p.is_dir() and RUN_ID.fullmatch(p.name))

    def progress(self, run_id: str) -> dict[str, Any] | None:
        """Return what the running process last said, None if nothing can be read of it now."""
        with contextlib.suppress(UserError):
            return read_json(self.folder(run_id) / PROGRESS)
        return None


def _moved_at(name: str) -> int:
    stamp = name.rpartition(".")[2]
    return int(stamp) if stamp.isdecimal() else 0


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the object that a JSON file holds, None where there is none or it is no JSON object.

    Raises:
        UserError: it is there and could not be read.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError):  # the last: brackets within brackets
        return None
    except OSError as error:
        raise unreadable(path, error) from None
    return content if isinstance(content, dict) else None


def record(folder: Path) -> dict[str, Any]:
    """Return what a finished run's ``run.json`` says.

    Raises:
        UserError: it holds something else, though it may be sealed.
    """
    run = read_json(folder / RUN) or {}
    identity = run.get("identity")
    lacks = [key for key in ("label", *TOLD) if key not in run]
    lacks += [f"identity.{key}" for key in IDENTIFYING if not isinstance(identity, dict) or key not in identity]
    if isinstance(identity, dict) and not lacks and not isinstance(identity["data"], dict):
        lacks = ["identity.data"]
    if lacks:
        raise UserError(
            f"{folder / RUN} is sealed, but is no record of a run (it lacks {listed(lacks)}); delete {folder}, and "
            "`fedbench run` repeats it."
        )
    return run


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows as parquet, atomically."""
    import pandas as pd

    frame = pd.DataFrame(rows)
    write_atomic(path, lambda part: frame.to_parquet(part, index=False))


def seal(folder: Path) -> None:
    """Write ``done``: from here on the run is finished and any change to it is noticed.

    What attempts that were killed while they wrote have left behind is removed first.
    """
    remove_half_written(folder)
    write_json(folder / DONE, {"sha256": {name: sha256(folder / name) for name in SEALED}})


def remove_half_written(folder: Path) -> None:
    """Remove what attempts that were killed while they wrote have left in a run's folder."""
    for pattern in (".*.part", f".{PROGRESS}.*"):
        for left in folder.glob(pattern):
            left.unlink(missing_ok=True)


def broken(folder: Path) -> str | None:
    """Return what is wrong with a sealed folder, None if nothing is.

    Raises:
        UserError: a file of it is there and could not be read.
    """
    sealed = read_json(folder / DONE)
    if sealed is None or not isinstance(sealed.get("sha256"), dict):
        return f"{DONE} is not readable"
    for name in SEALED:
        checksum = _checksum(folder / name)
        if checksum is None:
            return f"{name} is missing"
        if checksum != sealed["sha256"].get(name):
            return f"{name} does not match its checksum"
    return None


def _checksum(file: Path) -> str | None:
    """Return the digest of a file, None if there is none."""
    try:
        return sha256(file) if file.is_file() else None
    except FileNotFoundError:  # moved aside by another process
        return None
    except OSError as error:
        raise unreadable(file, error) from None


def finished(root: Path) -> Iterator[Path]:
    """Yield the folders of the finished runs under ``root``, by name."""
    for folder in sorted(root.iterdir()) if root.is_dir() else []:
        if (folder / DONE).exists() and not folder.name.startswith("."):
            yield folder


def load_results(path: Path | str, run_ids: list[str] | None = None, *, skip_damaged: bool = False) -> Results:
    """Return the finished runs under ``path`` as tidy frames; nothing is changed on disk.

    Args:
        run_ids: only these runs; None takes all.
        skip_damaged: leave out runs that do not match their checksums.

    Raises:
        UserError: no such folder, or a run does not match its checksums or could not be read.
    """
    import pandas as pd

    from fedbench.differing import attempts_of

    root = Path(path)
    if root.is_file():
        raise UserError(f"no results in {root}: it is a file; name the folder that holds them.")
    if not root.is_dir():
        raise UserError(f"no results in {root}: no such folder.")
    every: list[dict[str, Any]] = []
    runs: list[dict[str, Any]] = []
    cases: list[pd.DataFrame] = []
    rounds: list[pd.DataFrame] = []
    for folder in finished(root):
        if run_ids is not None and folder.name not in run_ids:
            continue
        problem = broken(folder)
        if problem and skip_damaged:
            continue
        if problem:
            raise UserError(
                f"run {folder.name} is corrupt ({problem}); `fedbench status --out {root}` moves it aside, and "
                "`fedbench run` repeats it."
            )
        run = record(folder)
        keys = {"run_id": folder.name} | {key: run["identity"][key] for key in IDENTIFYING if key != "data"}
        data = run["identity"]["data"]
        fold = data.get("fold")
        keys |= {"setting": run["label"], "fold": -1 if fold is None else fold, "unseen": data.get("leave_out") or ""}
        every.append(keys)
        facts = {key: run[key] for key in TOLD}
        at_once = max(attempt.get("clients_at_once", 1) for attempt in attempts_of(run))
        identity = json.dumps(run["identity"], sort_keys=True)
        runs.append(keys | facts | {"clients_at_once": at_once, "identity": identity})
        cases.append(read_table(folder / CASES))
        rounds.append(read_table(folder / ROUNDS))
    return Results(pd.DataFrame(runs), _together(cases, every), _together(rounds, every))


def _together(frames: list[pd.DataFrame], keys: list[dict[str, Any]]) -> pd.DataFrame:
    """Concatenate the runs' tables; each row gets its run's keys."""
    import pandas as pd

    if not frames:
        return pd.DataFrame()
    lengths = [len(frame) for frame in frames]
    columns: dict[str, Any] = {str(name): values.repeat(lengths).array for name, values in pd.DataFrame(keys).items()}
    return pd.concat(frames, ignore_index=True).assign(**columns)
