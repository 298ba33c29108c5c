"""The digest of a plugin's source: what is in it, and what is not; neighbours that another file would replace."""

from __future__ import annotations

import sys

import pytest

from fedbench.errors import UserError
from fedbench.registry import find, load
from fedbench.sources import code_digest
from tests.test_registry import write_algorithm


def digest_of(file) -> str:
    return code_digest(load("algorithm", find("algorithm", str(file))))


def test_an_edited_file_has_another_digest_and_runs_anew(tmp_path):
    file = write_algorithm(tmp_path / "mine.py", doc="Before.")
    before = digest_of(file)
    assert digest_of(file) == before
    write_algorithm(tmp_path / "mine.py", doc="Then.")
    assert digest_of(file) != before
    assert load("algorithm", find("algorithm", str(file))).__doc__ == "Then."


def test_the_digest_does_not_depend_on_the_folder(tmp_path):
    assert digest_of(write_algorithm(tmp_path / "a" / "mine.py")) == digest_of(
        write_algorithm(tmp_path / "b" / "mine.py")
    )


def test_files_of_the_same_name_do_not_make_the_digest_random(tmp_path):
    """A plugin that imports a file called as itself: the same digest wherever they lie, as paths have random hashes."""
    digests = set()
    for number in range(8):
        file = write_algorithm(tmp_path / str(number) / "mine.py", extra="def late():\n    from .parts import mine\n")
        (file.parent / "parts").mkdir()
        (file.parent / "parts" / "mine.py").write_text("X = 1\n")
        digests.add(digest_of(file))
    assert len(digests) == 1


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package with a plugin, a helper it imports, a base class in another package, and an unrelated file."""
    root = tmp_path / "site"
    write_algorithm(root / "toybase" / "base.py", "Base", "toy-base")
    (root / "toybase" / "__init__.py").touch()
    here = root / "toyplugin"
    here.mkdir()
    (here / "__init__.py").touch()
    (here / "helper.py").write_text("MU = 0.5\n\ndef twice(x):\n    return 2 * x\n")
    (here / "unrelated.py").write_text("X = 1\n")
    monkeypatch.syspath_prepend(root)
    yield root
    for name in [name for name in sys.modules if name.partition(".")[0] in ("toybase", "toyplugin")]:
        del sys.modules[name]


CHILD = "\nclass Child(Base):\n    name = 'child'\n"


def child(root, imports: str) -> type:
    (root / "toyplugin" / "child.py").write_text(f"from toybase.base import Base\n{imports}\n{CHILD}")
    import toyplugin.child

    return toyplugin.child.Child


@pytest.mark.parametrize(
    "imports",
    [
        "from toyplugin.helper import twice",
        "from .helper import twice",
        "from toyplugin import helper",
        pytest.param(
            "from .helper import MU",
        ),
        pytest.param(
            "def late():\n    from .helper import twice",
        ),
    ],
)
def test_a_helper_beside_the_plugin_counts(package, imports):
    cls = child(package, imports)
    before = code_digest(cls)
    helper = package / "toyplugin" / "helper.py"
    helper.write_text(helper.read_text().replace("MU = 0.5", "MU = 0.25"))
    assert code_digest(cls) != before


def test_what_a_helper_imports_counts(package):
    (package / "toyplugin" / "helper.py").write_text("from .constants import MU\n")
    constants = package / "toyplugin" / "constants.py"
    constants.write_text("MU = 0.5\n")
    cls = child(package, "from .helper import MU")
    before = code_digest(cls)
    constants.write_text("MU = 0.25\n")
    assert code_digest(cls) != before


def test_a_base_class_counts_and_an_unrelated_file_does_not(package):
    cls = child(package, "from toyplugin.helper import twice")
    before = code_digest(cls)
    (package / "toyplugin" / "unrelated.py").write_text("X = 2\n")
    assert code_digest(cls) == before
    base = package / "toybase" / "base.py"
    base.write_text(base.read_text() + "\n# another rule\n")
    assert code_digest(cls) != before


def test_two_plugins_that_mean_different_files_by_one_name_are_refused(tmp_path):
    """Python would give the second one the helper of the first."""
    for folder in ("a", "b", "c"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "shared_rules.py").write_text(
            "from its_own_part import X\n" if folder == "c" else "X = 1\n"
        )
        (tmp_path / folder / "its_own_part.py").write_text("X = 2\n")
        (tmp_path / folder / "fedbench.py").write_text("")  # nobody can mean this one
        write_algorithm(tmp_path / folder / "mine.py", extra="from shared_rules import X\n")
    first = load("algorithm", find("algorithm", f"{tmp_path}/a/mine.py"))
    assert load("algorithm", find("algorithm", f"{tmp_path}/a/mine.py")) is first
    with pytest.raises(UserError, match=r"imports 'shared_rules' and means .*/b/shared_rules\.py, but .*/a/.*; rename"):
        load("algorithm", find("algorithm", f"{tmp_path}/b/mine.py"))
    del sys.modules["shared_rules"]
    load("algorithm", find("algorithm", f"{tmp_path}/c/mine.py"))
    del sys.modules["shared_rules"]
    (tmp_path / "a" / "shared_rules.py").write_text("import its_own_part\n")
    (tmp_path / "a" / "mine.py").write_text((tmp_path / "a" / "mine.py").read_text() + "# edited\n")
    with pytest.raises(UserError, match=r"a/shared_rules\.py imports 'its_own_part' and means .*/a/its_own_part\.py"):
        load("algorithm", find("algorithm", f"{tmp_path}/a/mine.py"))


def test_the_standard_library_does_not_count(tmp_path):
    plain = write_algorithm(tmp_path / "mine.py")
    before = plain.read_bytes()
    cls = load("algorithm", find("algorithm", str(plain)))
    import abc

    mixed = type("Mixed", (cls, abc.ABC), {"__module__": cls.__module__})
    assert plain.read_bytes() == before
    assert code_digest(mixed) == code_digest(cls)
