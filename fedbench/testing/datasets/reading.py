"""What a dataset reads: volumes as the contract describes them, the same every time, from anywhere."""

from __future__ import annotations

import hashlib
import pickle
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from fedbench.data.inspection import check_contrast, check_volume
from fedbench.data.preparation import prepare
from fedbench.data.prepared import damage, load
from fedbench.dataset import Case, Volume
from fedbench.errors import UserError
from fedbench.testing.datasets.orientation import turned
from fedbench.testing.datasets.subject import FEW, Subject, volume_digest
from fedbench.testing.findings import Broken, NotApplicable, rule
from fedbench.testing.global_state import changed, observe, seeded

TELLING = 30  # voxels of foreground that two patients do not have alike by chance


@rule("volumes", "Volume(image, label, spacing): float32 (channels, X, Y[, Z]), uint8 (X, Y[, Z]), RAS order.")
def volumes(subject: Subject) -> str:
    """What is read has the types, shapes, labels and spacing of the contract."""
    for case in subject.chosen:
        volume = case.read()
        if problem := _wrong(volume):
            raise Broken(f"case {case.id}: {problem}")
        try:
            check_volume(case, volume, subject.dataset, len(subject.dataset.spacing))
            check_contrast(case, volume.image, subject.dataset.intensity[case.modality])
        except UserError as error:
            raise Broken(str(error)) from None
        subject.labels[case.id] = set(np.unique(volume.label).tolist())
    if len(_absent(subject)) == len(subject.dataset.classes):
        raise Broken("no case that was read has any foreground", "are the labels of the files mapped to 1, 2, ...?")
    return f"{len(subject.chosen)} of {len(subject.cases)} cases read"


def _absent(subject: Subject) -> list[str]:
    found = set().union(*subject.labels.values())
    return [name for label, name in enumerate(subject.dataset.classes, start=1) if label not in found]


@rule("classes", "are the labels of the files mapped to 1, 2, ..., in the order of the classes?")
def classes(subject: Subject) -> str:
    """Every class occurs where all cases are read; which one has not occurred so far is said where a few are."""
    for case in subject.chosen:
        if case.id not in subject.labels:
            subject.labels[case.id] = set(np.unique(case.read().label).tolist())
    absent = _absent(subject)
    if absent and subject.most is None:
        raise Broken(f"class '{absent[0]}' occurs in no case")
    return f"none of the cases read has '{absent[0]}'; --all-cases reads all" if absent else "every class occurs"


def _wrong(volume: Volume) -> str | None:
    if not isinstance(volume, Volume):
        return f"read() returned a {type(volume).__name__}, not a Volume"
    for name, array, dtype in (("image", volume.image, np.float32), ("label", volume.label, np.uint8)):
        if not isinstance(array, np.ndarray) or array.dtype != dtype:
            kind = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
            return f"the {name} is {kind}, not {np.dtype(dtype).name}"
    if not all(isinstance(n, int | float) and np.isfinite(n) and n > 0 for n in volume.spacing):
        return f"spacing {volume.spacing!r}: positive numbers, one per axis"
    return None


@rule("again", "read() opens its files anew each time and hands out arrays of its own; it may run in another thread.")
def again(subject: Subject) -> str:
    """Reading a case again gives the same bytes: in this thread, in another, and from a copy sent to a process."""
    few = subject.first(FEW)
    for case in few:
        first = case.read()
        digest = volume_digest(first)
        for array in (first.image, first.label):
            if array.flags.writeable:
                array[...] = 0  # as somebody may who thinks it is theirs
        if volume_digest(case.read()) != digest:
            raise Broken(f"case {case.id}: read twice, it is another volume, or shares its arrays with the first")
        try:
            sent: Case = pickle.loads(pickle.dumps(case))
        except Exception as error:
            raise Broken(
                f"case {case.id} cannot be sent to another process: {error}", "use functools.partial and no lambda."
            ) from None
        with ThreadPoolExecutor(2) as pool:
            others = list(pool.map(lambda each: volume_digest(each.read()), (case, sent)))
        if others != [digest, digest]:
            raise Broken(f"case {case.id}: read in another thread or from a copy, it is another volume")
    return f"{len(few)} cases, each read four times"


@rule("untouched", "raw files are only read; draw from np.random.default_rng(...) seeded by the case.")
def untouched(subject: Subject) -> str:
    """Reading changes no file and nothing of the process: random states, settings, threads."""
    few = subject.first(1)
    files = sorted({path for case in few for path in case.sources})
    stamps = [_stamp(path) for path in files]
    with seeded(65537):
        before = observe()
        for case in few:
            case.read()
        touched = changed(before)
    if touched:
        raise Broken(f"reading changed {', '.join(touched)}")
    for path, stamp in zip(files, stamps, strict=True):
        if _stamp(path) != stamp:
            raise Broken(f"reading changed {path}")
    return f"{len(files)} files and the process are as they were"


def _stamp(path: Path) -> tuple[int, int]:
    return path.stat().st_size, path.stat().st_mtime_ns


@rule(
    "orientation",
    "turn to RAS (fedbench.data.imaging.read_pair does): X to the right, Y to the front, Z up; pictures: Y upwards.",
)
def orientation(subject: Subject) -> str:
    """Axes of NIfTI files arrive in RAS order, with the spacing of their header; those of pictures right and up."""
    seen = 0
    for case in subject.first(FEW):
        for path in case.sources:
            verdict = turned(case.read(), path)
            if verdict:
                raise Broken(f"case {case.id}: {verdict} ({path})")
            seen += verdict is not None
    if not seen:
        raise NotApplicable("no NIfTI file and no picture is the volume or holds it, so axes cannot be compared")
    return f"{seen} files arrive as they say"


@rule("leaks", "the same person under two names gets into training and into test: give one name in all modalities.")
def leaks(subject: Subject) -> str:
    """No two patients show the same image or the same outline."""
    owners: dict[tuple[str, bytes], str] = {}
    for case in subject.chosen:
        volume = case.read()
        keys = [("image", volume.image.tobytes())]
        if np.count_nonzero(volume.label) >= TELLING:
            keys.append(("label map", volume.label.tobytes()))
        for what, content in keys:
            other = owners.setdefault((what, _hash(content)), case.patient)
            if other != case.patient:
                raise Broken(f"patients {other} and {case.patient} have the same {what}")
    return f"{len({case.patient for case in subject.chosen})} patients, all different"


def _hash(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


@rule("prepares", "what read() returns must depend on the case alone, not on the order or the thread of reading.")
def prepares(subject: Subject) -> str:
    """Preparing it twice gives the same digest of its content, by one worker or several."""
    limited = subject.limited(subject.first(1))
    contents = []
    for workers in (1, 2):
        with tempfile.TemporaryDirectory() as cache:
            folder = prepare(limited, "checked", Path(cache), workers=workers)
            if problems := damage(folder):
                raise Broken(problems[0])
            store = load(folder)
            for case in store.cases:
                if not np.isfinite(case.image).all():
                    raise Broken(f"case {case.id}: NaN or infinite after preparation", "is the intensity window empty?")
            contents.append(store.content)
    if contents[0] != contents[1]:
        raise Broken("the second preparation has other content than the first")
    return f"content {contents[0][:12]}, twice"


RULES = (volumes, classes, again, untouched, orientation, leaks, prepares)
