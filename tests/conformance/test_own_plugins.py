"""Our own algorithms and datasets keep the contract."""

from __future__ import annotations

import contextlib
import os
import resource
import time
from pathlib import Path

import pytest

from benchmarks.processes import family
from fedbench import registry
from fedbench.testing import check_algorithm, check_dataset, kit
from tests.datasets.test_amos import write_amos
from tests.datasets.test_brats import write_brats
from tests.datasets.test_chaos import write_chaos
from tests.datasets.test_mmotu import write_mmotu
from tests.datasets.test_mmwhs import write_mmwhs
from tests.datasets.test_nnunet import write_nnunet
from tests.datasets.test_nuclei import write_nuclei
from tests.datasets.test_sts import write_sts

# The options that change what an algorithm does; the defaults are checked by name.
OTHERWISE = ("moon[feature=decoder]", "fedda-cyclic[exchange=features,bank=3]", "fedda-joint[exchange=features,bank=3]")


def cpu_seconds() -> float:
    """What this process has computed so far, with the children that it has had and those that it has."""
    ended, ticks = resource.getrusage(resource.RUSAGE_CHILDREN), 0
    for pid, _ in family(os.getpid()):
        with contextlib.suppress(OSError):  # it ended since, and counts among those
            ticks += sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]))
    return time.process_time() + ended.ru_utime + ended.ru_stime + ticks / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("name", [*registry.discover("algorithm"), *OTHERWISE])
def test_our_own_algorithms_keep_the_contract_and_to_see_it_takes_seconds(name):
    """A minute of CPU is many times what it takes; the clock on the wall would measure what else the machine does."""
    before = cpu_seconds()
    findings = check_algorithm(name)
    assert [finding.rule for finding in findings] == [rule.name for rule in kit.RULES]
    assert cpu_seconds() - before < 60


@pytest.mark.parametrize("name", ["phantom-heart", "phantom-abdomen", "phantom-tumour"])
def test_our_phantoms_keep_the_contract(name):
    findings = check_dataset(f"{name}[size=32]", skip=["orientation"])
    assert [f.rule for f in findings if f.passed is False] == [] and len(findings) >= 10


LOADERS = {  # who writes a miniature, and the rules that it cannot keep
    "amos": (write_amos, ()),
    "brats": (write_brats, ()),
    "chaos": (write_chaos, ["leaks"]),  # the test's patients have squares alike
    "mmotu": (write_mmotu, ["leaks"]),  # ... tumours alike in both modalities
    "mmwhs": (write_mmwhs, ["leaks"]),  # ... hearts alike in both modalities
    "nnunet": (write_nnunet, ()),
    "nuclei": (write_nuclei, ()),
    "sts": (write_sts, ()),
}


@pytest.mark.parametrize("name", LOADERS)
def test_our_loaders_keep_the_contract(tmp_path, name):
    write, skip = LOADERS[name]
    written = write(tmp_path)
    check_dataset(name, path=written or tmp_path, cases=1, skip=skip)


def test_none_of_our_loaders_is_forgotten():
    """Phantoms, which need no folder, are checked above."""
    ours = {name for name, each in registry.discover("dataset").items() if registry.load("dataset", each).needs_path}
    assert ours == set(LOADERS)
