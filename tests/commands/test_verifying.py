"""``verify`` and ``diff``: the same bits again, and everything that can differ is named."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch

from fedbench.engine import checkpoint
from fedbench.execution.comparison import differing_bits, elsewhere
from fedbench.execution.provenance import bf16_instructions, cpu_instructions
from fedbench.reading import read_arrays
from fedbench.store import Store, load_results, seal
from fedbench.suite import Cell
from fedbench.views import save_arrays
from tests.command_line import called
from tests.commands.test_preparing import TINY
from tests.toys import TOY, full, refused, write_toy

RUNS = Path("results/runs")


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    """Where FedAvg and FedProx were run on 24 toy patients."""
    folder = tmp_path_factory.mktemp("original")
    data = write_toy(folder / "toy", full(24))
    with contextlib.chdir(folder):
        assert called(("run", "-a", "fedavg", "-a", "fedprox", "-d", f"{TOY}={data}", *TINY))[0] == 0
    return folder


@pytest.fixture
def ran(fedbench, original, tmp_path):
    """The ids of FedAvg's and FedProx's run, in a copy of the folder that may be changed; ``fedbench`` is in it."""
    shutil.copytree(original, tmp_path, dirs_exist_ok=True)
    return {row.setting: row.run_id for row in load_results(RUNS).runs.itertuples()}


def test_a_run_gives_the_same_bits_again(fedbench, ran):
    before = {file: file.read_bytes() for file in (RUNS / ran["fedavg"]).iterdir()}
    status, out, _ = fedbench("verify", "toy.fedavg", ran["fedprox"])
    assert status == 0 and out.count("the same bits") == 2
    assert {file: file.read_bytes() for file in (RUNS / ran["fedavg"]).iterdir()} == before


def test_an_edited_score_is_noticed(fedbench, ran):
    """Sealed again as a forger would, so that only repeating the run can tell."""
    folder = RUNS / ran["fedavg"]
    cases = pd.read_parquet(folder / "cases.parquet")
    cases.loc[0, "dice"] += 0.01
    cases.to_parquet(folder / "cases.parquet", index=False)
    seal(folder)
    status, out, _ = fedbench("verify", "toy.fedavg")
    flat = " ".join(out.split())
    assert status == 1 and "scores: 1 of" in flat and "'dice' differ, at most 0.01 apart" in flat


def test_an_edited_curve_slice_or_feature_is_noticed(fedbench, ran):
    """One value in each file."""
    folder = RUNS / ran["fedavg"]
    rounds = pd.read_parquet(folder / "rounds.parquet")
    rounds.loc[rounds["metric"].eq("segmentation").idxmax(), "value"] += 0.5
    rounds.to_parquet(folder / "rounds.parquet", index=False)
    for name in ("predictions.npz", "features.npz"):
        arrays = read_arrays(folder / name)
        next(iter(arrays.values())).flat[0] += 1
        save_arrays(folder / name, arrays)
    seal(folder)
    status, out, _ = fedbench("verify", "toy.fedavg")
    flat = " ".join(out.split())
    named = ("scores", "training curves", "weights", "predicted slices", "features")
    assert [what for what in named if f"{what}: " in flat] == ["training curves", "predicted slices", "features"]
    assert status == 1 and "training curves: 1 of" in flat and "'value' differ, at most 0.5 apart" in flat


def test_weights_that_numpy_does_not_know_are_compared(fedbench, ran):
    """As an algorithm may keep them; the same bits are the same, and distances are those of the numbers."""
    kept = torch.tensor([1.0, -2.0, float("nan")], dtype=torch.bfloat16)
    for run_id, memory in ((ran["fedavg"], kept), (ran["fedprox"], kept.clone())):
        keep(RUNS / run_id, memory)
    assert "memory/half" not in fedbench("diff", "toy.fedavg", "toy.fedprox")[1]
    first, other = RUNS / ran["fedavg"], RUNS / "copy"
    shutil.copytree(first, other)
    assert differing_bits(first, other) == []
    keep(other, torch.tensor([1.0, -2.5, float("nan")], dtype=torch.bfloat16))
    (line,) = differing_bits(first, other)
    assert line.startswith("weights: 1 of") and line.endswith("arrays differ, at most 0.5 apart, such as memory/half")
    keep(other, kept.float())
    assert "at most inf apart, such as memory/half" in differing_bits(first, other)[0]


def keep(folder: Path, memory: torch.Tensor) -> None:
    """Put a tensor into a run's checkpoint."""
    tensors, facts = checkpoint.load(folder / "checkpoint.safetensors")
    checkpoint.save(folder / "checkpoint.safetensors", tensors | {"memory/half": memory}, facts)
    seal(folder)


def test_a_run_whose_memory_numpy_does_not_know_is_repeated(fedbench, tmp_path):
    plugin = tmp_path / "halves.py"
    plugin.write_text(HALVES)
    data = write_toy(tmp_path / "toy", full(24))
    assert fedbench("run", "-a", f"{plugin}:Halves", "-d", f"{TOY}={data}", *TINY)[0] == 0
    status, out, err = fedbench("verify", "toy.halves", "-a", f"{plugin}:Halves")
    assert status == 0 and "the same bits" in out, err


HALVES = """
import torch

from fedbench.algorithms.fedavg import FedAvg


class Halves(FedAvg):
    \"\"\"FedAvg that remembers in half the bytes.\"\"\"

    name = "halves"

    def aggregate(self, server, uploads):
        super().aggregate(server, uploads)
        server.memory["half"] = torch.full((3,), server.round, dtype=torch.bfloat16)
"""


def test_an_edited_identity_is_noticed(fedbench, ran):
    folder = RUNS / ran["fedavg"]
    run = json.loads((folder / "run.json").read_text())
    run["identity"]["training"]["lr"] = 0.5
    (folder / "run.json").write_text(json.dumps(run))
    seal(folder)
    refused(fedbench("verify", "toy.fedavg"), "what determined this run was edited")


def test_a_run_by_other_code_is_repeated_by_this_one_which_is_said(fedbench, ran):
    """Other code may well give the same bits; if it does not, its commit tells whether that is why."""
    folder = RUNS / ran["fedavg"]
    run = json.loads((folder / "run.json").read_text())
    run["identity"]["harness"] = "0" * 64
    (folder / "run.json").write_text(json.dumps(run))
    seal(folder)
    refused(fedbench("verify", "toy.fedavg"), "edited")

    run["run_id"] = Cell(run["identity"], run["spec"], "", run["label"]).id
    (folder / "run.json").write_text(json.dumps(run))
    seal(folder)
    folder = folder.rename(RUNS / run["run_id"])
    status, out, _ = fedbench("verify", "toy.fedavg")
    assert status == 0 and "the same bits, though made by other code of fedbench (000000000000" in " ".join(out.split())

    cases = pd.read_parquet(folder / "cases.parquet")
    cases.loc[0, "dice"] += 0.01
    cases.to_parquet(folder / "cases.parquet", index=False)
    seal(folder)
    status, out, _ = fedbench("verify", "toy.fedavg")
    assert status == 1 and "'dice' differ" in out and "which may be why" in out and "check that out" in out


def test_what_bits_depend_on_is_named_where_it_was_another(fedbench, ran):
    """As after a move to another machine: its CPU, and a version."""
    folder = RUNS / ran["fedavg"]
    run = json.loads((folder / "run.json").read_text())
    own = run["hardware"]["instructions"]
    run["hardware"]["instructions"], run["versions"]["numpy"] = "ABACUS", "0.1"
    (folder / "run.json").write_text(json.dumps(run))
    seal(folder)
    status, out, _ = fedbench("verify", "toy.fedavg")
    flat = " ".join(out.split())
    assert status == 0 and "the same bits, though made with numpy 0.1, here" in flat
    assert f"a CPU with ABACUS, here {own}" in flat
    assert "hardware.instructions" in fedbench("diff", "toy.fedavg", "toy.fedprox")[1]

    cases = pd.read_parquet(folder / "cases.parquet")
    cases.loc[0, "dice"] += 0.01
    cases.to_parquet(folder / "cases.parquet", index=False)
    seal(folder)
    status, out, _ = fedbench("verify", "toy.fedavg")
    assert status == 1 and "ABACUS" in out and "which may be why" in out and "check that out" not in out


def test_a_run_that_went_on_with_other_packages_is_told(fedbench, ran):
    """By all that compares; whoever looks at the run itself sees both attempts."""
    folder = RUNS / ran["fedavg"]
    run = json.loads((folder / "run.json").read_text())
    own = {"versions": run["versions"], "hardware": run["hardware"]}
    old = {"versions": run["versions"] | {"numpy": "0.1"}, "hardware": run["hardware"]}
    run["attempts"] = [{"from_round": 0, **old}, {"from_round": 1, **own}]
    (folder / "run.json").write_text(json.dumps(run))
    seal(folder)
    numpy = run["versions"]["numpy"]
    assert elsewhere(run) == f"made in part with numpy 0.1, here {numpy}"
    assert "the same bits, though made in part with numpy 0.1" in " ".join(fedbench("verify", "toy.fedavg")[1].split())
    flat = " ".join(fedbench("diff", "toy.fedavg", "toy.fedprox")[1].split())
    assert f"versions.numpy 0.1 from round 0, {numpy} from round 1 {numpy}" in flat
    assert "versions.torch" not in flat and "hardware" not in flat
    assert '"from_round": 1' in fedbench("show", "toy.fedavg")[1]


def test_what_computes_bf16_matters_to_runs_at_bf16_on_a_cpu_that_say_it(fedbench, ran, monkeypatch):
    """The vector instructions are the same with and without it."""
    monkeypatch.setattr("fedbench.execution.comparison.bf16_instructions", lambda: "avx512_bf16")
    run = json.loads((RUNS / ran["fedavg"] / "run.json").read_text())
    for device, precision, had, said in (
        ("cpu", "bf16", "none", True), ("cpu", "bf16", "avx512_bf16", False), ("cpu", "bf16", None, False),
        ("cpu", "fp32", "none", False), ("cuda", "bf16", "none", False),
    ):  # fmt: skip
        run["identity"] |= {"device": device, "training": run["identity"]["training"] | {"precision": precision}}
        run["hardware"]["bf16_instructions"] = had
        words = elsewhere(run)
        assert words == ("made with a CPU with none for bf16, here avx512_bf16" if said else "")


def test_diff_says_nothing_of_what_an_older_run_does_not_say(fedbench, ran):
    for run_id, had in ((ran["fedavg"], None), (ran["fedprox"], "none")):
        file = RUNS / run_id / "run.json"
        run = json.loads(file.read_text())
        run["hardware"].pop("bf16_instructions", None)
        run["hardware"] |= {"bf16_instructions": had} if had else {}
        file.write_text(json.dumps(run))
        seal(file.parent)
    assert "hardware" not in fedbench("diff", "toy.fedavg", "toy.fedprox")[1]


def test_a_run_says_what_computed_it(ran):
    """Both facts, where the machine tells the second."""
    hardware = json.loads((RUNS / ran["fedavg"] / "run.json").read_text())["hardware"]
    assert hardware["instructions"] == cpu_instructions()
    assert hardware.get("bf16_instructions", "") == bf16_instructions()
    flags = Path("/proc/cpuinfo").read_text().split() if Path("/proc/cpuinfo").exists() else []
    assert ("avx512_bf16" in bf16_instructions()) == ("avx512_bf16" in flags)


def test_data_that_is_gone_can_be_given(fedbench, ran, tmp_path):
    (prepared,) = [path for path in (RUNS / ".prepared").iterdir() if path.is_dir()]
    prepared.rename(tmp_path / "elsewhere")
    refused(fedbench("verify", "toy.fedavg"), "is not prepared", "-d toy=PATH")
    assert fedbench("verify", "toy.fedavg", "-d", f"{TOY}={tmp_path / 'toy'}")[0] == 0


def test_a_prepared_store_is_data_too(fedbench, ran, tmp_path):
    (prepared,) = [path for path in (RUNS / ".prepared").iterdir() if path.is_dir()]
    prepared.rename(tmp_path / "elsewhere")
    assert fedbench("verify", "toy.fedavg", "-d", f"{TOY}={tmp_path / 'elsewhere'}")[0] == 0


def test_a_plugin_runs_only_if_the_user_names_it(fedbench, tmp_path):
    plugin = tmp_path / "mine.py"
    plugin.write_text(PLUGIN)
    data = write_toy(tmp_path / "toy", full(24))
    assert fedbench("run", "-a", f"{plugin}:Mine[pace=2.0]", "-d", f"{TOY}={data}", *TINY)[0] == 0
    (tmp_path / "was run").unlink()
    refused(fedbench("verify", "toy.mine"), "not run unasked", str(plugin), "-a FILE.py:CLASS")
    assert not (tmp_path / "was run").exists()
    assert fedbench("verify", "toy.mine", "-a", f"{plugin}:Mine")[0] == 0
    plugin.write_text(PLUGIN + "# edited\n")
    refused(fedbench("verify", "toy.mine", "-a", f"{plugin}:Mine"), "source of", "changed")


PLUGIN = """
from pathlib import Path

from fedbench.algorithms.fedavg import FedAvg
from fedbench.parameters import hyperparameter

Path(__file__).with_name("was run").touch()


class Mine(FedAvg):
    \"\"\"FedAvg by another name.\"\"\"

    name = "mine"

    class Params(FedAvg.Params):
        pace: float = hyperparameter(1.0)
"""


def test_diff_names_what_differs(fedbench, ran):
    status, out, _ = fedbench("diff", "toy.fedavg", "toy.fedprox")
    flat = " ".join(out.split())
    assert status == 0
    assert "algorithm fedavg fedprox" in flat and "algorithm_params.mu absent 0.01" in flat
    assert "weights:" in out and "scores:" in out and "means of the last round" in out
    assert "harness" not in out  # the same in both
    assert "deployment  relation" in out and "…" not in out.partition("means of the last round")[2]
    assert fedbench("diff", "toy.fedavg", "toy.fedprox", "--from", str(RUNS))[1] == out


def test_diff_of_a_run_with_itself(fedbench, ran):
    _, out, _ = fedbench("diff", "toy.fedavg", "toy.fedavg")
    assert "are the same" in out and "results: the same bits" in out


def test_names_that_fit_no_run_or_several(fedbench, ran):
    refused(fedbench("verify", "toy.nothing"), "no single finished run 'toy.nothing'")
    refused(fedbench("verify", "toy."), "it fits 2 runs")
    refused(fedbench("diff", "toy.fedavg", "x", "--out", "nowhere"), "no such folder")
    assert Store(RUNS).status(ran["fedavg"]) == "done"
