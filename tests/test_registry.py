"""Plugins are found by name without running, and named by a spec."""

from __future__ import annotations

import os
import py_compile
import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedbench import registry
from fedbench.errors import UserError
from fedbench.registry import Spec, discover, find, load, parse_spec
from fedbench.sources import code_digest
from tests.toys import in_another_process

ALGORITHM = """
from fedbench.algorithms.fedavg import FedAvg

class {name}(FedAvg):
    "{doc}"
    name = "{plugin}"
"""


def write_algorithm(file, name="Mine", plugin="mine", doc="My own.", extra=""):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(extra + ALGORITHM.format(name=name, plugin=plugin, doc=doc))
    return file


# -- specs ------------------------------------------------------------------------------------------------------------

words = st.from_regex(r"[a-z][a-z0-9-]{0,9}", fullmatch=True)
texts = st.text("abcdefgXYZ0123456789.-_'\"+ ", max_size=8).map(str.strip)
values = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts
specs = st.builds(
    Spec,
    words | st.just("some/folder/my_file.py:MyClass"),
    st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), values).map(lambda d: tuple(sorted(d.items()))),
    st.none() | st.from_regex(r"/[a-z0-9/=\[\]., ]{0,12}[a-z]", fullmatch=True),
)


@given(specs)
def test_a_spec_reads_what_it_wrote(spec):
    """The worker reads a spec's text again: any other value there would be another run than the planned one."""
    again = parse_spec(spec.text)
    assert again == spec
    assert [type(value) for _, value in again.params] == [type(value) for _, value in spec.params]


def test_specs_as_people_write_them():
    assert parse_spec("fedavg") == Spec("fedavg")
    assert parse_spec(" fedprox[ mu = 1e-3 , note=fast ] ") == Spec("fedprox", (("mu", 1e-3), ("note", "fast")))
    assert parse_spec("sts=/data/my sts") == Spec("sts", (), "/data/my sts")
    assert parse_spec("a/b.py:C[x=true]=D=E") == Spec("a/b.py:C", (("x", True),), "D=E")
    assert parse_spec("/a=b/c[d]/e.py:F[x=1]=/g=h.py") == Spec("/a=b/c[d]/e.py:F", (("x", 1),), "/g=h.py")
    assert parse_spec("/a=b/c.py") == Spec("/a=b/c.py") and parse_spec("x=/a/b.py") == Spec("x", (), "/a/b.py")
    assert parse_spec("x[a=null,b=1,c='1']").params == (("a", None), ("b", 1), ("c", "1"))
    assert parse_spec("x[b=1,a=2]").text == parse_spec("x[a=2, b=1]").text == "x[a=2,b=1]"
    assert parse_spec("moon[mode=fast]").text == "moon[mode=fast]"


@pytest.mark.parametrize(
    "text", ["", "fedprox[mu=1", "fedprox]", "fedprox[mu]", "fedprox[=1]", "[mu=1]", "=path", "a="]
)
def test_unreadable_specs_say_how_to_write_them(text):
    with pytest.raises(UserError, match="write NAME"):
        parse_spec(text)


def test_a_parameter_given_twice_is_refused():
    with pytest.raises(UserError, match="mu"):
        parse_spec("fedprox[mu=1,mu=2]")


# -- discovery --------------------------------------------------------------------------------------------------------


def test_builtins_are_listed_without_torch():
    code = """
        import sys
        from fedbench.registry import discover
        print(*discover("algorithm"), "|", *discover("dataset"))
        assert "torch" not in sys.modules and "fedbench.algorithms.fedavg" not in sys.modules
    """
    algorithms, _, datasets = in_another_process(code).partition(" | ")
    expected = {
        "fedavg", "fedprox", "fedbn", "moon", "fedda-cyclic", "fedda-joint", "local", "centralised",
        "scaffold", "fedadam", "ditto", "silobn",
    }  # fmt: skip
    assert expected <= set(algorithms.split())
    assert "sts" in datasets.split()
    assert algorithms.split() == sorted(algorithms.split())


def test_every_builtin_loads_and_has_a_summary():
    for kind in ("algorithm", "dataset"):
        for name, plugin in discover(kind).items():
            assert load(kind, plugin).name == name
            assert plugin.summary.endswith("."), name


def test_a_folder_in_place_of_a_dataset_is_told_how_to_be_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Dataset501_Eyes").mkdir()
    with pytest.raises(UserError, match="It is a folder: say as which dataset to read it, NAME=Dataset501_Eyes"):
        find("dataset", "Dataset501_Eyes")


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(UserError, match="no algorithm named 'fedporx'; did you mean 'fedprox'"):
        find("algorithm", "fedporx")
    with pytest.raises(UserError, match="no dataset named 'fedavg'"):
        find("dataset", "fedavg")


def write_distribution(root, target: str, package_code: str = "") -> None:
    """An installed package ``toyfed`` as pip leaves it: the package and its dist-info."""
    info = root / "toyfed-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toyfed\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[fedbench.algorithms]\nmine = {target}\n")
    write_algorithm(root / "toyfed" / "algos.py", "Third", "third-party", "From elsewhere.")
    (root / "toyfed" / "__init__.py").write_text(package_code)


@pytest.mark.parametrize(
    ("target", "loaded"), [("toyfed", ""), ("toyfed.algos:Third", '; print(load("algorithm", plugin).__name__)')]
)
def test_an_installed_package_is_found(tmp_path, target, loaded):
    write_distribution(tmp_path, target)
    code = f"""
        from fedbench.registry import discover, find, load
        plugin = find("algorithm", "third-party"); print(plugin.summary, "fedavg" in discover("algorithm")){loaded}
    """
    assert in_another_process(code, path=tmp_path).split("\n") == ["From elsewhere. True"] + ["Third"] * bool(loaded)


@pytest.mark.parametrize(
    "target",
    [
        "toyfed",
        pytest.param(
            "toyfed.algos:Third",
        ),
    ],
)
def test_listing_runs_nothing_of_an_installed_package(tmp_path, target):
    write_distribution(tmp_path, target, "print('ran')")
    code = "from fedbench.registry import discover\nassert 'third-party' in discover('algorithm')"
    assert in_another_process(code, path=tmp_path) == ""


@pytest.mark.parametrize(
    "target",
    [
        "gone",
        pytest.param(
            "gone.algos:Third",
        ),
    ],
)
def test_one_broken_installation_does_not_stop_the_others(tmp_path, target):
    write_distribution(tmp_path, target)
    code = """
        from fedbench.registry import discover
        try:
            print("fedavg" in discover("algorithm"))
        except ImportError as error:
            print(repr(error))
    """
    output = in_another_process(code, path=tmp_path)
    assert output == "True"


def test_two_plugins_of_one_name_are_refused(tmp_path):
    write_distribution(tmp_path, "toyfed")
    write_algorithm(tmp_path / "toyfed" / "other.py", "Other", "fedavg")
    code = """
        from fedbench.errors import UserError
        from fedbench.registry import discover
        try:
            discover("algorithm")
        except UserError as error:
            print(error)
    """
    message = in_another_process(code, path=tmp_path)
    assert "two algorithms are named 'fedavg'" in message
    assert str(tmp_path / "toyfed" / "other.py") in message and "algorithms/fedavg.py" in message


# -- files of the user's ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["", ":Mine"])
def test_a_file_is_a_plugin(tmp_path, suffix):
    file = write_algorithm(tmp_path / "mine.py")
    plugin = find("algorithm", f"{file}{suffix}")
    assert (plugin.name, plugin.summary, plugin.file) == ("mine", "My own.", file)
    cls = load("algorithm", plugin)
    assert cls.name == "mine" and cls().params.model_dump() == {}
    assert load("algorithm", plugin) is cls


def test_a_relative_path_and_the_home_folder_work(tmp_path, monkeypatch):
    file = write_algorithm(tmp_path / "mine.py")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find("algorithm", "mine.py").file == find("algorithm", "~/mine.py:Mine").file == file


def test_a_file_with_two_plugins_needs_the_class(tmp_path):
    file = write_algorithm(tmp_path / "two.py", "One", "one")
    file.write_text(file.read_text() + ALGORITHM.format(name="Two", plugin="two", doc=""))
    with pytest.raises(UserError, match=r"holds 2 classes; write FILE\.py:CLASS, which may be: One, Two"):
        find("algorithm", str(file))
    assert find("algorithm", f"{file}:Two").name == "two"
    with pytest.raises(UserError, match=r"holds no class Three; .*One, Two"):
        find("algorithm", f"{file}:Three")


def test_files_that_cannot_be_plugins_are_named(tmp_path):
    with pytest.raises(UserError, match=rf"no such plugin file: {re.escape(str(tmp_path))}/none\.py$"):
        find("algorithm", f"{tmp_path}/none.py")
    with pytest.raises(UserError, match=r"/mine\.py\.Mine; a class in a file is written FILE\.py:CLASS"):
        find("algorithm", f"{tmp_path}/mine.py.Mine")
    empty = tmp_path / "empty.py"
    empty.write_text("class Nameless: pass\n")
    with pytest.raises(UserError, match=r"empty\.py holds no algorithm: no class in it has a `name`"):
        find("algorithm", str(empty))
    broken = tmp_path / "broken.py"
    broken.write_text("class Mine(:\n")
    with pytest.raises(UserError, match=r"broken\.py is not valid Python.*line 1"):
        find("algorithm", str(broken))
    broken.write_bytes(b"name = '\xff'\n")
    with pytest.raises(UserError, match=r"broken\.py is not valid Python"):
        find("algorithm", str(broken))


def test_a_class_of_another_kind_is_refused(tmp_path):
    file = tmp_path / "stranger.py"
    file.write_text("class Stranger:\n    name = 'stranger'\n")
    with pytest.raises(UserError, match=r"stranger\.py: class Stranger is not a fedbench\.algorithm\.Algorithm"):
        load("algorithm", find("algorithm", str(file)))
    mine = write_algorithm(tmp_path / "mine.py")
    with pytest.raises(UserError, match=r"class Mine is not a fedbench\.dataset\.Dataset"):
        load("dataset", find("dataset", str(mine)))


def test_nothing_runs_until_a_plugin_is_loaded(tmp_path):
    ran = tmp_path / "ran.log"
    note = "from pathlib import Path\nwith Path({!r}).open('a') as log:\n    log.write('{}')\n"
    named = write_algorithm(tmp_path / "named.py", extra=note.format(str(ran), "named "))
    write_algorithm(tmp_path / "neighbour.py", extra=note.format(str(ran), "neighbour "))
    plugin = find("algorithm", str(named))
    discover("algorithm")
    assert not ran.exists()
    code_digest(load("algorithm", plugin))
    assert ran.read_text() == "named "


def test_what_python_has_compiled_is_not_taken_for_what_was_written_since(tmp_path):
    """The same size, and the same second of change, by which Python knows its compiled copies."""
    for doc in ("One.", "Two."):
        file = write_algorithm(tmp_path / "mine.py", doc=doc)
        os.utime(file, (10**9, 10**9))
        assert load("algorithm", find("algorithm", str(file))).__doc__ == doc
        py_compile.compile(str(file))  # as whoever imports it leaves it behind


def test_a_plugin_file_may_import_from_its_folder(tmp_path):
    (tmp_path / "my_helper_functions.py").write_text("def twice(x):\n    return 2 * x\n")
    file = write_algorithm(tmp_path / "mine.py", extra="from my_helper_functions import twice\n")
    cls = load("algorithm", find("algorithm", str(file)))
    assert sys.modules[cls.__module__].twice(4) == 8


def test_a_folder_that_was_not_installed_is_named_as_the_trouble(monkeypatch):
    """A clone from which `python -m fedbench` starts, since what it needs is there: pip knows none of its plugins."""
    monkeypatch.setattr(registry, "entry_points", lambda group: [])
    discover.cache_clear()
    try:
        with pytest.raises(UserError, match=r"no algorithms are installed, not even .* pip install -e /"):
            find("algorithm", "fedavg")
    finally:
        discover.cache_clear()
