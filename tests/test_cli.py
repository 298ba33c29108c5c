"""The command line as a user meets it: one clear message and exit status 2 for a mistake, nothing lost."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from fedbench import __version__, load_results
from fedbench.analysis.evidence import Condition
from fedbench.commands.options import SuiteOptions
from fedbench.errors import UserError
from fedbench.sources import harness_digest
from fedbench.store import Results, Store, seal
from tests import plugins
from tests.analysis.evidence_rows import evidence, write_store
from tests.toys import refused

TINY_SUITE = """
algorithms = ["fedavg"]
datasets = ["phantom-heart[patients=10,size=32]"]
seeds = [0]
[model]
name = "unet"
channels = [4, 8]
[training]
rounds = 2
batch_size = 16
"""


@pytest.fixture
def tiny(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(TINY_SUITE)
    return str(path)


def test_run_twice_then_look_at_it(fedbench, tiny):
    status, out, _ = fedbench("run", "--suite", tiny, "--workers", "0")
    assert status == 0
    assert "1 run, 0 finished, 1 to do" in out
    assert "fedavg" in out
    assert "[1/1]" in out  # a plain line, away from a terminal
    assert Path("results/runs/figures/phantom-heart/overlays.png").read_bytes()[:4] == b"\x89PNG"
    found = load_results("results/runs")
    with pytest.raises(UserError, match="no finished run nosuch"):
        load_results("results/runs", [*found.runs["run_id"], "nosuch"])
    (run_id,) = found.runs["run_id"]
    described = set(re.findall("``([^`]+)``", Results.__doc__ or ""))
    assert described == {str(name) for frame in found for name in frame} | set(found.rounds["metric"])

    status, again, _ = fedbench("run", "--suite", tiny, "--workers", "0")
    assert status == 0
    assert "1 finished, 0 to do" in again

    assert f"{run_id}" in fedbench("status")[1].replace("\n", "")
    status, shown, _ = fedbench("show", run_id[:20])
    assert status == 0
    assert "partition" in shown
    assert "1 done" in fedbench("plan", "--suite", tiny)[1]
    assert "fedavg" in fedbench("summary")[1]
    refused(
        fedbench("summary", "--suite", tiny, "--rounds", "1"), "no run of this suite is finished", "(1 run of others)"
    )
    refused(fedbench("summary", "-a", "moon"), "which runs? Give --all, --suite NAME")


def test_brackets_of_names_and_paths_are_shown(fedbench, tiny):
    status, out, err = fedbench("plan", "--suite", tiny, "-a", "fedprox[mu=0.5]", "--out", "runs[b]")
    assert status == 0, err
    assert "fedprox[mu=0.5]" in out
    status, out, _ = fedbench("run", "--suite", tiny, "--workers", "0", "--out", "runs[b]")
    assert status == 0 and "results in runs[b]" in out.replace("\n", " ")


def test_plan_shows_ids_whole_on_a_narrow_console(fedbench, tiny):
    status, out, _ = fedbench("plan", "--suite", tiny, "--seeds", "0-1", "--leave-out", "MR", "--folds", "2", "--ids")
    assert status == 0 and max(map(len, out.splitlines())) <= 80
    assert (
        len(re.findall(r"^to do +phantom-heart\.fedavg\.s[01]\.fold[01]\.no-MR\.[0-9a-f]{12}$", out, re.MULTILINE)) == 4
    )
    assert re.search(r"^phantom-heart +MR +fedavg +4 *$", out, re.MULTILINE)


def test_plan_estimates_without_a_finished_run(fedbench, tiny):
    status, out, _ = fedbench("plan", "--suite", tiny, "--seeds", "0-2")
    assert status == 0
    assert "3 runs: 3 to do" in out
    assert "about" in out and "from a timed round" in out
    assert load_results("results/runs").runs.empty
    assert fedbench("run", "--suite", tiny, "--workers", "0")[0] == 0
    assert "from finished runs" in fedbench("plan", "--suite", tiny, "--seeds", "0-2")[1]
    (folder,) = [file.parent for file in Path("results/runs").glob("*/run.json")]
    record = json.loads((folder / "run.json").read_text())
    record["identity"]["device"] = "cuda"
    (folder / "run.json").write_text(json.dumps(record))
    seal(folder)
    assert "from a timed round" in fedbench("plan", "--suite", tiny, "--seeds", "0-2")[1]


@pytest.mark.parametrize("what", ["algorithms", "datasets", "models", "suites"])
def test_list(fedbench, what):
    names = {"algorithms": "fedda-cyclic", "datasets": "sts", "models": "segresnet", "suites": "smoke"}
    status, out, _ = fedbench("list", what)
    assert status == 0
    assert names[what] in out


@pytest.mark.parametrize("command", ["run", "plan", "status", "list", "show", "summary"])
def test_every_command_has_help_with_an_example(fedbench, command):
    status, out, _ = fedbench(command, "--help")
    assert status == 0
    assert f"fedbench {command}" in out


def test_version_says_what_a_report_of_a_problem_needs(fedbench):
    status, out, _ = fedbench("--version")
    assert status == 0
    assert out.startswith(f"fedbench {__version__} (source {harness_digest()[:8]})\n")
    assert f"\ntorch {version('torch')}\n" in out
    assert f"\nray {version('ray')}\n" in out


def test_all_is_the_default_suite_and_a_plugin_joins_it(fedbench, tmp_path):
    plugin = plugins.write(tmp_path, "mine", plugins.SLOW)
    arguments = ("plan", "--all", "-a", plugin, "-d", "phantom-heart[patients=10,size=32]", "--rounds", "2")
    status, out, _ = fedbench(*arguments)
    assert status == 0
    assert "27 runs" in out  # eight algorithms and one more, three seeds
    assert "slow" in out


class TestAlgorithmsOfSet:
    """``--set algorithms`` is a key like any other."""

    def test_in_place_of_the_suites(self, fedbench, tiny):
        status, out, err = fedbench("plan", "--suite", tiny, "--set", 'algorithms=["local"]', "--ids")
        assert status == 0, err
        assert re.findall(r"phantom-heart\.(\w+)\.s0", out) == ["local"]

    def test_beside_a_dataset_it_names_the_runs(self, fedbench):
        heart = "phantom-heart[patients=10,size=32]"
        small = ("--rounds", "2", "--seeds", "0", "--set", "model.name=unet", "--set", "model.channels=[4,8]")
        status, out, err = fedbench("plan", "-d", heart, "--set", 'algorithms=["local"]', "--ids", *small)
        assert status == 0, err
        assert re.findall(r"phantom-heart\.(\w+)\.s0", out) == ["local"]

    def test_they_join_those_of_all(self):
        own = SuiteOptions(all_=True).read().algorithms
        joined = SuiteOptions(all_=True, set_=['algorithms=["fedavg", "fedprox[mu=0.5]"]']).read().algorithms
        assert joined == (*own, "fedprox[mu=0.5]")

    @pytest.mark.parametrize("value", ["'fedavg'", "[]", "3", "[3]"])
    def test_what_is_no_list_of_them_is_refused(self, fedbench, tiny, value):
        for chosen in (("--suite", tiny), ("--all",), ("-d", "phantom-heart")):
            refused(fedbench("plan", *chosen, "--set", f"algorithms={value}"), "'algorithms", "is refused")
        refused(fedbench("tune", tiny, "--set", f"algorithms={value}"), "'algorithms", "is refused")


class TestRefused:
    def test_nothing_to_run(self, fedbench):
        refused(fedbench("run"), "--all", "-a ALGORITHM")

    def test_unknown_algorithm(self, fedbench):
        refused(fedbench("run", "-a", "fedporx", "-d", "phantom-heart"), "fedporx", "did you mean 'fedprox'?")

    def test_unknown_dataset(self, fedbench):
        refused(fedbench("run", "-a", "fedavg", "-d", "phantom-hart"), "did you mean 'phantom-heart'?")

    def test_unknown_suite_file_and_list(self, fedbench):
        refused(fedbench("run", "--suite", "defualt"), "did you mean 'default'?")
        refused(fedbench("run", "--suite", "none.toml"), "none.toml", "No such file")
        refused(fedbench("list", "algorithm"), "did you mean 'algorithms'?")

    def test_options_of_a_suite_without_one(self, fedbench):
        Path("results/runs").mkdir(parents=True)
        refused(fedbench("summary", "--seeds", "0"), "name it too: --all, --suite NAME")

    @pytest.mark.parametrize("size", ["nan", "96,nan", "inf", "-16", "0"])
    def test_sizes_that_are_none(self, fedbench, size):
        refused(fedbench("run", "--all", "--size", size), f"--size {size}: write positive numbers")

    def test_unknown_parameter(self, fedbench):
        refused(fedbench("run", "-a", "fedprox[muu=1]", "-d", "phantom-heart"), "'muu'", "did you mean 'mu'?")

    def test_parameter_out_of_range(self, fedbench):
        refused(fedbench("run", "-a", "fedprox[mu=-1]", "-d", "phantom-heart"), "'mu' = -1", "greater than or equal")
        refused(fedbench("run", "-a", "fedavg", "-d", "phantom-heart[patients=0]"), "patients")

    def test_unknown_suite_key(self, fedbench, tmp_path):
        (tmp_path / "s.toml").write_text(TINY_SUITE + "ruonds = 3\n")
        refused(fedbench("run", "--suite", "s.toml"), "training.ruonds", "did you mean 'rounds'?")

    @pytest.mark.parametrize("reference", ["", "fedavg[mu=1"])
    def test_a_reference_that_cannot_be_read(self, fedbench, tiny, reference):
        words = ("--set", f"evaluation.reference='{reference}'")
        refused(fedbench("plan", "--suite", tiny, *words), f"[evaluation] reference = '{reference}': cannot read")

    def test_numbers_without_end(self, fedbench, tiny):
        refused(fedbench("plan", "--suite", tiny, "--set", f"training.rounds={'9' * 5000}"), "it has too many digits")
        refused(fedbench("plan", "--suite", tiny, "-a", f"fedprox[mu={'9' * 5000}]"), "parameter 'mu'", "is refused")

    def test_a_publication_without_a_name(self, fedbench):
        refused(fedbench("publish", ""), "cannot publish as ''")

    def test_a_selection_that_is_none(self, fedbench):
        refused(fedbench("summary", "--selection", "first"), "--selection first: choose last, best-validation.")

    def test_bad_seeds(self, fedbench, tiny):
        refused(fedbench("run", "--suite", tiny, "--seeds", "a-b"), "--seeds a-b", "0-4")

    def test_fedbn_on_a_model_without_batchnorm(self, fedbench, tmp_path):
        text = TINY_SUITE.replace("fedavg", "fedbn").replace("[model]", '[model]\nnorm = "instance"')
        (tmp_path / "s.toml").write_text(text)
        refused(fedbench("run", "--suite", "s.toml"), "fedbn", "no BatchNorm layer", 'norm = "batch"')

    def test_one_client_for_fedda(self, fedbench):
        arguments = ("run", "-a", "fedda-joint", "-d", "phantom-heart[patients=10,size=32]", "--leave-out", "MR")
        refused(fedbench(*arguments), "fedda-joint", "at least two clients")

    def test_unknown_modality_left_out(self, fedbench, tiny):
        refused(fedbench("run", "--suite", tiny, "--leave-out", "MRI"), "no modality 'MRI'", "did you mean 'MR'?")

    def test_clients_side_by_side_on_a_gpu(self, fedbench, tiny):
        arguments = ("run", "--suite", tiny, "--gpus-per-run", "0.5", "--clients-at-once")
        refused(fedbench(*arguments, "2"), "--clients-at-once", "GPU", "drop it")
        assert fedbench(*arguments, "0")[0] == 2

    def test_gpus_without_a_gpu(self, fedbench, tiny):
        import torch

        if torch.cuda.is_available():
            pytest.skip("this machine has a GPU, so asking for one is no mistake")
        refused(fedbench("run", "--suite", tiny, "--gpus-per-run", "0.5"), "--gpus-per-run", "no GPU")

    def test_no_such_data_folder(self, fedbench):
        refused(fedbench("run", "-a", "fedavg", "-d", "sts=nowhere"), "sts", "nowhere")
        refused(fedbench("run", "-a", "fedavg", "-d", "sts"), "write sts=PATH")

    def test_out_is_a_file(self, fedbench, tiny, tmp_path):
        (tmp_path / "file").write_text("")
        refused(fedbench("run", "--suite", tiny, "--out", "file"), "file", "--out")

    def test_status_of_nothing(self, fedbench):
        refused(fedbench("status", "--out", "nowhere"), "nowhere")
        refused(fedbench("summary", "--out", "nowhere"), "nowhere")

    def test_nothing_is_written_when_a_suite_is_refused(self, fedbench):
        for wrong in (("-a", "fedporx"), ("-a", "fedprox[mu=-1]"), ("-a", "fedavg", "--seeds", "x"), ("--suite", "no")):
            for command in ("run", "plan"):
                refused(fedbench(command, "-d", "phantom-heart", *wrong))
        assert not list(Path.cwd().iterdir())


class TestRefusedData:
    """Real NIfTI files with real damage, through the `sts` loader."""

    @pytest.fixture
    def sts(self, tmp_path):
        rng = np.random.default_rng(0)
        for patient in range(8):
            folder = tmp_path / "sts" / "ibsi_validation" / "nifti" / f"STS_{patient:03d}"
            folder.mkdir(parents=True)
            for modality in ("CT", "MR_T1", "PET"):
                mask = np.zeros((20, 20, 6), np.uint8)
                mask[6:14, 6:14, 1:5] = 1
                image = rng.normal(0, 1, mask.shape).astype(np.float32) + mask
                affine = np.diag([3.0, 3.0, 3.27, 1.0])
                nib.save(nib.Nifti1Image(image, affine), folder / f"{modality}_image.nii.gz")
                nib.save(nib.Nifti1Image(mask, affine), folder / f"{modality}_mask.nii.gz")
        return tmp_path / "sts"

    @pytest.fixture
    def victim(self, sts):
        return sts / "ibsi_validation" / "nifti" / "STS_003"

    @pytest.fixture
    def run(self, fedbench, sts, tmp_path):
        (tmp_path / "s.toml").write_text(TINY_SUITE + "[data]\nval_fraction = 0.4\n")
        return lambda: fedbench("run", "--suite", "s.toml", "-d", f"sts={sts}", "--workers", "0")

    def test_sound_data_runs(self, run):
        status, out, err = run()
        assert (status, err) == (0, "")
        assert "sts" in out

    def test_missing_mask(self, run, victim):
        (victim / "PET_mask.nii.gz").unlink()
        refused(run(), "STS_003", "PET_mask.nii.gz")

    def test_truncated_file(self, run, victim):
        path = victim / "CT_image.nii.gz"
        path.write_bytes(path.read_bytes()[:2000])
        refused(run(), "CT_image.nii.gz")

    def test_nan_voxels(self, run, victim):
        path = victim / "CT_image.nii.gz"
        image = nib.load(path).get_fdata(dtype=np.float32)
        image[0, 0, :2] = np.nan
        nib.save(nib.Nifti1Image(image, np.diag([3.0, 3.0, 3.27, 1.0])), path)
        refused(run(), "CT_image.nii.gz", "2 ")

    def test_unexpected_label(self, run, victim):
        path = victim / "CT_mask.nii.gz"
        mask = np.zeros((20, 20, 6), np.uint8)
        mask[5, 5, 2] = 7
        nib.save(nib.Nifti1Image(mask, np.diag([3.0, 3.0, 3.27, 1.0])), path)
        refused(run(), "CT_mask.nii.gz", "7")

    def test_shapes_differ(self, run, victim):
        path = victim / "CT_mask.nii.gz"
        nib.save(nib.Nifti1Image(np.ones((20, 21, 6), np.uint8), np.diag([3.0, 3.0, 3.27, 1.0])), path)
        refused(run(), "CT_mask.nii.gz", "shape")

    def test_changed_data_is_a_new_run_and_the_old_one_stays(self, run, victim):
        run()
        path = victim / "CT_image.nii.gz"
        image = nib.load(path).get_fdata(dtype=np.float32)
        nib.save(nib.Nifti1Image(image + 1, np.diag([3.0, 3.0, 3.27, 1.0])), path)
        assert "0 finished, 1 to do" in run()[1]
        assert len(load_results("results/runs").runs) == 2


def test_a_failing_run_is_reported_and_the_others_finish(fedbench, tmp_path, tiny):
    plugin = plugins.write(tmp_path, "raising", plugins.RAISING)
    runs = "results of " + "a study " * 12 + "of mine"  # wider than a terminal, and with blanks to break it at
    status, out, err = fedbench("run", "--suite", tiny, "-a", plugin, "-a", "fedavg", "--workers", "0", "--out", runs)
    assert status == 1
    assert "the plugin broke" in err
    (said,) = re.findall("traceback: (.*)", err)
    assert "the plugin broke" in Path(said).read_text()
    assert "fedavg" in out
    assert list(load_results(runs).runs["algorithm"]) == ["fedavg"]
    assert "the plugin broke" in fedbench("show", "phantom-heart.raising", "--out", runs)[1]


def test_help_status_and_list_do_not_import_torch(tmp_path):
    runs = write_store(tmp_path / "runs", evidence((Condition("toy"),), ("fedavg", "moon"), patients=3))
    (next(runs.glob("toy.moon.*")) / "run.json").write_text("{}")  # also where one is to be moved aside
    code = (
        "import sys\nfrom fedbench.cli import main\n"
        f"for arguments in (['--help'], ['--version'], ['status', '--out', {str(runs)!r}],\n"
        "                  *(['list', x] for x in ('algorithms', 'datasets', 'suites'))):\n"
        "    sys.argv = ['fedbench', *arguments]\n"
        "    try: main()\n    except SystemExit as stop: assert not stop.code, arguments\n"
        "    assert not {'torch', 'monai', 'ray'} & set(sys.modules), f'heavy import of {arguments}'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=False)
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in ("Usage", "fedprox", "phantom-heart", "smoke", "toy.fedavg."))
    assert "damaged: toy.moon." in done.stderr


def test_a_prepared_array_that_was_changed_is_refused_by_name(fedbench, tiny):
    """Its size is the same, so that it could be read; a finished run is not repeated for it."""
    run = ("run", "--suite", tiny, "--workers", "0")
    assert fedbench(*run)[0] == 0
    file = next(Path("results/runs/.prepared").glob("*/*.image.npy"))
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.chmod(0o644)
    file.write_bytes(content)
    assert fedbench(*run)[0] == 0
    refused(fedbench(*run, "--seeds", "1"), f"{file.name} does not match its checksum")
    refused(fedbench("verify", "phantom-heart.fedavg.s0"), f"{file.name} does not match its checksum")


def test_a_reference_that_is_no_algorithm_is_refused_before_anything_runs(fedbench, tiny):
    words = ("--set", "evaluation.reference=fedavgg")
    refused(fedbench("run", "--suite", tiny, *words), "reference = 'fedavgg'", "did you mean 'fedavg'?")
    assert Store(Path("results/runs")).run_ids() == []


def test_the_summary_of_a_suite_has_the_order_of_its_run(fedbench, tiny):
    chosen = ("--suite", tiny, "-a", "moon", "-a", "fedavg", "--rounds", "1")
    for command in (("run", "--workers", "0"), ("summary",)):
        _, out, _ = fedbench(*command, *chosen)
        table = out[out.index("mean [95% CI") :]
        assert 0 < table.index("moon") < table.index("fedavg"), command
    assert fedbench("run", "--workers", "0", *chosen, "--set", "training.lr=0.02")[0] == 0
    refused(fedbench("tables"), "ran more than once", "training.lr", "--suite FILE takes the runs of one suite")
    refused(fedbench("tables", "--seeds", "0"), "name it too: --all, --suite NAME")
    assert fedbench("tables", *chosen, "--to", "tables-of-one")[0] == 0
    refused(fedbench("tables", "--suite", tiny, "--rounds", "9"), "no run of this suite is finished")


def test_the_summary_shows_the_models_that_the_suite_declared(fedbench, tiny):
    declared = ("--set", "evaluation.selection=best-validation")
    assert "(best-validation round)" in fedbench("run", "--suite", tiny, "--workers", "0", *declared)[1]
    for more in ((), ("--suite", tiny, *declared)):
        assert "(best-validation round)" in fedbench("summary", *more)[1]
    assert "(last round)" in fedbench("summary", "--selection", "last")[1]


def test_a_damaged_run_is_named_by_whoever_finds_it_and_by_status_ever_after(fedbench, tiny):
    assert fedbench("run", "--suite", tiny, "--workers", "0")[0] == 0
    (run_id,) = Store(Path("results/runs")).run_ids()
    (Path("results/runs") / run_id / "cases.parquet").write_bytes(b"")
    said = f"damaged: {run_id}: cases.parquet does not match its checksum; moved to "
    refused(fedbench("verify", run_id), said, f"no finished run '{run_id}' in results/runs: {run_id} (to do)")
    (moved,) = re.findall(re.escape(said) + "(.*)", fedbench("status")[2])
    shutil.copytree(moved, Path("results/runs") / run_id)
    shutil.rmtree("results/runs/.quarantine")
    first, second = fedbench("status"), fedbench("status")  # this one finds it, that one finds it moved
    assert first == second and re.search(rf"^to do +{re.escape(run_id)}\n1 to do$", first[1], re.MULTILINE)
    (moved,) = re.findall(re.escape(said) + "(.*)", first[2])
    assert (Path(moved) / "cases.parquet").read_bytes() == b""
    shutil.copytree(moved, Path("results/runs") / run_id)
    status, out, err = fedbench("plan", "--suite", tiny)
    assert status == 0 and "1 to do" in out and err.count(said) == 1
    status, out, err = fedbench("run", "--suite", tiny, "--workers", "0")
    assert (status, err) == (0, "") and "0 finished, 1 to do" in out
    status, out, err = fedbench("status")
    assert status == 0 and out.endswith("\n1 done\n") and said not in err
    gone = f"{run_id} was damaged (cases.parquet does not match its checksum), repeated since; {moved} may be deleted"
    assert gone in err and err.count("may be deleted") == 2
    shutil.rmtree(moved)
    assert moved not in (err := fedbench("status")[2]) and err.count("may be deleted") == 1


def test_a_damaged_run_of_another_suite_is_in_nobodys_way(fedbench, tiny):
    assert fedbench("run", "--suite", tiny, "--workers", "0")[0] == 0
    (run_id,) = Store(Path("results/runs")).run_ids()
    (Path("results/runs") / run_id / "cases.parquet").write_bytes(b"")
    status, out, err = fedbench("plan", "--suite", tiny, "--rounds", "1")
    assert (status, err) == (0, "") and "from a timed round" in out
    refused(fedbench("summary"), f"run {run_id} is corrupt", "`fedbench status --out results/runs` moves it aside")


def test_a_picture_of_other_runs_does_not_pass_for_todays(fedbench, tmp_path):
    """Nothing of the first seed, which is the one shown, is finished any more."""
    plugin = plugins.write(tmp_path, "raising", plugins.RAISING)
    run = ("run", "-a", plugin, "-d", "phantom-heart[patients=10,size=32]", "--rounds", "2", "--workers", "0")
    picture = Path("results/runs/figures/phantom-heart/overlays.png")
    picture.parent.mkdir(parents=True)
    picture.write_bytes(b"older")
    status, out, _ = fedbench(*run, "--seeds", "0-1", "-a", "fedavg")
    assert status == 1 and "overlays: " in out and picture.read_bytes() != b"older"
    for folder in Path("results/runs").glob("phantom-heart.fedavg.s0.*"):
        shutil.rmtree(folder)
    picture.write_bytes(b"older")
    Path(plugin.partition(":")[0]).write_text(plugins.RAISING + "# edited\n")
    status, out, _ = fedbench(*run, "--seeds", "0-1")
    assert status == 1 and "overlays: " not in out


def test_a_declaration_edited_after_the_runs_is_told(fedbench, tiny):
    assert fedbench("run", "--suite", tiny, "--workers", "0")[2] == ""
    status, out, err = fedbench(
        "run", "--suite", tiny, "--workers", "0", "--set", "evaluation.selection=best-validation"
    )
    assert status == 0 and "(best-validation round)" in out
    assert "1 finished run was declared with selection = last, not best-validation" in err


def test_a_reference_that_is_not_trained_is_told_before_the_training(fedbench, tiny):
    run = ("run", "--suite", tiny, "--workers", "0", "--rounds", "1", "--set", "evaluation.reference=local")
    said = "reference = 'local' is no algorithm of this suite, and phantom-heart in results/runs has no finished run"
    plan = ("plan", *run[1:3], *run[5:])
    todo = "add 'local' to the algorithms, or set evaluation.reference to one of them: fedavg, fedprox."
    assert fedbench(*run)[2] == fedbench(*plan)[2] == ""  # one algorithm is no comparison
    for command in (plan, run):
        (line,) = fedbench(*command, "-a", "fedavg", "-a", "fedprox")[2].splitlines()
        assert said in line and line.endswith(todo)
    assert fedbench(*run, "-a", "local")[0] == 0
    for command in (plan, run):
        assert fedbench(*command, "-a", "fedavg", "-a", "fedprox")[2] == ""


def test_runs_of_another_machine_in_one_table_with_new_ones_are_told(fedbench, tiny):
    run = ("run", "--suite", tiny, "--workers", "0")
    assert fedbench(*run)[0] == 0
    (folder,) = [file.parent for file in Path("results/runs").glob("*/run.json")]
    record = json.loads((folder / "run.json").read_text())
    record["versions"]["torch"], record["hardware"]["gpu"] = "1.0", "NVIDIA Abacus"
    (folder / "run.json").write_text(json.dumps(record))
    seal(folder)
    assert fedbench(*run)[2] == ""  # nothing new joins it
    status, _, err = fedbench(*run, "--seeds", "0-1")
    assert status == 0 and "1 finished run was made with torch 1.0, here 2." in err
    assert "; a NVIDIA Abacus, here no GPU: a difference to new ones may come from that alone; another --out" in err
    assert fedbench("run", "--suite", tiny, "--workers", "0", "--seeds", "0-1", "-a", "local", "-a", "fedavg")[0] == 0
    status, _, err = fedbench("tables")
    assert status == 0 and "runs were made with torch 1.0 (1 run) or 2." in err


@pytest.mark.parametrize("name", ["../../evil", "a/b"])
def test_publishing_stays_where_it_is_asked_to(fedbench, tmp_path, name):
    refused(fedbench("publish", name, "--to", str(tmp_path / "published")), f"cannot publish as '{name}'")


def test_a_refused_publication_leaves_nothing(fedbench, tiny):
    assert fedbench("run", "--suite", tiny, "--workers", "0")[0] == 0
    refused(fedbench("publish", "ours", "--suite", tiny, "--to", "published"), "only one algorithm")
    assert not Path("published").exists()


def test_a_file_where_a_folder_is_to_be_written_is_refused(fedbench, tiny):
    write_store(Path("results/runs"), evidence(algorithms=("fedavg", "moon"), patients=3))
    for command in ("tables", "figures", "report"):
        refused(fedbench(command, "--to", tiny), "is a file; name a folder")


def test_a_plugin_that_cannot_be_imported_is_named_with_its_line(fedbench, tmp_path, tiny):
    for line, words in (("import nosuchmodule", "ModuleNotFoundError"), ("raise SystemExit(3)", "SystemExit")):
        plugin = tmp_path / "broken.py"
        plugin.write_text(f'{line}\nfrom fedbench.algorithms.fedavg import FedAvg\nclass X(FedAvg):\n    name = "x"\n')
        refused(fedbench("plan", "--suite", tiny, "-a", f"{plugin}:X"), f"raises {words} (broken.py:1)")


def test_tuning_overwrites_no_suite_of_the_users(fedbench, tiny):
    before = Path(tiny).read_text()
    refused(fedbench("tune", tiny, "--write", tiny), "choose another name")
    assert Path(tiny).read_text() == before
