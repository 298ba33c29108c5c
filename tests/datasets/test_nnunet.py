"""Miniatures in nnU-Net's raw format: versions 2 and 1, channels and mappings, pictures, and what may be wrong."""

import json
import pickle
import re
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from fedbench.data.inspection import inventory
from fedbench.data.preparation import check, prepare
from fedbench.data.prepared import load
from fedbench.dataset import Case, Intensity
from fedbench.datasets.nnunet import NnUnet
from fedbench.engine.inference import truth
from fedbench.errors import UserError
from fedbench.metrics import score_case, surface

OBLIQUE = np.array([[0.96, 0.0, 0.28], [0.0, 1.0, 0.0], [-0.28, 0.0, 0.96]])  # 16 degrees about Y
PERCENTILE = Intensity("percentile", 0.5, 99.5)


def write_image(path: Path, array, spacing=(1.5, 1.25, 4.0), axes: str = "RAS") -> None:
    """Write ``array``, given in RAS, with its axes stored as ``axes`` says; oblique."""
    affine = np.eye(4)
    affine[:3, :3] = OBLIQUE * spacing
    affine[:3, 3] = (-7.0, 12.0, 40.0)
    image = nib.Nifti1Image(array, affine)
    turned = nib.orientations.ornt_transform(nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(axes))
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image.as_reoriented(turned), path)


def write_case(root: Path, case: str, channels: int, seed: int, shape=(7, 6, 4), **grid) -> None:
    """Write channels of noise and a label with 5 in one corner and 2 in a row: left, behind, below."""
    rng = np.random.default_rng(seed)
    for channel in range(channels):
        image = rng.normal(100 * channel, 10, shape).astype(np.float32)
        write_image(root / "imagesTr" / f"{case}_{channel:04d}.nii.gz", image, **grid)
    label = np.zeros(shape, np.uint8)
    label[0, 0, 0], label[1:4, 5, -1] = 5, 2
    write_image(root / "labelsTr" / f"{case}.nii.gz", label, **grid)


def describe(root: Path, **changes) -> None:
    """Write ``dataset.json``, with ``changes`` to the one of :func:`write_nnunet`; None drops a key."""
    content = {
        "channel_names": {"0": "T2", "1": "ADC map"},
        "labels": {"background": 0, "TZ_zone": 5, "Peripheral zone": 2},
        "numTraining": len(list((root / "labelsTr").glob("[!.]*"))),
        "file_ending": ".nii.gz",
        "reference": "Radboud University",
        "licence": "CC BY-SA 4.0",
        "description": "Prostate zones.",
        "overwrite_image_reader_writer": "SimpleITKIO",
    }
    content = {key: value for key, value in (content | changes).items() if value is not None}
    (root / "dataset.json").write_text(json.dumps(content), encoding="utf-8")


def write_nnunet(folder: Path) -> Path:
    """Write a set of 12 cases in 2 channels, stored in various orientations, with all that may lie about."""
    root = folder / "Dataset005_Prostate"
    for number in range(12):
        axes, spacing = ("LPS", "RAS", "PIL")[number % 3], (1.5 + number / 10, 1.25, 4.0)
        write_case(root, f"prostate_{number:02d}", 2, number, axes=axes, spacing=spacing)
    write_image(root / "imagesTs" / "prostate_90_0000.nii.gz", np.ones((4, 4, 2), np.float32))
    (root / "imagesTr" / "._prostate_00_0000.nii.gz").write_bytes(b"AppleDouble")
    (root / "labelsTr" / ".DS_Store").write_bytes(b"")
    (root / "splits_final.json").write_text('[{"train": ["prostate_00"], "val": ["prostate_01"]}]')
    describe(root, numTraining=12)
    return root


def write_mapped(folder: Path, header: str = "case,modality,patient,site") -> Path:
    """Write a set of version 1 with one channel: 24 cases, CT and MR of 12 patients, and ``modalities.csv``."""
    root = folder / "Task017_Abdomen"
    rows = []
    for number in range(24):
        case = f"abd_{number:04d}"
        write_case(root, case, 1, number)
        rows.append({
            "case": case, "modality": ("CT", "T1 in-phase")[number % 2], "patient": f"P{number // 2}",
            "site": "Ulm" if number < 8 else "", "channel": "0",
        })  # fmt: skip
    labels = {"0": "background", "2": "Liver", "5": "Spleen"}
    changes = {"channel_names": None, "file_ending": None, "modality": {"0": "CT"}, "labels": labels}
    describe(root, **changes, numTraining=24)
    write_csv(root / "modalities.csv", [header, *(",".join(row[name] for name in header.split(",")) for row in rows)])
    return root


def write_csv(path: Path, lines, encoding: str = "utf-8") -> None:
    path.write_bytes("\n".join([*lines, ""]).encode(encoding))


def mapped(root: Path, **params) -> NnUnet:
    return NnUnet(root, mapping="modalities.csv", **params)


def problems(dataset: NnUnet) -> list[str]:
    return [str(found) for found in dataset.cases() if isinstance(found, UserError)]


@pytest.fixture
def root(tmp_path):
    return write_nnunet(tmp_path)


@pytest.fixture
def single(tmp_path):
    return write_mapped(tmp_path)


# -- channels are modalities ---------------------------------------------------------------------------------------


def test_lists_cases_by_channel(root):
    dataset = NnUnet(root)
    cases = dataset.cases()
    assert [case.id for case in cases] == [f"prostate_{n:02d}/{m}" for n in range(12) for m in ("T2", "ADC-map")]
    assert cases[3].sources == (
        root / "imagesTr" / "prostate_01_0001.nii.gz", root / "labelsTr" / "prostate_01.nii.gz", root / "dataset.json"
    )  # fmt: skip
    assert {case.site for case in cases} == {""} and {case.part for case in cases} == {""}
    assert inventory(dataset).problems == ()
    assert dataset.name == "nnunet-prostate" and dataset.modalities == ("T2", "ADC-map") and dataset.unit == "mm"
    assert dataset.classes == ("peripheral-zone", "tz-zone") and not dataset.regions  # by value: 2, 5
    assert dataset.intensity == {"T2": PERCENTILE, "ADC-map": PERCENTILE} and dataset.mirror_axes == ()
    assert (dataset.licence, dataset.citation, dataset.where) == (
        "CC BY-SA 4.0", "Radboud University", "Prostate zones."
    )  # fmt: skip
    assert NnUnet.name == "nnunet"


def test_reads_in_ras_and_maps_values_to_classes(root):
    for number, pair in enumerate(zip(*[iter(NnUnet(root).cases())] * 2, strict=True)):
        for channel, case in enumerate(pair):
            volume = pickle.loads(pickle.dumps(case.read))()
            assert volume.image.shape == (1, 7, 6, 4) and volume.image.dtype == np.float32
            assert volume.spacing == pytest.approx((1.5 + number / 10, 1.25, 4.0), rel=1e-5)
            rng = np.random.default_rng(number)
            drawn = [rng.normal(100 * c, 10, (7, 6, 4)).astype(np.float32) for c in range(2)]
            np.testing.assert_array_equal(volume.image[0], drawn[channel])
            expected = np.zeros((7, 6, 4), np.uint8)
            expected[0, 0, 0], expected[1:4, 5, 3] = 2, 1
            np.testing.assert_array_equal(volume.label, expected)


def test_a_value_that_dataset_json_does_not_name(root):
    describe(root, labels={"background": 0, "zone": 2})
    with pytest.raises(UserError, match=r"prostate_00\.nii\.gz: it holds 5, only 0, 2 are allowed"):
        NnUnet(root).cases()[0].read()


def test_nifti_uncompressed(tmp_path):
    root = write_nnunet(tmp_path)
    for path in root.rglob("*.nii.gz"):
        if not path.name.startswith("."):
            nib.save(nib.load(path), path.with_name(path.name.removesuffix(".gz")))
        path.unlink()
    describe(root, file_ending=".nii", numTraining=12)
    cases = NnUnet(root).cases()
    assert len(cases) == 24 and cases[0].sources[0].name == "prostate_00_0000.nii"
    assert cases[0].read().label.max() == 2


def test_cases_reads_no_image(root):
    for path in (root / "imagesTr").glob("*.nii.gz"):
        path.write_bytes(b"")
    dataset = NnUnet(root)
    assert len(dataset.cases()) == 24 and len(dataset.spacing) == 3
    with pytest.raises(UserError, match=r"prostate_00_0000\.nii\.gz: the file is empty"):
        dataset.cases()[0].read()


# -- the common grid -----------------------------------------------------------------------------------------------


def test_spacing_is_the_median_of_headers_in_ras_order(root):
    """Along X 1.5, 1.6 ... 2.6 mm: the median is 2.05, whatever axis of the file is X; 7 and 6 voxels are few."""
    dataset = NnUnet(root)
    assert dataset.spacing == (2.05, 1.25, 4.0) and dataset.size == (32, 32)


def test_damaged_headers_are_passed_over(root):
    """Without the three finest the median of 1.8 ... 2.6 is 2.2; the damage is told when the case is read."""
    for number, content in enumerate((b"", b"version https://git-lfs.github.com/spec/v1\n", b"\x1f\x8b cut")):
        for channel in range(2):
            (root / "imagesTr" / f"prostate_{number:02d}_{channel:04d}.nii.gz").write_bytes(content)
    dataset = NnUnet(root)
    assert dataset.spacing == (2.2, 1.25, 4.0) and len(dataset.cases()) == 24
    with pytest.raises(UserError, match=r"prostate_01_0000\.nii\.gz: not a NIfTI file"):
        dataset.cases()[2].read()


@pytest.mark.parametrize(
    ("shapes", "spacings", "spacing", "size"),
    [
        ([(70, 100, 4)], [(0.9765625, 1 / 3, 5.0)], (0.977, 0.333, 5.0), (64, 96)),
        ([(64, 48, 4)], [(0.9765625, 1 / 3, 5.0)], (0.977, 0.333, 5.0), (64, 48)),  # 63.97 voxels are 64
        ([(300, 20, 4)], [(1, 1, 1)], (1.0, 1.0, 1.0), (256, 32)),
        # 40, 60 and 80 mm along X are 20, 30 and 40 voxels of 2 mm, so 30, but 32 at least; along Y 80, 120, 160
        ([(40, 160, 4), (30, 120, 4), (20, 80, 4)], [(1, 1, 3), (2, 2, 3), (4, 4, 3)], (2.0, 2.0, 3.0), (32, 112)),
    ],
)
def test_size_by_hand(tmp_path, shapes, spacings, spacing, size):
    for number, (shape, given) in enumerate(zip(shapes, spacings, strict=True)):
        write_case(tmp_path, f"c{number}", 2, number, shape=shape, spacing=given)
    describe(tmp_path)
    dataset = NnUnet(tmp_path)
    assert dataset.spacing == spacing and dataset.size == size


def write_slices(folder: Path, axes: str) -> Path:
    """Write a set of version 1 as it is made of pictures: 12 cases of one slice, 999 mm thick."""
    root = folder / "Task120_Slices"
    for number in range(12):
        write_case(root, f"s_{number:02d}", 2, number, (40, 50, 1), spacing=(0.5, 0.75, 999.0), axes=axes)
        label = np.zeros((40, 50, 1), np.uint8)
        label[10:20, 10:30], label[0, 0] = 2, 5
        write_image(root / "labelsTr" / f"s_{number:02d}.nii.gz", label, spacing=(0.5, 0.75, 999.0), axes=axes)
    describe(root, channel_names=None, file_ending=None, modality={"0": "T1", "1": "T2"})
    return root


@pytest.mark.parametrize("axes", ["RAS", "SRA"])
def test_single_slices_are_two_dimensional(tmp_path, axes):
    """In mm along X and Y, whatever the thickness: of 10 times 20 voxels only the border is surface."""
    dataset = NnUnet(write_slices(tmp_path, axes))
    assert dataset.spacing == (0.5, 0.75) and dataset.size == (32, 48) and dataset.unit == "mm"
    store = load(prepare(dataset, "v1", tmp_path / "cache"))
    assert check(dataset, "v1", tmp_path / "cache") == ([], [], [], [])
    assert {(case.shape, case.unit, case.image.shape) for case in store.cases} == {((40, 50), "mm", (1, 1, 40, 50))}
    assert store.cases[0].spacing == pytest.approx((0.5, 0.75), rel=1e-5)
    (missed,) = score_case(np.zeros((40, 50), np.uint8), truth(store.cases[0]), [1], store.cases[0].spacing, 1.0)
    assert missed.volume_truth == pytest.approx(200 * 0.5 * 0.75, rel=1e-5)  # mm^2
    assert missed.hd95 == pytest.approx(np.hypot(40 * 0.5, 50 * 0.75), rel=1e-5)
    assert surface(truth(store.cases[0]) == 1).sum() == 2 * 10 + 2 * 18


def test_sagittal_slices_extend_along_y_and_z(tmp_path):
    for number in range(2):
        write_case(tmp_path, f"c{number}", 2, number, shape=(1, 64, 100), spacing=(999.0, 1.25, 4.0), axes="LPS")
    describe(tmp_path)
    dataset = NnUnet(tmp_path)
    assert dataset.spacing == (1.25, 4.0) and dataset.size == (64, 96)
    assert dataset.cases()[0].read().image.shape == (1, 64, 100)


@pytest.mark.parametrize("few", [1, 9])
def test_slices_and_volumes_do_not_mix(root, tmp_path, few):
    """The fewer are named, by ``--check`` as well; without them the set is sound."""
    for number in range(few):
        write_case(root, f"prostate_{number:02d}", 2, number, (7, 6, 1))
    dataset = NnUnet(root)
    kind, others = ("a single slice", "22 of 24 cases are volumes")
    if few > 6:
        kind, others = ("a volume", "18 of 24 cases are single slices")
    with pytest.raises(UserError, match=f"{kind}, but {others}") as caught:
        prepare(dataset, "v1", tmp_path / "cache")
    problems = check(dataset, "v1", tmp_path / "cache").problems
    assert len(problems) == 2 * min(few, 12 - few) and all(problem in str(caught.value) for problem in problems)
    for case in dataset.cases():
        if any(case.id in problem for problem in problems):
            case.sources[0].unlink()
            case.sources[1].unlink(missing_ok=True)
    describe(root)
    assert check(NnUnet(root), "v1", tmp_path / "cache") == ([], [], [], [])


# -- where the folder is, and what it is called --------------------------------------------------------------------


@pytest.mark.parametrize("given", ["..", ".", "imagesTr", "labelsTr"])
def test_folder_above_or_below(tmp_path, given):
    root = write_nnunet(tmp_path / "Größe 1 (é)" / "nnUNet_raw")
    dataset = NnUnet(tmp_path / "Größe 1 (é)" / "nnUNet_raw" if given == ".." else root / given)
    assert len(dataset.cases()) == 24 and dataset.name == "nnunet-prostate" and dataset.path.samefile(root)
    assert inventory(dataset).problems == ()
    assert dataset.cases()[-1].read().label.any()


def test_folder_of_several_sets(root):
    shutil.copytree(root, root.parent / "Dataset006_Other")
    with pytest.raises(UserError, match=r"holds 2 data sets; give the folder of one: Dataset005_Prostate, Dataset006"):
        NnUnet(root.parent)


def test_wrong_folders(tmp_path, root):
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", root / "imagesTs"):
        with pytest.raises(UserError, match=r"no dataset\.json in .*DatasetNNN_Name"):
            NnUnet(folder)
    with pytest.raises(UserError, match="no such folder"):
        NnUnet(tmp_path / "none")


@pytest.mark.parametrize("folder", ["imagesTr", "labelsTr"])
def test_missing_half(root, folder):
    shutil.rmtree(root / folder)
    with pytest.raises(UserError, match=rf"no files \*\.nii\.gz in .*{folder}; add them"):
        NnUnet(root)


@pytest.mark.parametrize("missing", ["imagesTr", "labelsTr"])
def test_files_listed_by_path(root, missing):
    """As version 2 allows: the ending is not what is wrong. Where the files lie as usual, the list does not matter."""
    listed = {"prostate_00": {"images": ["../raw/a.nii.gz", "../raw/b.nii.gz"], "label": "../raw/l.nii.gz"}}
    describe(root, dataset=listed)
    assert len(NnUnet(root).cases()) == 24
    shutil.rmtree(root / missing)
    message = r"dataset\.json: key 'dataset' lists files by path, .* put them into imagesTr and labelsTr"
    with pytest.raises(UserError, match=message) as caught:
        NnUnet(root)
    assert "file_ending" not in str(caught.value)


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("Dataset004_Hippocampus", "nnunet-hippocampus"),
        ("Task501_Größe_2 (neu)", "nnunet-gro-e-2-neu"),
        ("Dataset009_肝臓", "nnunet-dataset009"),
        ("my set", "nnunet-my-set"),
        ("肝臓", "nnunet-data"),
    ],
)
def test_name(root, folder, name):
    assert NnUnet(root.rename(root.parent / folder)).name == name


def test_name_of_the_current_folder(root, monkeypatch):
    monkeypatch.chdir(root)
    assert NnUnet(".").name == "nnunet-prostate"


# -- dataset.json --------------------------------------------------------------------------------------------------


def test_version_1(single):
    dataset = mapped(single)
    assert dataset.classes == ("liver", "spleen") and dataset.name == "nnunet-abdomen"
    describe(single, channel_names=None, modality={"0": "T1", "1": "T2"}, labels={"0": "bg", "5": "A", "2": "B"})
    assert NnUnet(single).modalities == ("T1", "T2") and NnUnet(single).classes == ("b", "a")


def test_regions_map_onto_labels(root):
    labels = {"background": 0, "Whole tumor": [2, 5, 9], "core": [5, 9], "enhancing": 9}
    describe(root, labels=labels, regions_class_order=[1, 2, 3])
    dataset = NnUnet(root)
    assert dataset.classes == ("label-2", "label-5", "label-9")
    assert dataset.regions == {"whole-tumor": (1, 2, 3), "core": (2, 3), "enhancing": (3,)}
    assert dataset.cases()[0].read().label[0, 0, 0] == 2


def test_a_list_of_one_is_no_region(root):
    describe(root, labels={"background": [0], "b": [5], "a": 2})
    assert NnUnet(root).classes == ("a", "b") and not NnUnet(root).regions


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ({"Left_Kidney": 2, "left kidney": 5}, ("left-kidney-2", "left-kidney-5")),
        ({"肝臓": 5, "Œdème (T2)": 2}, ("deme-t2", "label-5")),
        ({"background": 0, "b": 300, "a": 7}, ("a", "b")),
    ],
)
def test_classes_are_safe_and_distinct(root, labels, classes):
    describe(root, labels=labels)
    assert NnUnet(root).classes == classes


@pytest.mark.parametrize(
    ("names", "modalities", "windows"),
    [
        (("CT", "PET"), ("CT", "PET"), {"CT"}),
        (("ct ", "CT-like"), ("ct", "CT-like"), {"ct"}),
        (("CT", "CT"), ("CT-0", "CT-1"), {"CT-0", "CT-1"}),
        (("noNorm", "nonorm"), ("noNorm-0", "nonorm-1"), set()),
        (("T2*", "磁"), ("T2", "channel-1"), set()),
    ],
)
def test_modalities_from_channel_names(root, names, modalities, windows):
    describe(root, channel_names=dict(zip("01", names, strict=True)))
    dataset = NnUnet(root, ct_low=-50)
    assert dataset.modalities == modalities and [case.modality for case in dataset.cases()[:2]] == list(modalities)
    assert {m for m, i in dataset.intensity.items() if i == Intensity("window", -50, 300)} == windows
    assert {m for m, i in dataset.intensity.items() if i == PERCENTILE} == set(modalities) - windows


def test_window(root):
    with pytest.raises(UserError, match=r"ct_low = 300 must be below ct_high"):
        NnUnet(root, ct_low=300)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channel_names": None}, r"key 'channel_names' is missing"),
        ({"channel_names": {"1": "T1", "2": "T2"}}, r"key 'channel_names' is .*number the channels from 0"),
        ({"channel_names": ["T1", "T2"]}, r"key 'channel_names' is .*number the channels from 0"),
        ({"channel_names": {"0": "T1", "1": 2}}, r"key 'channel_names' is .*number the channels from 0"),
        ({"labels": None}, r"key 'labels' is missing"),
        ({"labels": {}}, r"key 'labels' is missing, or holds no names"),
        ({"labels": {"background": 0}}, r"key 'labels' has 0 labels besides the background"),
        ({"labels": {str(n): n for n in range(300)}}, r"key 'labels' has 299 labels"),
        ({"labels": {"background": 0, "a": "1"}}, r"key 'labels': 'a' is \"1\"; give a whole number"),
        ({"labels": {"background": 0, "a": 1.0}}, r"key 'labels': 'a' is 1\.0; give a whole number"),
        ({"labels": {"background": 0, "a": True}}, r"key 'labels': 'a' is true; give a whole number"),
        ({"labels": {"background": 0, "a": -1}}, r"key 'labels': 'a' is -1; give a whole number"),
        ({"labels": {"background": 0, "a": []}}, r"key 'labels': 'a' is \[\]; give a whole number"),
        ({"labels": {"background": 1, "a": 2}}, r"key 'labels': 'background' is 1; the background is 0"),
        ({"labels": {"a": [0, 1]}}, r"key 'labels': 'a' is \[0, 1\]; the background is 0"),
        ({"labels": {"a": 1, "b": 1}}, r"key 'labels': 'a' and 'b' are both 1"),
        ({"labels": {"a": 1, "ignore": 2}}, r"key 'labels': 'ignore' is 2, for voxels that nobody labelled"),
        ({"file_ending": None}, r"key 'file_ending' is missing"),
        ({"file_ending": ".mha"}, r"key 'file_ending' is \"\.mha\".* Convert images and labels to \.nii\.gz"),
        ({"file_ending": ["x"]}, r"key 'file_ending' is \[\"x\"\]"),
        ({"channel_names": {"0": "T1"}}, r"has one channel only; give a mapping, .*case,modality"),
    ],
)
def test_dataset_json_is_refused(root, changes, message):
    describe(root, **changes)
    with pytest.raises(UserError, match=message) as caught:
        NnUnet(root)
    assert str(root) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{'a': 1}", b'{"labels": {"a": 1},}', b"\xff\xfe\x00"])
def test_dataset_json_is_not_json(root, content):
    (root / "dataset.json").write_bytes(content)
    with pytest.raises(UserError, match=r"dataset\.json: not JSON"):
        NnUnet(root)


def test_dataset_json_of_another_kind(root):
    (root / "dataset.json").write_text("[1, 2]")
    with pytest.raises(UserError, match=r"dataset\.json: has no keys"):
        NnUnet(root)


def test_dataset_json_with_byte_order_mark_and_odd_texts(root):
    describe(root, licence=None, license=" CC0 ", reference=7, description="")
    path = root / "dataset.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    dataset = NnUnet(root)
    assert dataset.licence == "CC0" and dataset.citation == NnUnet.citation and dataset.where == NnUnet.where


# -- files that are missing or badly named -------------------------------------------------------------------------


def test_all_problems_at_once(root):
    (root / "imagesTr" / "prostate_01_0001.nii.gz").unlink()
    (root / "labelsTr" / "prostate_02.nii.gz").unlink()
    for channel in range(2):
        (root / "imagesTr" / f"prostate_03_{channel:04d}.nii.gz").unlink()
    shutil.copy(root / "imagesTr" / "prostate_04_0001.nii.gz", root / "imagesTr" / "prostate_04_0002.nii.gz")
    shutil.copy(root / "imagesTr" / "prostate_05_0000.nii.gz", root / "imagesTr" / "prostate_05.nii.gz")
    shutil.copy(root / "imagesTr" / "prostate_06_0000.nii.gz", root / "imagesTr" / "new 7_00.nii.gz")
    describe(root, numTraining=15)
    dataset = NnUnet(root)
    expected = (
        "new 7_00.nii.gz: its name lacks the channel",
        "imagesTr/prostate_01_0001.nii.gz is missing",
        "prostate_02_0000.nii.gz: no labelsTr/prostate_02.nii.gz; add the label",
        "prostate_03.nii.gz: no imagesTr/prostate_03_0000.nii.gz; add the image",
        "prostate_04_0002.nii.gz: .*dataset.json has no channel 2",
        "prostate_05.nii.gz: its name lacks the channel: images are <case>_0000.nii.gz",
        "dataset.json: numTraining is 15, but there are 13 cases",
    )
    found = problems(dataset)
    assert len(found) == len(expected)
    for message, pattern in zip(found, expected, strict=True):
        assert re.search(pattern, message) and "\n" not in message
    assert len([c for c in dataset.cases() if isinstance(c, Case)]) == 2 * 8 + 1


def test_more_cases_than_told_are_no_problem(root):
    describe(root, numTraining=3)
    assert not problems(NnUnet(root))


@pytest.mark.parametrize("name", ["amos_{:04d}", "la_{:03d}"])
def test_images_without_channel(tmp_path, name):
    """``amos_0007`` could be channel 7 of the case ``amos``, were there not a label of the same name."""
    for number in range(3):
        for folder in ("imagesTr", "labelsTr"):
            write_image(tmp_path / folder / f"{name.format(number)}.nii.gz", np.eye(4, dtype=np.uint8)[..., None])
    describe(tmp_path)
    with pytest.raises(UserError, match=r"no image in .*imagesTr has the channel in its name .*<case>_0000\.nii\.gz"):
        NnUnet(tmp_path)


def test_names_that_end_in_four_digits(single):
    """Of ``abd_0003_0000`` the channel is 0 and the case ``abd_0003``."""
    assert {case.sources[0].name for case in mapped(single).cases()} == {f"abd_{n:04d}_0000.nii.gz" for n in range(24)}


# -- the mapping ---------------------------------------------------------------------------------------------------


def test_mapping_of_cases_to_modalities_patients_and_sites(single):
    dataset = mapped(single)
    assert dataset.modalities == ("CT", "T1-in-phase")
    assert dataset.intensity == {"CT": Intensity("window", -200, 300), "T1-in-phase": PERCENTILE}
    cases = dataset.cases()
    assert [case.id for case in cases] == [f"P{n}/{m}" for n in range(12) for m in ("CT", "T1-in-phase")]
    assert [case.site for case in cases] == ["Ulm"] * 8 + [""] * 16
    assert cases[5].read().label[0, 0, 0] == 2
    assert inventory(dataset).problems == ()


def test_the_parameters_of_a_data_set_make_it_again(single):
    """They hold the checksum of the mapping, which is no part of its name."""
    dataset = mapped(single)
    again = NnUnet(single, **dataset.params.model_dump())
    assert again.params == dataset.params and "#" in dataset.params.mapping
    assert [case.id for case in again.cases()] == [case.id for case in dataset.cases()]


def test_one_patient_is_written_in_one_way(single):
    """Else one person is two patients, one to train on and one to be tested."""
    names = {0: "P0", 1: "p0", 2: "M\u00fcller", 3: "Mu\u0308ller"}
    lines = [f"abd_{n:04d},{'CT' if n % 2 else 'MR'},{names.get(n, f'P{n}')}" for n in range(24)]
    write_csv(single / "modalities.csv", ["case,modality,patient", *lines])
    dataset = mapped(single)
    assert [text.split("modalities.csv")[1] for text in problems(dataset)] == [
        ", line 3: patient 'p0' was 'P0' in line 2; write both alike."
    ]
    assert [case.id for case in dataset.cases() if isinstance(case, Case)][1:3] == ["M\u00fcller/MR", "M\u00fcller/CT"]


def test_without_patients_each_case_is_one(tmp_path):
    cases = mapped(write_mapped(tmp_path, "case,modality")).cases()
    assert [case.patient for case in cases] == [f"abd_{n:04d}" for n in range(24)]
    assert {case.part for case in cases} == {""} and {case.modality for case in cases} == {"CT", "T1-in-phase"}


def test_several_images_of_a_patient_are_parts(single):
    lines = [f"abd_{n:04d},{'CT' if n < 10 else 'MR'},P{n // 4}" for n in range(24)]
    write_csv(single / "modalities.csv", ["case,modality,patient", *lines])
    ids = [case.id for case in mapped(single).cases()]
    assert ids[:2] == ["P0/CT/abd_0000", "P0/CT/abd_0001"] and ids[8:12] == [
        "P2/CT/abd_0008", "P2/CT/abd_0009", "P2/MR/abd_0010", "P2/MR/abd_0011"
    ]  # fmt: skip


def test_mapping_of_patients_only(root):
    lines = [f"prostate_{n:02d},P{max(n, 1)},Ulm" for n in range(12)]
    write_csv(root / "modalities.csv", ["case,patient,site", *lines])
    dataset = mapped(root)
    assert dataset.modalities == ("T2", "ADC-map") and not problems(dataset)
    ids = [case.id for case in dataset.cases()]
    assert ids[:5] == [
        "P1/T2/prostate_00", "P1/ADC-map/prostate_00", "P1/T2/prostate_01", "P1/ADC-map/prostate_01", "P2/T2"
    ]  # fmt: skip
    assert {case.site for case in dataset.cases()} == {"Ulm"}


def test_mapping_chooses_a_channel(root):
    (root / "imagesTr" / "prostate_00_0001.nii.gz").unlink()  # not asked for
    lines = [f"prostate_{n:02d},{('T2', 'ADC')[n % 2]},{n % 2:04d}" for n in range(12)]
    write_csv(root / "modalities.csv", ["case,modality,channel", *lines])
    cases = mapped(root).cases()
    assert [case.sources[0].name for case in cases] == [f"prostate_{n:02d}_{n % 2:04d}.nii.gz" for n in range(12)]
    assert [case.modality for case in cases[:2]] == ["T2", "ADC"]
    (root / "imagesTr" / "prostate_01_0001.nii.gz").unlink()
    assert len(problems(mapped(root))) == 1 and "prostate_01_0001.nii.gz is missing" in problems(mapped(root))[0]


def test_mapping_elsewhere_and_as_excel_writes_it(single, tmp_path):
    lines = (single / "modalities.csv").read_text().splitlines()
    target = tmp_path / "über uns" / "m.csv"
    target.parent.mkdir()
    target.write_bytes("\r\n".join([" Case , Modality,patient,site", "", *lines[1:], ",,,", ""]).encode("utf-8-sig"))
    (single / "modalities.csv").unlink()
    dataset = NnUnet(single, mapping=str(target))
    assert inventory(dataset).problems == () and len(dataset.cases()) == 24


def test_another_mapping_makes_another_store(single):
    """What a store is made from includes the parameters, and not a mapping that lies elsewhere."""
    before, again = mapped(single).params, mapped(single).params
    path = single / "modalities.csv"
    path.write_text(path.read_text().replace("Ulm", "Bonn"))
    assert before == again != mapped(single).params


@pytest.mark.parametrize(
    ("line", "text", "message"),
    [
        (4, "abd_9,CT,P1,", r"line 4: the data set has no case 'abd_9'; did you mean 'abd_00"),
        (4, "xyz,CT,P1,", r"line 4: the data set has no case 'xyz'; correct the name"),
        (4, "abd_0001,CT,P1,", r"line 4: case 'abd_0001' was in line 3 already"),
        (4, "abd_0002,,P1,", r"line 4: the modality is empty"),
        (4, "abd_0002, ,P1,", r"line 4: the modality is empty"),
        (4, ",CT,P1,", r"line 4: the case is empty"),
        (4, "abd_0002,CT,,", r"line 4: the patient is empty"),
        (4, "abd_0002,CT,P1", r"line 4: 3 fields under 4 columns"),
        (4, "abd_0002,CT,P1,Ulm,3", r"line 4: 5 fields under 4 columns"),
        (4, "abd_0002,ct,P1,Ulm", r"line 4: modality 'ct' was 'CT' in line 2"),
        (4, "abd_0002,磁,P1,Ulm", r"line 4: modality '磁' has no letters"),
        (4, "", r"case 'abd_0002' is not listed"),
    ],
)
def test_wrong_line(single, line, text, message):
    lines = (single / "modalities.csv").read_text().splitlines()
    lines[line - 1] = text
    write_csv(single / "modalities.csv", lines)
    dataset = mapped(single)
    found = problems(dataset)
    assert re.search(message, found[0]) and str(single / "modalities.csv") in found[0]
    replaced = ["not listed"] if text and "abd_0002" not in text else []  # what the line said before is gone
    assert ["abd_0002" in other and "not listed" for other in found[1:]] == replaced
    assert sum(isinstance(case, Case) for case in dataset.cases()) == 23


def test_all_wrong_lines_at_once(single):
    write_csv(single / "modalities.csv", ["case,modality", "abd_0000,", "abd_0001,CT", "zzz,CT"])
    found = problems(mapped(single))
    assert [text.split("modalities.csv")[1][:8] for text in found[:3]] == [", line 2", ", line 4", ": case '"]
    assert len(found) == 2 + 22


def test_unlisted_and_incomplete(single):
    """A case may have two problems; each is told."""
    (single / "labelsTr" / "abd_0003.nii.gz").unlink()
    lines = (single / "modalities.csv").read_text().splitlines()
    write_csv(single / "modalities.csv", [line for line in lines if "abd_0003" not in line])
    assert ["not listed" in text or "no labelsTr" in text for text in problems(mapped(single))] == [True, True]


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("modality,patient", r"column 'case' is missing"),
        ("case,site", r"column 'modality' is missing; write case,modality or case,patient"),
        ("case;modality", r"separate columns by commas"),
        ("case,modality,pateint", r"unknown column 'pateint'; did you mean 'patient'\?"),
        ("case,modality,modality", r"column 'modality' is there twice"),
        ("case,patient,channel", r"column 'channel' needs a column 'modality'"),
        ("", r"column 'case' is missing"),
    ],
)
def test_wrong_columns(single, header, message):
    write_csv(single / "modalities.csv", [header, "abd_0000,CT,P1"] if header else [])
    with pytest.raises(UserError, match=rf"modalities\.csv, first line: {message}"):
        mapped(single)


def test_channels_of_the_mapping(root, single):
    write_csv(root / "modalities.csv", ["case,modality", "prostate_00,T2"])
    with pytest.raises(UserError, match=r"a case has 2 channels; add a column 'channel'"):
        mapped(root)
    write_csv(root / "modalities.csv", ["case,modality,channel", "prostate_00,T2,2", "prostate_01,T2,T2"])
    assert [text.split("line ")[1] for text in problems(mapped(root))[:2]] == [
        "2: there is no channel '2'; the data set has 0 to 1.", "3: there is no channel 'T2'; the data set has 0 to 1."
    ]  # fmt: skip
    write_csv(single / "modalities.csv", ["case,patient", *(f"abd_{n:04d},P{n}" for n in range(24))])
    with pytest.raises(UserError, match=r"has one channel only; give a mapping"):
        mapped(single)


def test_mapping_that_cannot_be_read(single):
    path = single / "modalities.csv"
    lines = path.read_text().splitlines()
    lines[6] = lines[6].replace("Ulm", "Köln")
    write_csv(path, lines, "latin-1")
    with pytest.raises(UserError, match=r"modalities\.csv, line 7: not UTF-8"):
        mapped(single)
    write_csv(path, lines, "utf-16")
    with pytest.raises(UserError, match=r"modalities\.csv, line 1: not UTF-8"):
        mapped(single)
    write_csv(path, [lines[0], '"abd_0000"x,CT,P1,'])
    with pytest.raises(UserError, match=r"modalities\.csv, line 2: not CSV"):
        mapped(single)
    path.unlink()
    with pytest.raises(UserError, match=r"modalities\.csv: the mapping cannot be read: No such file"):
        mapped(single)


# -- pictures ------------------------------------------------------------------------------------------------------


def write_pictures(folder: Path, channels: int = 1, mode: str = "RGB") -> Path:
    """Write 8 pictures of 40 x 20 px, with label 3 in the top left corner, and a mapping of even and odd ones."""
    root = folder / "Dataset120_Eyes"
    for name in ("imagesTr", "labelsTr"):
        (root / name).mkdir(parents=True)
    for number in range(8):
        pixels = np.random.default_rng(number).integers(0, 255, (20, 40, 3), np.uint8)
        pixels[0, 0] = 255
        for channel in range(channels):
            picture = Image.fromarray(pixels).convert(mode)
            picture.save(root / "imagesTr" / f"eye {number}_{channel:04d}.png")
        label = np.zeros((20, 40), np.uint8)
        label[0, 0] = 3
        Image.fromarray(label).save(root / "labelsTr" / f"eye {number}.png")
    names = {"0": "R", "1": "G", "2": "B"} if mode == "RGB" else {str(c): f"filter {c}" for c in range(channels)}
    describe(root, channel_names=names, labels={"background": 0, "Vessel": 3}, file_ending=".png", numTraining=8)
    write_csv(root / "modalities.csv", ["case,modality", *(f"eye {n},{('day', 'night')[n % 2]}" for n in range(8))])
    return root


def test_coloured_pictures_need_a_mapping(tmp_path):
    root = write_pictures(tmp_path)
    dataset = mapped(root)
    assert dataset.unit == "px" and dataset.spacing == (1.0, 1.0) and dataset.size == (32, 32)
    assert dataset.classes == ("vessel",) and inventory(dataset).problems == ()
    volume = pickle.loads(pickle.dumps(dataset.cases()[0].read))()
    assert volume.image.shape == (3, 40, 20) and volume.image.dtype == np.float32 and volume.spacing == (1.0, 1.0)
    assert (volume.image[:, 0, 19] == 255).all()  # X to the right, Y upwards
    assert volume.label[0, 19] == 1 == volume.label.sum() and volume.label.dtype == np.uint8
    with pytest.raises(UserError, match="has one channel only; give a mapping"):
        NnUnet(root)


def test_grey_pictures_may_have_channels(tmp_path):
    dataset = NnUnet(write_pictures(tmp_path, 2, "L"))
    assert dataset.modalities == ("filter-0", "filter-1") and len(dataset.cases()) == 16
    assert dataset.cases()[1].read().image.shape == (1, 40, 20)


def test_wrong_labels_of_pictures(tmp_path):
    root = write_pictures(tmp_path)
    path = root / "labelsTr" / "eye 0.png"
    read = mapped(root).cases()[0].read
    for picture, message in [
        (Image.new("RGB", (40, 20)), r"eye 0\.png: labels are grey values, this picture is coloured"),
        (Image.new("L", (20, 40)), r"eye 0\.png: 20x40 pixels, its image .*eye 0_0000\.png 40x20"),
        (Image.new("L", (40, 20), 9), r"eye 0\.png: it holds 9, only 0, 3 are allowed"),
    ]:
        picture.save(path)
        with pytest.raises(UserError, match=message):
            read()
