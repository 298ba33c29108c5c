"""Plugins that misbehave beside others that do not: the others' results are the same bits as without them."""

from __future__ import annotations

import os
import re
import signal

import pytest

from fedbench.store import Store, read_json
from tests import plugins
from tests.faults.machine import PATIENCE, at_the_gate, bits, finish, here, make, make_gated, open_gate, start

ODD = ("SELFISH", "LASTING", "NOISY", "LEAKING", "HUNGRY")
AFTER = tuple(f"fedprox[mu={mu}]" for mu in (0.01, 0.02, 0.03, 0.04, 0.05))  # one run after each of them


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The bits of five runs of FedProx when no plugin is beside them."""
    folder = tmp_path_factory.mktemp("alone")
    assert here(make(folder, *AFTER, rounds=3), folder)[0] == 0
    found = bits(folder / "runs")
    assert len(found) == len(AFTER)
    return found


@pytest.mark.parametrize("workers", [0, 1])
def test_what_a_plugin_does_to_its_process_does_not_reach_the_next_run(alone, tmp_path, workers):
    """Global random state, torch's settings and hooks, much output, threads left behind, all the memory filled.

    All in the same worker; the first and the last break their own runs, and the failure says why.
    """
    odd = [plugins.write(tmp_path, name.lower(), getattr(plugins, name)) for name in ODD]
    turns = [name for pair in zip(odd, AFTER, strict=True) for name in pair]
    status, out, err = finish(make(tmp_path, *turns, rounds=3, workers=workers), tmp_path)
    assert status == 1
    assert re.findall(r"failed: toy\.(\w+)\.", err) == ["selfish", "hungry"]
    assert re.search(r"failed: \S+hungry\S+: RuntimeError: .*can't allocate memory", err), err
    assert "worker lost" not in out + err
    done = sorted((tmp_path / "runs").glob("*/done"), key=lambda file: file.stat().st_mtime_ns)
    assert [file.parent.name.split(".")[1] for file in done] == [
        "fedprox",
        "lasting",
        "fedprox",
        "noisy",
        "fedprox",
        "leaking",
        "fedprox",
        "fedprox",
    ]
    assert {name: digest for name, digest in bits(tmp_path / "runs").items() if ".fedprox." in name} == alone


def test_one_that_raises_or_diverges_fails_alone(alone, tmp_path):
    raising = plugins.write(tmp_path, "raising", plugins.RAISING)
    diverging = plugins.write(tmp_path, "diverging", plugins.DIVERGING)
    status, _, err = here(make(tmp_path, raising, diverging, AFTER[0], rounds=3), tmp_path)
    assert status == 1 and "the plugin broke" in err
    assert is_one_of(bits(tmp_path / "runs"), alone)
    results = Store(tmp_path / "runs")
    failures = {n.split(".")[1]: read_json(results.folder(n) / "failure.json") for n in results.run_ids()}
    message = failures["diverging"]["error"]
    assert "round 1" in message and "client 'CT'" in message and "odd term" in message
    assert "Traceback" in next((tmp_path / "runs").glob("*raising*/traceback.txt")).read_text()
    assert not list((tmp_path / "runs").glob("*diverging*/cases.parquet"))


@pytest.mark.parametrize(("workers", "clients"), [(0, 1), (0, 2), (1, 1)])
def test_one_that_exits_fails_alone_and_says_so(alone, tmp_path, workers, clients):
    """Its status is that of success: nothing would be said, and no other run would begin."""
    exiting = plugins.write(tmp_path, "exiting", plugins.EXITING)
    command = make(tmp_path, exiting, AFTER[0], rounds=3, workers=workers)
    status, out, err = finish([*command, "--clients-at-once", str(clients)], tmp_path)
    assert status == 1, out + err
    assert re.search(r"failed: toy\.exiting\.\S+: SystemExit: 0; a plugin called sys\.exit", err)
    assert "worker lost" not in out + err
    (trace,) = (tmp_path / "runs").glob("*exiting*/traceback.txt")
    assert "exiting.py" in trace.read_text()
    assert is_one_of(bits(tmp_path / "runs"), alone)


def test_a_worker_that_is_told_to_end_is_none_that_exits(tmp_path):
    """SIGTERM, as a batch system sends it: Ray ends the worker by the same exception; the run goes on in another."""
    command, environment = make_gated(tmp_path, workers=1)
    process = start(command, tmp_path, **environment)
    at_the_gate(tmp_path, process)
    (progress,) = (tmp_path / "runs").glob("*/progress.json")
    os.kill((read_json(progress) or {})["pid"], signal.SIGTERM)
    open_gate(tmp_path)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, out + err
    assert "worker lost" in out + err
    assert len(bits(tmp_path / "runs")) == 1


@pytest.mark.parametrize("workers", [0, 1])
def test_one_that_patches_another_algorithm_fails_and_the_others_run_is_what_it_is(alone, tmp_path, workers):
    patching = plugins.write(tmp_path, "patching", plugins.PATCHING)
    status, _, err = finish(make(tmp_path, patching, AFTER[0], rounds=3, workers=workers), tmp_path)
    assert status == 1
    assert re.search(
        r"failed: toy\.patching\.\S+: 'patching' replaced FedProx\.loss, FedProx\.upload while it ran", err
    )
    assert is_one_of(bits(tmp_path / "runs"), alone)


LOOKING = '''
"""Writes down what its process is like as it begins."""
import gc, os, signal, warnings
import numpy as np
from fedbench.algorithms.fedavg import FedAvg
from fedbench.parameters import hyperparameter

class Looking(FedAvg):
    """Looks."""
    name = "looking"

    class Params(FedAvg.Params):
        number: int = hyperparameter(0, search=[0, 1])

    def begin_round(self, client):
        mask = os.umask(0o22)
        os.umask(mask)
        raised = [f for f in warnings.filters if f[0] == "error"]
        seen = [mask, os.getcwd(), np.geterr(), raised, gc.isenabled(), os.environ.get("TZ")]
        seen.append(signal.getsignal(signal.SIGTERM) == signal.SIG_IGN)
        if not client.round and not client.index:
            with open(os.environ["FEDBENCH_TEST_MARKER"], "a") as file:
                file.write(repr(seen) + chr(10))
'''


@pytest.mark.parametrize("workers", [0, 1])
def test_what_is_not_torchs_is_put_back_too(tmp_path, workers):
    """Results at a relative path, and pictures in folders that are made when the runs are done."""
    looking, untidy = (plugins.write(tmp_path, n, s) for n, s in (("looking", LOOKING), ("untidy", plugins.UNTIDY)))
    turns = (f"{looking}:Looking[number=0]", untidy, f"{looking}:Looking[number=1]")
    command = make(tmp_path, *turns, rounds=2, workers=workers)
    command[command.index("--out") + 1] = "runs"
    process = start(command, tmp_path, FEDBENCH_TEST_MARKER=str(tmp_path / "seen"))
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, out + err
    first, second = (tmp_path / "seen").read_text().splitlines()
    assert first == second
    assert len(bits(tmp_path / "runs")) == 3
    folders = [folder for folder in (tmp_path / "runs").rglob("*") if folder.is_dir()]
    assert folders and all(folder.stat().st_mode & 0o700 == 0o700 for folder in folders)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_thread_that_never_ends_does_not_keep_the_command_from_ending(alone, tmp_path, workers):
    """It is no daemon, so that Python would wait for it; the runs are done and their table is printed."""
    lingering = plugins.write(tmp_path, "lingering", plugins.LINGERING)
    status, out, err = finish(make(tmp_path, lingering, AFTER[0], rounds=3, workers=workers), tmp_path)
    assert status == 0, err
    assert "overlays:" in out and "Traceback" not in out + err
    left = re.findall(r"1 thread that a plugin left behind would not end: lingerer; not waited for", err)
    assert len(left) == (1 if workers == 0 else 0)  # a worker's threads end with it
    found = bits(tmp_path / "runs")
    assert len(found) == 2 and alone.items() & found.items()


def test_nor_does_it_hide_a_failure(tmp_path):
    lingering = plugins.write(tmp_path, "lingering", plugins.LINGERING)
    raising = plugins.write(tmp_path, "raising", plugins.RAISING)
    status, _, err = finish(make(tmp_path, lingering, raising, rounds=2), tmp_path)
    assert status == 1 and "the plugin broke" in err and "lingerer" in err


def is_one_of(found, expected) -> bool:
    """One run is finished, with the bits it was to have."""
    return len(found) == 1 and found.items() <= expected.items()


NAMED = {
    "sends": "round 1, client 'MR': upload 'model.",
    "keeps": "round 1, client 'MR': local entry 'model.",
    "trains": "round 1, client 'MR': local entry 'personal.",
    "remembers": "round 1, client 'MR': memory 'past'",
    "serves": "round 1: memory of the server 'momentum'",
    "deploys": "round 1: global model: 'model.",
}


def test_what_is_kept_sent_or_deployed_is_never_a_result_where_it_is_not_finite(tmp_path):
    """Broken in the very last round; the failure says whose entry it was."""
    file = plugins.write(tmp_path, "not_finite", plugins.NOT_FINITE)
    status, _, err = here(make(tmp_path, *(f"{file}:{n.capitalize()}" for n in NAMED), rounds=2), tmp_path)
    assert status == 1
    assert not bits(tmp_path / "runs")
    for name, words in NAMED.items():
        (failure,) = (tmp_path / "runs").glob(f"toy.{name}.*/failure.json")
        message = read_json(failure)["error"]
        assert message.startswith(f"TrainingDiverged: {words}") and message.endswith("is NaN or infinite"), message
        assert message in err
