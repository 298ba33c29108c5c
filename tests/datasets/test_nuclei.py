"""A miniature in the layout of the real set, and the real set where it is at hand."""

import csv
import hashlib
import pickle
import shutil
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedbench.datasets.nuclei import LISTED, Nuclei
from fedbench.errors import UserError

REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "nuclei"
KINDS = ("fluorescence", "histology_purple_pink", "histology_purple_white", "brightfield_gray")
FIELDS = 8  # of each kind; the first has two tiles
SHAPE = (20, 24)  # rows, columns


def write_image(folder: Path, name: str, seed: int, colour: bool, nuclei: int) -> None:
    """Nuclei are 3 x 3 px, from the upper left corner to the right, 5 px apart, darker than all else."""
    rng = np.random.default_rng(seed)
    rgb = rng.integers(120, 250, (*SHAPE, 3 if colour else 1), np.uint8).repeat(1 if colour else 3, axis=-1)
    for number in range(nuclei):
        mask = np.zeros(SHAPE, np.uint8)
        mask[1:4, 2 + 5 * number : 5 + 5 * number] = 255
        rgb[mask > 0] = 10 + number
        path = folder / name / "masks" / f"{hashlib.sha256(f'{name}{number}'.encode()).hexdigest()}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(path)
    (folder / name / "images").mkdir()
    alpha = np.full((*SHAPE, 1), 255, np.uint8)
    Image.fromarray(np.concatenate([rgb, alpha], axis=-1)).save(folder / name / "images" / f"{name}.png")


def write_nuclei(folder: Path) -> Path:
    """Four kinds of microscopy, 8 fields and 9 images of each."""
    rows = []
    for kind in KINDS:
        for tile in range(FIELDS + 1):
            field, nuclei = len(KINDS) * max(tile - 1, 0) + KINDS.index(kind), 1 + tile % 4
            name = hashlib.sha256(f"{kind}{tile}".encode()).hexdigest()
            write_image(folder / "stage1_train", name, tile, kind.startswith("histology"), nuclei)
            rows.append((name, kind, *SHAPE, nuclei, field))
    write_index(folder, rows)
    (folder / "README_original.rst").write_text("Kaggle Data Science Bowl 2018 dataset fixes\n")
    return folder


def write_index(folder: Path, rows, columns=("image_id", "modality", "height", "width", "n_nuclei", "field")) -> None:
    with (folder / "index.csv").open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])


def rows_of(folder: Path) -> list[list[str]]:
    with (folder / "index.csv").open(newline="") as file:
        return list(csv.reader(file))[1:]


@pytest.fixture
def root(tmp_path):
    return write_nuclei(tmp_path / "Zellkerne für Übung 核")


def problems(folder: Path) -> list[str]:
    return [str(found) for found in Nuclei(folder).cases() if isinstance(found, UserError)]


@pytest.mark.parametrize("below", ["..", "", "stage1_train"])
def test_lists_images_by_id(root, below):
    cases = list(Nuclei(root / below).cases())
    names = [case.sources[0].stem for case in cases]
    assert names == sorted(row[0] for row in rows_of(root))
    assert [case.part for case in cases] == [name[:12] for name in names]
    assert Counter(case.modality for case in cases) == dict.fromkeys(Nuclei.modalities, FIELDS + 1)
    assert len({case.patient for case in cases}) == 4 * FIELDS  # tiles of one field are one patient
    assert len({case.id for case in cases}) == len(cases)


def test_in_the_working_folder(root, monkeypatch):
    monkeypatch.chdir(root / "stage1_train")
    assert len(list(Nuclei(".").cases())) == 4 * (FIELDS + 1)


def test_case_is_what_the_index_says(root):
    rows = {row[0]: row for row in rows_of(root)}
    for case in Nuclei(root).cases():
        name, kind, _, _, nuclei, field = rows[case.sources[0].stem]
        assert case.patient == f"field-{int(field):03d}"
        assert case.modality == {"brightfield_gray": "brightfield"}.get(kind, kind.replace("_", "-"))
        masks = sorted((root / "stage1_train" / name / "masks").iterdir())
        assert case.sources[1:] == tuple(masks) and len(masks) == int(nuclei)


def test_reads_union_of_masks_upright(root):
    for case in Nuclei(root).cases():
        volume = pickle.loads(pickle.dumps(case.read))()
        assert volume.image.shape == (3, SHAPE[1], SHAPE[0]) and volume.image.dtype == np.float32
        assert volume.label.shape == (SHAPE[1], SHAPE[0]) and volume.label.dtype == np.uint8
        assert volume.spacing == (1.0, 1.0)
        expected = np.zeros((SHAPE[1], SHAPE[0]))
        for number in range(len(case.sources) - 1):
            nucleus = (slice(2 + 5 * number, 5 + 5 * number), slice(SHAPE[0] - 4, SHAPE[0] - 1))  # at the top: high Y
            expected[nucleus] = 1
            assert (volume.image[:, *nucleus] == 10 + number).all()
        np.testing.assert_array_equal(volume.label, expected)
        assert (volume.image.std(axis=0).max() > 0) == case.modality.startswith("histology")


def test_declares_every_modality(root):
    assert set(Nuclei.intensity) == set(Nuclei.modalities) == {case.modality for case in Nuclei(root).cases()}


def test_ids_that_begin_alike_stay_apart(root):
    rows = rows_of(root)
    twins = ["0123456789ab" + end * 52 for end in "cd"]
    for name in twins:
        write_image(root / "stage1_train", name, 0, False, 1)
    write_index(root, [*rows, *([name, KINDS[0], *SHAPE, 1, 7] for name in twins)])
    assert [case.part for case in Nuclei(root).cases() if case.sources[0].stem in twins] == twins


def test_only_three_columns_are_needed_and_fields_may_have_names(root):
    write_index(root, [(row[5] + "b", row[0], row[1]) for row in rows_of(root)], ("field", "image_id", "modality"))
    (root / "index.csv").write_bytes(b"\xef\xbb\xbf" + (root / "index.csv").read_bytes())  # as Excel saves it
    cases = list(Nuclei(root).cases())
    assert len(cases) == 4 * (FIELDS + 1) and "field-31b" in {case.patient for case in cases}


def test_hidden_files_are_ignored(root):
    before = [case.id for case in Nuclei(root).cases()]
    name = rows_of(root)[0][0]
    for path in (".DS_Store", f"._{name}", "Thumbs.db", f"{name}/masks/._a.png", f"{name}/images/.DS_Store"):
        (root / "stage1_train" / path).write_bytes(b"x")
    for path in ("__MACOSX", ".ipynb_checkpoints"):
        (root / "stage1_train" / path / "images").mkdir(parents=True)
    assert [case.id for case in Nuclei(root).cases()] == before


# -- what is wrong with one image --------------------------------------------------------------------------------------


@pytest.fixture
def one(root):
    """An image with four nuclei."""
    return root / "stage1_train" / next(row[0] for row in rows_of(root) if row[4] == "4")


def test_listed_image_without_folder(root, one):
    one.rename(root / "elsewhere")
    assert len(found := problems(root)) == 1 and f"{one} is missing" in found[0]


def test_folder_that_is_not_listed(root, one):
    write_index(root, [row for row in rows_of(root) if row[0] != one.name])
    assert len(found := problems(root)) == 1 and str(one) in found[0] and "does not list it" in found[0]


def test_missing_image(root, one):
    (one / "images" / f"{one.name}.png").unlink()
    assert len(found := problems(root)) == 1 and f"images/{one.name}.png is missing" in found[0]


def test_no_masks(root, one):
    for path in (one / "masks").iterdir():
        path.unlink()
    assert len(found := problems(root)) == 1 and f"{one / 'masks'}: no mask" in found[0]
    (one / "masks").rmdir()
    assert problems(root) == found


def test_mask_that_was_lost(root, one):
    next((one / "masks").iterdir()).unlink()
    assert len(found := problems(root)) == 1 and "3 masks" in found[0] and "says 4" in found[0]


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        (1, "fluoresence", "unknown modality 'fluoresence'; did you mean 'fluorescence'?"),
        (1, "", "unknown modality ''"),
        (5, " ", "no field"),
    ],
)
def test_row_that_says_too_little(root, one, column, value, said):
    rows = rows_of(root)
    next(row for row in rows if row[0] == one.name)[column] = value
    write_index(root, rows)
    assert len(found := problems(root)) == 1 and said in found[0] and one.name in found[0] and "index.csv" in found[0]


def test_rows_that_are_there_twice_or_cut_short(root, one):
    rows = rows_of(root)
    write_index(root, [*rows, next(row for row in rows if row[0] == one.name), ["", KINDS[0]]])
    found = problems(root)
    assert len(found) == 2 and "a row without image_id" in found[0]
    assert f"lists image {one.name} 2 times" in found[1]


def test_all_problems_are_told_at_once(root):
    folders = sorted((root / "stage1_train").iterdir())
    for folder in folders[:3]:
        (folder / "images" / f"{folder.name}.png").unlink()
    assert len(problems(root)) == 3 and len(list(Nuclei(root).cases())) == len(folders)


def test_cases_reads_no_image(root):
    for path in root.rglob("*.png"):
        path.write_bytes(b"")
    cases = list(Nuclei(root).cases())
    assert len(cases) == 4 * (FIELDS + 1)
    with pytest.raises(UserError, match=r"\.png: the file is empty"):
        cases[0].read()


def test_mask_of_another_size_or_with_grey_edges(root, one):
    case = next(case for case in Nuclei(root).cases() if case.sources[0].stem == one.name)
    Image.new("L", (24, 21), 0).save(case.sources[2])
    with pytest.raises(UserError, match=rf"{case.sources[2].name}: the mask is 24x21 pixels, its image .* 24x20"):
        case.read()
    Image.fromarray(np.arange(480, dtype=np.uint8).reshape(SHAPE)).save(case.sources[2])
    with pytest.raises(UserError, match=rf"{case.sources[2].name}: a mask holds black and one other value"):
        case.read()


# -- nothing can be listed ---------------------------------------------------------------------------------------------


def test_none_of_the_listed_images(root):
    (root / "index.csv").unlink()
    said = (
        r"of the 195 images that .*nuclei\.csv lists none is in .*stage1_train\. .*on GitHub; .*write index\.csv beside"
    )
    with pytest.raises(UserError, match=said):
        list(Nuclei(root).cases())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no column image_id, modality, field among ''"),
        (
            b"image_id;modality;field\na;fluorescence;1\n",
            "no column image_id, modality, field among 'image_id;modality",
        ),
        (b"image_id,modality,height\n", "no column field among 'image_id, modality, height'"),
        (b"image_id,modality,field\n", "lists no image"),
        (b"PK\x03\x04\xff\xfe\x00", "not a text table"),
    ],
)
def test_index_of_another_kind(root, content, said):
    (root / "index.csv").write_bytes(content)
    with pytest.raises(UserError, match=r"index\.csv: ") as caught:
        list(Nuclei(root).cases())
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_wrong_folder(tmp_path):
    (tmp_path / "other" / "images").mkdir(parents=True)
    with pytest.raises(UserError, match=r"no images stage1_train/<id>/images/<id>\.png in .*dataset-fixes on GitHub"):
        list(Nuclei(tmp_path).cases())
    with pytest.raises(UserError, match="no such folder"):
        Nuclei(tmp_path / "none")
    with pytest.raises(UserError, match="needs its folder"):
        Nuclei()


# -- the real set ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real():
    if not REAL.is_dir():
        reason = f"the real nuclei are NOT tested: no folder {REAL}"
        warnings.warn(reason, stacklevel=1)
        pytest.skip(reason)
    with (REAL / "index.csv").open(newline="") as file:
        return {row["image_id"]: row for row in csv.DictReader(file)}


def test_real_images_and_fields(real):
    cases = list(Nuclei(REAL).cases())
    assert not [found for found in cases if isinstance(found, UserError)]
    images = Counter(case.modality for case in cases)
    assert [images[name] for name in Nuclei.modalities] == [72, 71, 36, 16]
    fields = Counter(modality for modality, _ in {(case.modality, case.patient) for case in cases})
    assert [fields[name] for name in Nuclei.modalities] == [66, 20, 9, 16]
    assert len({case.patient for case in cases}) == 111  # no field in two modalities
    assert len({case.id for case in cases}) == 195
    for case in cases:
        row = real[case.sources[0].stem]
        assert int(case.patient.removeprefix("field-")) == int(row["field"])
        assert len(case.sources) - 1 == int(row["n_nuclei"])


def test_the_images_are_listed_and_a_download_needs_no_table_of_its_own(real, tmp_path):
    """Of the public download all other images are passed over; what is missing or has other masks is told."""
    with LISTED.open(newline="") as file:
        assert {row.pop("image_id"): row for row in csv.DictReader(file)} == {
            name: {key: row[key] for key in ("modality", "n_nuclei", "field")} for name, row in real.items()
        }
    some = sorted(real)[:3]
    for file in (file for name in some for file in (REAL / "stage1_train" / name).rglob("*.png")):
        copy = tmp_path / file.relative_to(REAL)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
    write_image(tmp_path / "stage1_train", "0" * 64, 0, False, 1)
    next((tmp_path / "stage1_train" / some[2] / "masks").iterdir()).unlink()
    cases = [found for found in Nuclei(tmp_path).cases() if not isinstance(found, UserError)]
    whole = {found.id: found for found in Nuclei(REAL).cases() if not isinstance(found, UserError)}
    assert [case.sources[0].stem for case in cases] == some[:2]
    assert all(whole[case.id].modality == case.modality for case in cases)
    (masks, *missing) = sorted(problems(tmp_path), key=lambda text: "is missing" in text)
    assert some[2] in masks and f"masks, {LISTED} says {real[some[2]]['n_nuclei']}" in masks
    assert len(missing) == 192 and missing[0].endswith("nuclei.csv lists it; download it again.")


def test_real_nuclei_are_seen(real):
    dataset = Nuclei(REAL)
    for case in list(dataset.cases())[::3]:
        volume, row = case.read(), real[case.sources[0].stem]
        assert volume.image.shape == (3, int(row["width"]), int(row["height"])) == (3, *volume.label.shape)
        assert set(np.unique(volume.label)) == {0, 1}
        grey = (volume.image == volume.image[:1]).all()
        assert grey == (not case.modality.startswith("histology"))
        scaled = dataset.intensity[case.modality](volume.image)
        assert abs(scaled.mean()) < 1e-3 and abs(scaled.std() - 1) < 1e-3
        nuclei, rest = scaled[:, volume.label == 1], scaled[:, volume.label == 0]
        contrast = nuclei.mean() - rest.mean()  # fluorescence glows in the dark, stains darken
        assert contrast > 0.8 if case.modality == "fluorescence" else contrast < -0.8
        # Neither black nor white throughout: most of a nucleus is inside the range.
        assert np.mean((nuclei > scaled.min()) & (nuclei < scaled.max())) > 0.5
