"""A driver on one node; a second one that sees neither its data, nor its results, nor its plugin, and is lost."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections import defaultdict
from pathlib import Path

import pytest

import fedbench
from fedbench.store import Store
from tests import plugins
from tests.execution.nodes import Cluster, cluster, possible, pull_the_plug
from tests.faults import machine
from tests.faults.machine import PATIENCE, QUICK, Driver, bits, here, make, nothing_half_written
from tests.toys import ROOT, full, write_toy

pytestmark = pytest.mark.skipif(
    not possible(),
    reason="needs `unshare`, `setpriv` and the right to use it (root, or user namespaces): no second node here",
)

NEIGHBOUR = "PAUSE = 0.3\n"
NOTING = '''
"""FedProx that takes its time and writes down which round it begins."""
import os
import time

from fedbench.algorithms.fedprox import FedProx
from neighbour import PAUSE


class Noting(FedProx):
    """Notes its rounds."""

    name = "noting"

    def begin_round(self, client):
        super().begin_round(client)
        with open(os.environ["FEDBENCH_TEST_LOG"], "a") as log:
            log.write(f"{self.params.mu} {client.round}\\n")
        time.sleep(PAUSE)
'''
MUS = (0.1, 0.2, 0.3)


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    """What only the driver sees: data, plugin and its neighbour."""
    folder = tmp_path_factory.mktemp("ground")
    driver = folder / "driver"
    driver.mkdir()
    write_toy(driver / "toy", full(24))
    (driver / "neighbour.py").write_text(NEIGHBOUR)
    plugins.write(driver, "noting", NOTING)
    return folder


@pytest.fixture(scope="module")
def one_node(ground):
    """A cluster of one node of one CPU, the one that drivers join."""
    with cluster(ground) as found:
        found.environment["FEDBENCH_TEST_LOG"] = str(ground / "head.log")
        found.head()
        yield found


@pytest.fixture
def two_nodes(one_node, ground):
    """The same with a second node, to which the driver's folder looks empty."""
    node = one_node.node(2, hidden=[ground / "driver"], FEDBENCH_TEST_LOG=str(ground / "node2.log"))
    yield one_node, node
    pull_the_plug(node)
    for log in ground.glob("*.log"):
        if not log.name.startswith("ray-"):
            log.unlink()


def command(driver: Path, out: str, *arguments: str, mus=MUS) -> list[str]:
    names = [part for mu in mus for part in ("-a", f"noting.py:Noting[mu={mu}]")]
    return [
        sys.executable, "-m", "fedbench", "run", *names, "-d", f"{ROOT / 'tests' / 'toys.py'}:Toy=toy", *QUICK,
        "--rounds", "4", "--checkpoint-seconds", "0", "--out", out, *arguments,
    ]  # fmt: skip


def start(found: Cluster, driver: Path, out: str, **more) -> Driver:
    return machine.start(command(driver, out, "--address", found.address, **more), driver, **found.environment)


def beside(found: Cluster, number: int, driver: Path, out: str, mus, **variables: str) -> tuple[int, str, str]:
    """Run a driver while the cluster has one more node, which has ``variables``; return status, stdout and stderr."""
    node = found.node(number, **variables)
    try:
        process = start(found, driver, out, mus=mus)
        told = process.communicate(timeout=PATIENCE)
    finally:
        pull_the_plug(node)
    return process.returncode, *told


@pytest.fixture(scope="module")
def undisturbed(ground):
    """The bits of the runs in one process."""
    alone = command(ground / "driver", "alone", "--workers", "0")
    status, _, err = here(alone, ground / "driver", FEDBENCH_TEST_LOG=os.devnull)
    assert status == 0, err
    return bits(ground / "driver" / "alone")


def noted(log: Path) -> dict[str, list[int]]:
    """Which rounds of which run began on a node."""
    found: dict[str, list[int]] = defaultdict(list)
    for line in log.read_text().splitlines() if log.exists() else []:
        mu, round = line.split()
        found[mu].append(int(round))
    return found


def test_runs_are_spread_over_a_node_that_sees_nothing_of_the_driver(two_nodes, ground, undisturbed):
    found, _ = two_nodes
    process = start(found, ground / "driver", "runs")
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, out + err
    here, there = noted(ground / "head.log"), noted(ground / "node2.log")
    assert here and there and set(here) | set(there) == {str(mu) for mu in MUS} and not set(here) & set(there)
    root = ground / "driver" / "runs"
    assert sorted(bits(root).values()) == sorted(undisturbed.values())
    nothing_half_written(root)
    assert not list(root.glob("*/progress.json")) and not (root / ".cluster").exists()
    assert {file.name for file in (root / ".views").iterdir()} == {
        file.name for file in (ground / "driver" / "alone" / ".views").iterdir()
    }
    assert len(list((ground / "node2" / "cache" / "prepared").glob("toy-*"))) == 1
    assert not list((ground / "node2" / "cache" / "runs").glob("*/*.s0.*"))


def test_a_node_that_is_lost_in_mid_run_loses_nothing(two_nodes, ground, undisturbed):
    """The plug is pulled once the driver has a checkpoint of the run there; the run goes on from it on the other."""
    found, node = two_nodes
    process = start(found, ground / "driver", "lost")
    root, deadline = ground / "driver" / "lost", time.monotonic() + PATIENCE
    while not (begun := _delivered(root, ground / "node2" / "cache" / "runs")):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.02)
    assert Store(root).running(begun) and Store(root).progress(begun)
    pull_the_plug(node)
    interrupted = list(noted(ground / "node2.log"))[-1]
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, out + err
    assert f"{begun}: node lost; going on" in out or f"{begun}: worker out of reach; going on" in out, out
    assert min(noted(ground / "head.log")[interrupted]) >= 1
    assert sorted(bits(root).values()) == sorted(undisturbed.values())
    nothing_half_written(root)


def _delivered(root: Path, node: Path) -> str | None:
    """The run that works on the other node and of which the driver holds a checkpoint."""
    held = {path.parent.name for path in root.glob("*.s0.*/checkpoint.safetensors")}
    return next((path.parent.name for path in node.glob("*/*.s0.*/progress.json") if path.parent.name in held), None)


def test_a_node_with_another_harness_is_refused_before_anything_runs(one_node, ground):
    other = ground / "other"
    shutil.copytree(Path(fedbench.__file__).parent, other / "fedbench")
    with open(other / "fedbench" / "metrics.py", "a") as source:
        source.write("# another version\n")
    status, _, err = beside(one_node, 3, ground / "driver", "refused", MUS[:1], PYTHONPATH=str(other))
    assert status == 2 and "Traceback" not in err
    assert err.count("error:") == 1 and "127.0.0.3" in err and "fedbench's source is" in err
    assert not list((ground / "driver" / "refused").glob("*.s0.*"))


def test_a_node_whose_cpu_computes_otherwise_is_named_and_used(one_node, ground, undisturbed):
    """Torch is told to use no vector instructions there, as on an older CPU; run.json keeps what each run had.

    The node sees the driver's folders, and uses them where they are.
    """
    log = ground / "node5.log"
    status, out, err = beside(
        one_node, 5, ground / "driver", "mixed", MUS[:2], ATEN_CPU_CAPABILITY="default", FEDBENCH_TEST_LOG=str(log)
    )
    assert status == 0, out + err
    (line,) = [line for line in out.splitlines() if "not the same to the last bit" in line]
    assert "127.0.0.5" in line and "computes with DEFAULT" in line
    assert noted(log)
    found = bits(ground / "driver" / "mixed")
    runs = [json.loads((ground / "driver" / "mixed" / name / "run.json").read_text()) for name in found]
    others = {run["run_id"] for run in runs if run["hardware"]["instructions"] != "DEFAULT"}
    assert len(found) == 2 and len(others) < 2
    assert {found[name] for name in others} <= set(undisturbed.values())
    assert not (ground / "node5" / "cache" / "prepared").exists() and not (ground / "node5" / "cache" / "runs").exists()


def test_an_address_where_no_cluster_is(one_node, tmp_path):
    """Though there is one elsewhere. Also a client's address: the driver must be on a node."""
    for address, words in (("127.0.0.1:1", "no Ray cluster"), ("ray://127.0.0.1:1", "on a node of the cluster")):
        status, _, err = here([*make(tmp_path, "fedavg"), "--workers", "1", "--address", address], tmp_path)
        assert status == 2 and words in err and "Traceback" not in err, err
