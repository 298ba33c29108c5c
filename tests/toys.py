"""Small datasets without phantoms: a plugin that reads ``.npz`` files, and prepared cases made directly.

This file is a plugin file too: ``-d tests/toys.py:Toy=FOLDER``.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fedbench.config import DataConfig
from fedbench.data.preparation import prepare
from fedbench.data.prepared import PreparedCase, PreparedDataset
from fedbench.dataset import Case, Dataset, Intensity, Volume

MODALITIES = ("CT", "MR", "PET")
ROOT = Path(__file__).resolve().parents[1]
TOY = f"{Path(__file__).resolve()}:Toy"


class Toy(Dataset):
    """Files ``PATIENT.MODALITY.SITE.npz``; a file ``fault`` ("raise ID" or "kill ID") breaks the reading of a case.

    A file ``slow`` makes reading slow.
    """

    name = "toy"
    modalities = MODALITIES
    classes = ("organ", "tumour")
    intensity = {
        "CT": Intensity("window", -100.0, 100.0),
        "MR": Intensity("percentile", 0.0, 100.0),
        "PET": Intensity("window", 0.0, 100.0),
    }
    spacing = (1.0, 1.0, 4.0)
    size = (16, 16)

    def cases(self) -> list[Case]:
        """In the order of the file names."""
        files = sorted(self.path.glob("*.npz"))
        names = [file.name.split(".") for file in files]
        return [
            Case(patient, modality, partial(_read, file), site, (file,))
            for file, (patient, modality, site, _) in zip(files, names, strict=True)
        ]


class ToyBackwards(Toy):
    """The same cases listed from the last to the first, the modalities too."""

    name = "toy"
    modalities = MODALITIES[::-1]

    def cases(self) -> list[Case]:
        """In the opposite order."""
        return super().cases()[::-1]


def _read(file: Path) -> Volume:
    with open(file.parent / "reads.log", "a") as log:
        log.write(f"{file.name}\n")
    if (file.parent / "slow").exists():
        time.sleep(0.05)
    fault = file.parent / "fault"
    if fault.exists():
        action, _, name = fault.read_text().partition(" ")
        if file.name.startswith(name):
            if action == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise RuntimeError(f"cannot read {name}")
    with np.load(file) as arrays:
        return Volume(arrays["image"], arrays["label"], tuple(arrays["spacing"].tolist()))


def reads(folder: Path) -> int:
    """How many images were read so far, in all processes."""
    log = folder / "reads.log"
    return len(log.read_text().splitlines()) if log.exists() else 0


def full(n: int, modalities: Sequence[str] = MODALITIES) -> dict[str, Sequence[str]]:
    """``n`` patients who have all modalities."""
    return {f"P{i:02d}": modalities for i in range(n)}


def write_volume(
    folder: Path,
    patient: str,
    modality: str,
    image: np.ndarray,
    label: np.ndarray,
    spacing: Sequence[float],
    site: str = "A",
) -> Path:
    """One file of :class:`Toy`."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{patient}.{modality}.{site}.npz"
    np.savez(file, image=image, label=label, spacing=np.asarray(spacing, float))
    return file


def write_toy(
    folder: Path,
    have: Mapping[str, Sequence[str]],
    shape: Sequence[int] = (16, 16, 2),
    spacing: Sequence[float] = (1.0, 1.0, 4.0),
) -> Path:
    """Random volumes of the patients and modalities in ``have``; every label occurs in each."""
    for number, (patient, modalities) in enumerate(sorted(have.items())):
        for modality in modalities:
            rng = np.random.default_rng([number, MODALITIES.index(modality)])
            label = np.zeros(shape, np.uint8)
            label[2:6, 3:9] = 1
            label[8:12, 3:9] = 2
            image = (40.0 * label + rng.normal(0, 5, (1, *shape))).astype(np.float32)
            write_volume(folder, patient, modality, image, label, spacing, site="AB"[number % 2])
    return folder


def prepare_toy(folder: Path, cache: Path, code: str = "v1", **data: Any) -> Path:
    """Prepare ``Toy(folder)``, one case at a time; a function so that another process can be asked to."""
    return prepare(Toy(folder), code, cache, DataConfig(**data), workers=1)


def listing(have: Mapping[str, Iterable[str]], modalities: Sequence[str] = MODALITIES) -> PreparedDataset:
    """A prepared dataset without arrays, for whoever only deals cases out."""
    cases = tuple(
        PreparedCase(f"{p}/{m}", p, m, "", (1.0, 1.0, 4.0), (8, 8, 2), f"content of {p}/{m}", f"/nowhere/{p}-{m}")
        for p, theirs in have.items()
        for m in theirs
    )
    return PreparedDataset(
        name="toy",
        modalities=tuple(modalities),
        classes=("organ",),
        size=(16, 16),
        mirror_axes=(),
        regions={"organ": (1,)},
        channels=1,
        cases=cases,
        content="content",
    )


def stored_case(folder: Path, patient: str, image: np.ndarray, label: np.ndarray, modality: str = "CT") -> PreparedCase:
    """A prepared case of the given arrays ``(Z, C, X, Y)`` and ``(Z, X, Y)``."""
    stem = folder / f"{patient}-{modality}"
    np.save(f"{stem}.image.npy", image.astype(np.float32))
    np.save(f"{stem}.label.npy", label.astype(np.uint8))
    z, x, y = label.shape
    return PreparedCase(f"{patient}/{modality}", patient, modality, "", (1.0, 1.0, 4.0), (x, y, z), "", str(stem))


def in_another_process(code: str, hash_seed: int = 0, path: Path | None = None) -> str:
    """Run ``code`` in a fresh interpreter (``path`` on its PYTHONPATH) and return what it printed."""
    environment = os.environ | {
        "PYTHONHASHSEED": str(hash_seed),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(str(p) for p in (path, ROOT) if p),
    }
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=environment, capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def refused(result: tuple[int, str, str], *words: str) -> None:
    """A command answered with one message that holds ``words``, and exit status 2."""
    status, _, err = result
    assert status == 2
    assert "Traceback" not in err
    assert err.count("error:") == 1
    for word in words:
        assert word in err, err
