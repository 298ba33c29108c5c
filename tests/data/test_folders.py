"""What lies in a folder, without what operating systems leave there."""

from pathlib import Path

import pytest

from fedbench.data.folders import by_stem, pair, visible
from fedbench.errors import UserError


def touch(folder: Path, *names: str) -> list[Path]:
    paths = [folder / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return paths


@pytest.fixture
def root(tmp_path):
    """A path with blanks, umlauts and a hidden parent, none of which matters."""
    folder = tmp_path / ".cache" / "Übung mit Leerzeichen"
    folder.mkdir(parents=True)
    return folder


def test_sorted_without_clutter(root):
    touch(root, "b.nii.gz", "a.nii.gz", "._a.nii.gz", ".DS_Store", "Thumbs.db", "desktop.ini", "__MACOSX/a.nii.gz")
    (root / "c").mkdir()
    assert visible(root) == [root / "a.nii.gz", root / "b.nii.gz", root / "c"]
    assert visible(root, "a*") == [root / "a.nii.gz"]
    assert visible(root / "none") == visible(root / "a.nii.gz") == []


def test_nothing_from_below_hidden_folders(root):
    wanted, *_ = touch(root, "b/a.nii", "__MACOSX/a.nii", ".trash/a.nii", "b/._a.nii")
    assert visible(root, "*/*.nii") == visible(root, "**/*.nii") == [wanted]


def test_by_stem(root):
    """A broken link is listed, so that whoever opens it says so."""
    touch(root, "1.nii", "2.b.nii.gz", "3.txt", "nii")
    (root / "4.txt").mkdir()
    (root / "5.nii").symlink_to(root / "gone")
    assert by_stem(visible(root)) == ({"1": root / "1.nii", "2.b": root / "2.b.nii.gz", "5": root / "5.nii"}, [])
    assert by_stem(visible(root), [".txt"]) == ({"3": root / "3.txt"}, [])


def test_a_folder_named_like_an_image(root):
    """It stands for the one image in it; with none or two it is what is found, for the inventory to tell."""
    touch(
        root,
        "1.nii/other.nii.gz",
        "1.nii/._other.nii.gz",
        "1.nii/notes.txt",
        "2.nii.gz/2.nii",
        "3.nii/a.nii",
        "3.nii/b.nii",
    )
    (root / "4.nii").mkdir()
    expected = {"1": root / "1.nii" / "other.nii.gz", "2": root / "2.nii.gz" / "2.nii"}
    expected |= {"3": root / "3.nii", "4": root / "4.nii"}
    assert by_stem(visible(root)) == (expected, [])
    everything = [*visible(root), root / "2.nii.gz" / "2.nii"]
    assert by_stem(everything) == (expected, [])
    found, problems = by_stem([*everything, *touch(root, "1.nii.gz")])
    assert found == expected and len(problems) == 1 and f"{root / '1.nii.gz'} too; keep one" in str(problems[0])


def test_a_name_found_twice_is_a_problem(root):
    touch(root, "1.nii", "1.nii.gz", "2.nii", "again/2.nii")
    found, problems = by_stem([*visible(root), *visible(root / "again"), *touch(root, "3.nii")])
    assert found == {"1": root / "1.nii", "2": root / "2.nii", "3": root / "3.nii"}
    assert [type(problem) for problem in problems] == [UserError] * 2
    assert f"{root / '1.nii'}: " in str(problems[0]) and f"{root / '1.nii.gz'} too; keep one" in str(problems[0])
    assert f"{root / '2.nii'}: " in str(problems[1]) and f"{root / 'again' / '2.nii'} too" in str(problems[1])


def test_pair():
    images = {name: Path("images") / name for name in ("c", "a", "b")}
    masks = {name: Path("masks") / name for name in ("d", "c", "a")}
    a, b, c, d = pair(images, masks)
    assert a == ("a", images["a"], masks["a"]) and c == ("c", images["c"], masks["c"])
    assert isinstance(b, UserError) and "images/b: this image has no mask; add" in str(b)
    assert isinstance(d, UserError) and "masks/d: this mask has no image; add" in str(d)
