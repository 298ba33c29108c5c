"""The benchmarks compare like with like, and their tables are what the JSON files say. Nothing here is timed."""

from __future__ import annotations

import json
import sys
import time
import tomllib
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import __main__ as everything
from benchmarks import bare, common, evaluation, gpu, gpu_agreement, gpu_packing, workloads
from benchmarks.common import Report, Row, Spread
from fedbench.algorithms.fedavg import FedAvg
from tests.federations import make_federation, make_training, trained

# -- the bare loop -------------------------------------------------------------------------------------------------

NETWORKS = {
    "unet": {"name": "unet", "norm": "instance-plain", "channels": (4, 8)},
    "basicunet": {"name": "basicunet", "channels": (4, 4, 8, 8, 8)},
}


@pytest.mark.parametrize(
    ("network", "precision", "optimizer"),  # every two of their values together
    [("unet", "fp32", "sgd"), ("unet", "bf16", "adam"), ("basicunet", "fp32", "adam"), ("basicunet", "bf16", "sgd")],
)
def test_the_bare_loop_gives_the_bits_of_fedbench(tmp_path, network, precision, optimizer):
    """Several steps and epochs, clients of different sizes, augmentation, a falling learning rate."""
    settings = {
        "model": NETWORKS[network],
        "precision": precision,
        "optimizer": optimizer,
        "local_epochs": 2,
        "size": 32,
    }
    federation = make_federation(tmp_path, clients=3, size=32)
    through = trained(federation, FedAvg(), **settings)
    task = make_training(federation, FedAvg(), **settings).task
    loop = bare.FedAvg(bare.load(workloads.export(task, tmp_path / "job")))
    for number in range(task.training.rounds):
        loop.round(number)
    ours = workloads.monai_names(through.server.weights)
    theirs = {name: value.numpy() for name, value in loop.weights.items()}
    floats = [name for name, value in ours.items() if value.dtype.kind == "f"]
    assert ours.keys() == theirs.keys()
    assert len(floats) > 10
    assert workloads.largest_difference(*({k: w[k] for k in floats} for w in (ours, theirs))) == 0.0
    start = {name: loop.job.start[name].numpy() for name in floats}
    assert workloads.largest_difference({k: ours[k] for k in floats}, start) > 1e-4  # something was learned at all


def test_a_job_in_a_file_holds_all_cases(tmp_path):
    task = make_training(make_federation(tmp_path, clients=2), FedAvg()).task
    job = bare.load(workloads.export(task, tmp_path / "job"))
    assert [len(images) for images in job.images] == [4, 6]  # slices, as make_federation makes them
    assert [len(cases) for cases in job.val] == [1, 1]
    assert len(job.test) == 2
    loop = bare.FedAvg(job)
    assert 0 <= loop.validate() <= 1
    assert len(loop.score()) == 2 * task.classes


def test_other_settings_do_other_work(tmp_path):
    """The comparison would notice: a bare loop with another learning rate ends elsewhere."""
    task = make_training(make_federation(tmp_path), FedAvg()).task
    job = bare.load(workloads.export(task, tmp_path / "job"))
    other = replace(job, settings=replace(job.settings, rates=[2 * rate for rate in job.settings.rates]))
    ends = []
    for each in (job, other):
        loop = bare.FedAvg(each)
        loop.round(0)
        ends.append({k: v.numpy() for k, v in loop.weights.items() if v.is_floating_point()})
    assert workloads.largest_difference(*ends) > 1e-4


def test_the_suites_can_be_written_and_read(tmp_path):
    from fedbench.suite import make_suite, read_suite

    for suite in (workloads.FOUR_CLIENTS, workloads.HEART, workloads.changed(workloads.HEART, rounds=7)):
        read = read_suite(str(workloads.write_suite(suite, tmp_path / "suite.toml")))
        assert read.model_copy(update={"name": "command line"}) == make_suite(suite)


# -- scores --------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")  # MONAI warns about every empty mask
@pytest.mark.parametrize("shape", [(64, 80), (32, 24, 20)])
def test_scores_equal_monai_wherever_it_defines_them(shape):
    pairs = [evaluation.draw(shape, seed) for seed in range(20)]
    spacing = (1.0, 0.7, 2.0)[: len(shape)]
    ours = evaluation.fedbench_scores(pairs, spacing)
    theirs = evaluation.monai_scores([evaluation.one_hots(pair) for pair in pairs], spacing)
    compared, worst = evaluation.difference(ours, theirs)
    assert compared > 0.8 * ours.size
    assert worst <= evaluation.EQUAL
    assert not np.isfinite(theirs).all()  # masks that only one of the two has are among them


# -- the GPU benchmark, as far as a CPU goes -----------------------------------------------------------------------

TINY = workloads.FOUR_CLIENTS | {
    "datasets": [f"{workloads.SHAPES}[clients=2,patients=3,slices=4,size=16]"],
    "model": {"channels": [4, 4, 8, 8, 8]},
    "data": {"test_fraction": 0.34, "val_fraction": 0.34},
}


def bench_in(folder: Path) -> gpu_agreement.Bench:
    settings = common.Settings(quick=True, repeats=2, scratch=folder, env=folder)
    return gpu_agreement.Bench(Report(), settings, "cpu", time.monotonic() + 600)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_its_benchmark_says_so_and_the_others_go_on(capfd):
    assert everything.run(["gpu"], []) == []
    out, err = capfd.readouterr()
    assert out.startswith("gpu: no GPU") and out.count("\n") == 1
    assert err == ""
    assert everything.run(["startup"], ["--no-such-option"]) == ["startup"]


def test_how_far_trainings_are_apart(tmp_path):
    """The same training ends with the same bits; another precision and another seed do not."""
    suite = workloads.changed(TINY, rounds=2) | {"seeds": [0, 1], "algorithms": ["local"]}
    cell, other = workloads.cells(suite, tmp_path)
    first, again = (gpu_agreement.trained(cell, "cpu", gpu_agreement.FP32) for _ in range(2))
    bf16, seed = gpu_agreement.trained(cell, "cpu", gpu_agreement.BF16), gpu_agreement.trained(other, "cpu", {})
    assert set(first.dice) == {"M000", "M001"}
    assert gpu_agreement.different_entries(first, again) == 0
    assert gpu_agreement.dice_apart(first, again) == gpu_agreement.weights_apart(first, again) == 0
    assert gpu_agreement.different_entries(first, bf16) > 0
    assert 0 < gpu_agreement.weights_apart(first, bf16) < gpu_agreement.weights_apart(first, seed)
    assert any("running_var" in name for name in first.last)
    assert not any("running_var" in name for name in first.parameters)


def test_every_built_in_algorithm_is_compared_with_the_cpu(tmp_path):
    from fedbench import registry

    bench = bench_in(tmp_path)
    cells = gpu_agreement.agreement_cells(replace(bench, settings=replace(bench.settings, quick=False)))
    ours = {name for name, found in registry.discover("algorithm").items() if found.module.startswith("fedbench.")}
    assert {cell.identity["algorithm"] for cell in cells.values()} >= ours >= {"fedavg", "fedda-joint", "scaffold"}
    networks = {(cell.identity["model"]["name"], cell.identity["model"]["spatial_dims"]) for cell in cells.values()}
    assert networks == {("basicunet", 2), ("basicunet", 3), ("unet", 2), ("segresnet", 2)}


def test_paces_are_of_the_same_work(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "WORKLOADS", {"tiny": TINY})
    bench = bench_in(tmp_path)
    gpu.steps(bench)
    rows = {row.what: row for row in bench.report.rows}
    (same,) = [row for what, row in rows.items() if "largest difference" in what]
    assert same.measured is not None and same.measured.median == 0
    for kernels in ("fastest kernels", "deterministic kernels (default)"):
        assert rows[f"tiny, {kernels}: fedbench, times the time of the bare loop"].target == ("<=", gpu.RATIO)
    assert "tiny, fastest kernels: not resident, times the time of fedbench" in rows
    assert not [row for row in rows.values() if row.measured is None]


def test_a_part_that_fails_does_not_stop_the_others(tmp_path, monkeypatch):
    def broken(_: gpu_agreement.Bench) -> None:
        raise RuntimeError("no kernel | here\nsecond line")

    monkeypatch.setattr(gpu_agreement, "agreement", broken)
    for name in ("steps", "tried"):
        monkeypatch.setattr(gpu, name, lambda bench: bench.needs(1e9))
    monkeypatch.setattr(gpu_packing, "packing", lambda bench: bench.report.add("runs", 1.0))
    monkeypatch.setattr(gpu_agreement, "bits", lambda bench: bench.report.add("bits", 0, target=("<=", 0)))
    rows = gpu.measure_on("cpu", bench_in(tmp_path).settings).rows
    assert [row.what for row in rows] == [
        "agreement with the CPU", "bits", "steps per second", "runs", "settings"
    ]  # fmt: skip
    assert rows[0].note == "failed: RuntimeError: no kernel / here second line"
    assert rows[2].note == "left out: no time was left"
    assert common.verdict(rows) == "1 of 3 targets met"


def test_processes_share_the_runs_of_one_folder(tmp_path):
    """One does all of them; each of two begins with its own share and goes on to the other's."""
    suite = workloads.changed(TINY, rounds=1) | {"seeds": [0, 1, 2]}
    cells = workloads.cells(suite, tmp_path / "plan")
    out = gpu_packing.together(1, suite, tmp_path / "one", tmp_path / "plan", "cpu", 300)
    assert {path.parent.name for path in out.glob("*/done")} == {cell.id for cell in cells}
    with pytest.raises(common.CommandFailed, match="0 of 3 runs were finished"):
        gpu_packing.together(2, suite, tmp_path / "two", tmp_path / "plan", "cpu", 0.0)
    files = [tmp_path / "two" / str(k) / "packing.toml" for k in range(2)]
    assert [tomllib.loads(file.read_text())["seeds"] for file in files] == [[0, 2, 1], [1, 0, 2]]


def test_a_sampler_reads_what_is_said_each_second_and_ends(tmp_path):
    """Any program that prints such lines will do."""
    lines = "utilization.gpu [%], memory.used [MiB]\n37 %, 1024 MiB\n[N/A], 5 MiB\n"
    program = f"import sys, time; print({lines!r}, end='', flush=True); time.sleep(600)"
    with gpu_packing.Sampler([sys.executable, "-c", program]) as sampler:
        assert sampler.before == 1024
    now = time.time()
    assert sampler.between(now - 60, now) == [(37.0, 1024.0)]
    assert sampler.between(now + 1, now + 60) == []
    with gpu_packing.Sampler(["no-such-program"]) as none:
        pass
    assert none.between(0, now) == [] and none.problem == "no no-such-program here"


# -- tables --------------------------------------------------------------------------------------------------------


def test_the_tables_in_the_readme_are_those_of_the_json_files():
    readme = common.README.read_text(encoding="utf-8")
    assert common.regenerated(readme, common.RESULTS) == readme


def result(rows: list[Row]) -> dict:
    return {
        "name": "overhead", "title": "a title", "command": "python -m benchmarks.overhead", "date": "2026-01-01T00:00",
        "quick": False, "verdict": common.verdict(rows), "rows": [asdict(row) | {"met": row.met} for row in rows],
        "notes": ["A note."], "hardware": {"cpu": "a CPU", "cores": 2, "memory_gib": 8.0}, "load_before": 0.1,
        "versions": {"torch": "2"},
    }  # fmt: skip


def test_a_table_shows_what_was_measured_and_what_was_missed(tmp_path):
    report = Report()
    report.add("ratio", [1.0, 1.2, 1.01], target=("<=", 1.05))
    report.add("speed-up", [1.5, 1.6], target=(">=", 1.85))
    report.fail("peer", "failed: no such package", target=(">=", 1.0))
    report.add("seconds", 0.25, "s")
    (tmp_path / "overhead.json").write_text(json.dumps(result(report.rows)))
    readme = f"# Head\n\n{common.BEGIN}\nold\n{common.END}\nTail\n"
    new = common.regenerated(readme, tmp_path)
    assert new.startswith("# Head\n") and new.endswith(f"{common.END}\nTail\n") and "old" not in new
    assert "**1 of 3 targets met**" in new
    assert "| ratio | 1.01 | 1.00–1.20 (3) | ≤ 1.05 | yes |" in new
    assert "| speed-up | 1.55 | 1.50–1.60 (2) | ≥ 1.85 | **no** |" in new
    assert "| peer | failed: no such package |  | ≥ 1 | not measured |" in new
    assert "| seconds | 0.250 s |  |  |  |" in new
    assert "Not measured yet: `python -m benchmarks.peers`" in new
    assert common.regenerated(new, tmp_path) == new


def test_tasks_take_turns_in_both_orders():
    calls: list[str] = []
    tasks = {name: lambda name=name: calls.append(name) or float(len(calls)) for name in "ab"}
    values = common.interleave(tasks, repeats=2, warmups=1)
    assert calls == ["b", "a", "a", "b", "b", "a"]
    assert values == {"a": [3.0, 6.0], "b": [4.0, 5.0]}


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.00123, "0.00123"), (1.5, "1.50"), (123.4, "123"), (1e-9, "1.0e-09")]
)
def test_figures_have_three_digits(value, text):
    assert common.figure(value) == text


def test_a_spread_is_median_and_range():
    assert Spread.of([3.0, 1.0, 2.0]) == Spread(2.0, 1.0, 3.0, 3)
