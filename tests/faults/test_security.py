"""Files from somebody else: no code in them runs, none unpacks without end, no name in them becomes a path."""

from __future__ import annotations

import ast
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet as pq
import pytest

import fedbench
from fedbench import reading
from fedbench.analysis.analyses import Analyses, Choices
from fedbench.analysis.evidence import Condition
from fedbench.analysis.loading import FORMAT, MANIFEST, read_evidence
from fedbench.analysis.publishing.publish import publish
from fedbench.data.prepared import damage, load
from fedbench.engine import checkpoint
from fedbench.errors import UserError
from fedbench.execution.delivery import Delivery, receive
from fedbench.files import sha256
from fedbench.names import safe
from fedbench.reading import read_arrays, read_table
from fedbench.store import Store, load_results, seal
from tests import plugins
from tests.analysis.evidence_rows import evidence, write_store
from tests.faults.machine import bits, here, make
from tests.toys import ROOT, full, in_another_process, prepare_toy, refused, write_toy


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


@pytest.fixture
def bait(tmp_path):
    return tmp_path / "executed"


def test_the_payload_works(bait):
    """The tests below mean nothing otherwise."""
    pickle.loads(pickle.dumps(Payload(bait)))
    assert bait.exists()


def objects(bait: Path) -> np.ndarray:
    array = np.empty(1, object)
    array[0] = Payload(bait)
    return array


def test_arrays_with_objects_are_refused(tmp_path, bait):
    with open(tmp_path / "a.npz", "wb") as stream:
        np.savez(stream, allow_pickle=True, a=objects(bait))
    with pytest.raises(UserError, match=r"a\.npz: damaged or not arrays"):
        read_arrays(tmp_path / "a.npz")
    assert not bait.exists()


@pytest.mark.parametrize("read", [read_arrays, read_table])
def test_a_pickle_under_another_name_is_refused(tmp_path, bait, read):
    file = tmp_path / "x"
    file.write_bytes(pickle.dumps(Payload(bait)))
    with pytest.raises(UserError, match="damaged or not"):
        read(file)
    assert not bait.exists()


def test_a_pickle_for_a_checkpoint_is_put_aside_and_the_run_starts_over(tmp_path, bait):
    command = make(tmp_path, "fedavg", rounds=2)
    assert here(command, tmp_path)[0] == 0
    (run,) = (tmp_path / "runs").glob("toy.fedavg.*")
    before = bits(tmp_path / "runs")
    (run / "done").unlink()
    (run / "checkpoint.safetensors").write_bytes(pickle.dumps(Payload(bait)))
    with pytest.raises(checkpoint.CorruptCheckpoint):
        checkpoint.load(run / "checkpoint.safetensors")
    assert here(command, tmp_path)[0] == 0
    assert bits(tmp_path / "runs") == before and not bait.exists()


def test_a_prepared_array_with_objects_is_refused(tmp_path, bait):
    folder = prepare_toy(write_toy(tmp_path / "toy", full(2)), tmp_path / "cache")
    np.save(folder / "00000.image.npy", objects(bait), allow_pickle=True)
    with pytest.raises(UserError, match=r"00000\.image\.npy: damaged"):
        _ = load(folder).cases[0].image
    assert not bait.exists()


def repeated(value: object, times: int) -> pyarrow.DictionaryArray:
    """One value again and again: in parquet a dictionary of one entry, and the number of its repetitions."""
    return pyarrow.DictionaryArray.from_arrays(pyarrow.array(np.zeros(times, np.int32)), pyarrow.array([value]))


TOO_LARGE = "too large to be results; not read"
BOMBS: dict[str, Callable[[], dict[str, pyarrow.Array]]] = {
    "numbers": lambda: {"dice": repeated(0.5, 5 * 10**7)},
    "texts": lambda: {"flag": repeated("x" * 10**6, 400)},
    "texts-of-some-rows": lambda: {"flag": repeated("x" * 10**4, 10**5), "dice": repeated(0.5, 10**5)},
    "lists": lambda: {"values": pyarrow.array([np.zeros(5 * 10**7, np.float32)])},
    "texts-in-lists": lambda: {"values": pyarrow.array([["x" * 10**6] * 400])},
    "bytes-of-one-length": lambda: {
        "flag": repeated("x" * 10**6, 400).cast(pyarrow.binary()).cast(pyarrow.binary(10**6))
    },
    "nothing": lambda: {f"c{i}": pyarrow.nulls(10**6) for i in range(50)},
}


def test_a_table_that_unpacks_without_end_is_refused(tmp_path):
    """Some kilobytes that would take hundreds of megabytes: refused by processes that may not take as many."""
    for name, make_bomb in BOMBS.items():
        table = pyarrow.table(make_bomb())
        plain = [f.with_type(f.type.value_type) if pyarrow.types.is_dictionary(f.type) else f for f in table.schema]
        file = tmp_path / f"{name}.parquet"
        pq.write_table(table.cast(pyarrow.schema(plain)), file, compression="zstd", store_schema=False)
        assert file.stat().st_size < 300_000
    said = in_another_process(f"""
        import os, resource, pandas, pyarrow.compute, pyarrow.parquet
        from pathlib import Path
        from fedbench.errors import UserError
        from fedbench.reading import read_table
        for name in {list(BOMBS)!r}:
            if os.fork():
                os.wait()
                continue
            taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (taken + 250 * 2**20,) * 2)
            try:
                print(name, read_table(Path({str(tmp_path)!r}, f"{{name}}.parquet")).shape, flush=True)
            except UserError as error:
                print(name, error, flush=True)
            finally:
                os._exit(0)
    """)
    lines = said.splitlines()
    refusals = {name for name in BOMBS for line in lines if line.startswith(f"{name} ") and TOO_LARGE in line}
    assert refusals == BOMBS.keys(), said


def test_a_table_of_long_but_few_texts_is_read(tmp_path):
    frame = pd.DataFrame({"identity": ["x" * 10**5, None, "y"] * 30, "client": pd.Categorical(["a", "b", None] * 30)})
    frame.to_parquet(tmp_path / "runs.parquet")
    pd.testing.assert_frame_equal(read_table(tmp_path / "runs.parquet"), frame)


def test_a_manifest_of_cases_with_many_files_is_read(tmp_path):
    """As of pictures with a mask for each of hundreds of nuclei: many texts in lists, none of them long."""
    names = [[f"stage1_train/{case:064}/masks/{i:064}.png" for i in range(50)] for case in range(200)]
    pd.DataFrame({"id": [f"{case}" for case in range(200)], "sources": names}).to_parquet(tmp_path / "manifest.parquet")
    read = read_table(tmp_path / "manifest.parquet")
    assert [list(each) for each in read["sources"]] == names


def test_arrays_that_unpack_without_end_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "MOST_BYTES", 2**24)
    file = tmp_path / "predictions.npz"
    np.savez_compressed(file, a=np.zeros(2**25, np.uint8))
    assert file.stat().st_size < 100_000
    with pytest.raises(UserError, match="too large to be results"):
        read_arrays(file)


def member(header: str, content: bytes = b"") -> bytes:
    """An ``.npy`` file whose header says what is given, whatever follows."""
    head = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + content


def archive(file: Path, content: bytes, name: str = "a.npy", **marks: int) -> Path:
    """Write an ``.npz`` file of one member, and put ``marks`` into both its descriptions of it."""
    with zipfile.ZipFile(file, "w") as stream:
        stream.writestr(name, content)
    packed = bytearray(file.read_bytes())
    for at, own in ((0, {"encrypted": 6, "method": 8}), (packed.find(b"PK\x01\x02"), {"encrypted": 8, "method": 10})):
        for mark, value in marks.items():
            packed[at + own[mark]] = value
    file.write_bytes(packed)
    return file


FLOATS = "{{'descr': '<f4', 'fortran_order': False, 'shape': ({},)}}"
CRAFTED = {
    "more-than-memory": ({}, member(FLOATS.format(10**13))),
    "more-than-a-number": ({}, member(FLOATS.format(10**22))),
    "less-than-nothing": ({}, member(FLOATS.format(-5))),
    "more-than-told": ({}, member(FLOATS.format(1), bytes(400))),
    "nested": ({}, member("(" * 3000 + ")" * 3000)),
    "another-version": ({}, b"\x93NUMPY\x09\x00" + bytes(100)),
    "no-array": ({"name": "a"}, b"hello"),
    "encrypted": ({"encrypted": 1}, member(FLOATS.format(1), bytes(4))),
    "packed-by-none-knows-what": ({"method": 99}, member(FLOATS.format(1), bytes(4))),
}


@pytest.mark.parametrize("name", CRAFTED)
def test_arrays_that_are_none_are_a_message(tmp_path, name):
    marks, content = CRAFTED[name]
    with pytest.raises(UserError, match=r"a\.npz: damaged or not arrays \(.+\); make it again"):
        read_arrays(archive(tmp_path / "a.npz", content, **marks))


@pytest.mark.parametrize("told", ["[" * 100_000, '{"index_columns": ["b"], "columns": 3}', "{}", "3"])
def test_a_table_that_says_nonsense_of_itself_is_a_message(tmp_path, told):
    table = pyarrow.table({"a": [1]}).replace_schema_metadata({"pandas": told})
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"a\.parquet: damaged or not parquet"):
        read_table(tmp_path / "a.parquet")


NESTED = "[" * 200_000


def test_brackets_without_end_are_damage_like_any_other(fedbench, tmp_path):
    """Of one run: the others are shown."""
    runs = write_store(tmp_path / "runs", evidence((Condition("toy"),), ("fedavg", "moon"), patients=3))
    run = next(runs.glob("toy.moon.*"))
    (run / "done").write_text(NESTED)
    status, out, err = fedbench("status", "--out", str(runs))
    assert status == 0 and f"damaged: {run.name}: done is not readable; moved to" in err
    assert out.count("toy.fedavg.") == len(list(runs.glob("toy.fedavg.*")))


@pytest.mark.parametrize("content", [NESTED, "{}", "[1]", '{"identity": 3}', '{"identity": {"data": 3}}'])
def test_a_sealed_record_of_no_run_is_a_message(fedbench, tmp_path, content):
    runs = write_store(tmp_path / "runs", evidence((Condition("toy"),), ("fedavg", "moon"), patients=3))
    run = next(runs.glob("toy.moon.*"))
    (run / "run.json").write_text(content)
    seal(run)
    assert fedbench("status", "--out", str(runs))[0] == 0
    other = next(runs.glob("toy.fedavg.*")).name
    for command in (("summary",), ("tables",), ("diff", other, run.name)):
        refused(fedbench(*command, "--from", str(runs)), str(run / "run.json"), "is no record of a run")


def test_a_damaged_table_in_a_sealed_run_is_a_message(tmp_path):
    assert here(make(tmp_path, "fedavg", rounds=1), tmp_path)[0] == 0
    (run,) = (tmp_path / "runs").glob("toy.fedavg.*")
    (run / "cases.parquet").write_bytes(b"PAR1 not a table PAR1")
    seal(run)
    with pytest.raises(UserError, match=r"cases\.parquet: damaged or not parquet"):
        load_results(tmp_path / "runs")


def test_names_from_data_never_become_paths():
    names = ["../../etc/passwd", "a/b", "..", "T1 ce", "T2", "Überweisung", "$(rm -rf)", "x\x00y"]
    assert [safe(name) for name in names] == ["etc-passwd", "a-b", "", "T1-ce", "T2", "Uberweisung", "rm-rf", "x-y"]


# -- names that would be paths -------------------------------------------------------------------------------------


def files_in(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def rewrite(file: Path, column: str, change) -> None:
    """Change a column of a parquet file."""
    frame = pd.read_parquet(file)
    frame[column] = [change(value) for value in frame[column]]
    frame.to_parquet(file, index=False)


ESCAPED = '''
from fedbench.algorithms.fedavg import FedAvg

class Escaped(FedAvg):
    """Its run folder would lie elsewhere."""
    name = "{first}"

Escaped.name = "x/../../../escaped"
'''


@pytest.mark.parametrize("first", ["x/../../../escaped", "harmless"])
def test_a_plugin_cannot_name_a_folder_outside_the_results(tmp_path, first):
    """Also not by another name than the one that is read before its code runs."""
    work = tmp_path / "a" / "b"
    work.mkdir(parents=True)
    plugin = plugins.write(work, "escaped", ESCAPED.format(first=first))
    status, _, err = here(make(work, f"{plugin}:Escaped", rounds=1), work)
    assert status == 2 and "x/../../../escaped" in err and "Traceback" not in err
    assert files_in(tmp_path) == files_in(work) | {work, work.parent}
    assert not list(work.rglob("*escaped*.s0.*"))


@pytest.mark.parametrize("run_id", ["../../../../{}/toy.fedavg.s0.abc", "{}/toy.fedavg.s0.abc"])
def test_a_published_run_cannot_name_a_folder_to_verify_in(fedbench, tmp_path, run_id):
    runs = write_store(tmp_path / "runs", evidence((Condition("toy"),), ("fedavg", "moon"), patients=3))
    publish(Analyses(read_evidence(runs), Choices()), tmp_path / "study", "ours")
    elsewhere = tmp_path / "elsewhere"
    name = run_id.format(elsewhere)
    for table in ("runs", "cases", "rounds"):
        rewrite(tmp_path / "study" / f"{table}.parquet", "run_id", lambda own: name if "fedavg" in own else own)
    manifest = json.loads((tmp_path / "study" / MANIFEST).read_text())
    manifest["sha256"] = {file: sha256(tmp_path / "study" / file) for file in manifest["sha256"]}
    (tmp_path / "study" / MANIFEST).write_text(json.dumps(manifest))
    refused(fedbench("verify", name, "--from", str(tmp_path / "study")), "runs.parquet", "no plain name")
    assert not elsewhere.exists()


def test_a_published_folder_cannot_name_files_of_others(tmp_path):
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "study").mkdir()
    listed = {"../secret": sha256(tmp_path / "secret")}
    (tmp_path / "study" / MANIFEST).write_text(json.dumps({"format": FORMAT, "sha256": listed}))
    with pytest.raises(UserError, match=r"'../secret' is no plain name"):
        read_evidence(tmp_path / "study")


def test_a_run_cannot_name_pictures_elsewhere(tmp_path):
    runs = write_store(tmp_path / "runs", evidence((Condition("toy"),), ("fedavg",), patients=3))
    run = next(runs.glob("toy.*"))
    facts = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(facts | {"views": "../../secret"}))
    seal(run)
    with pytest.raises(UserError, match=r"run.json: '../../secret' is no plain name"):
        read_evidence(runs)


def test_a_prepared_store_cannot_name_arrays_elsewhere(tmp_path):
    folder = prepare_toy(write_toy(tmp_path / "toy", full(2)), tmp_path / "cache")
    for part in ("image", "label"):
        (folder / f"00000.{part}.npy").rename(tmp_path / f"secret.{part}.npy")
    rewrite(folder / "manifest.parquet", "stem", lambda stem: "../../secret" if stem == "00000" else stem)
    assert (folder / "../../secret.image.npy").exists()
    for read in (load, damage):
        with pytest.raises(UserError, match=r"manifest.parquet: '../../secret' is no plain name"):
            read(folder)


@pytest.mark.parametrize(
    "name", ["../secret", "{}/secret", "toy.fedavg.s0.abc/../../secret", ".views/../../secret", ""]
)
def test_a_node_cannot_deliver_outside_the_results(tmp_path, name):
    results, target = Store(tmp_path / "a" / "runs"), str(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="sent by a node"):
        receive(results, Delivery(name.format(target), np.zeros(3, np.uint8)))
    assert not [file for file in files_in(tmp_path) if file.is_file()]


def test_no_run_is_written_through_a_symbolic_link(tmp_path):
    """Somebody put one where the run's folder would be; with it removed, the run is made."""
    command = make(tmp_path, "fedavg", rounds=1)
    assert here(command, tmp_path)[0] == 0
    (run,) = (tmp_path / "runs").glob("toy.fedavg.*")
    before = bits(tmp_path / "runs")
    theirs = tmp_path / "theirs"
    run.rename(theirs)
    (theirs / "done").unlink()
    content = {file: file.read_bytes() for file in theirs.iterdir()}
    run.symlink_to(theirs)
    status, out, err = here(command, tmp_path)
    assert status == 1 and "is a symbolic link" in err and "Traceback" not in out + err
    assert {file: file.read_bytes() for file in theirs.iterdir()} == content
    run.unlink()
    assert here(command, tmp_path)[0] == 0
    assert bits(tmp_path / "runs") == before


LINKED = (".locks", ".views", ".quarantine", ".cluster", "figures")


@pytest.mark.parametrize("name", LINKED)
def test_nor_is_anything_else_of_a_results_folder(tmp_path, name):
    command, theirs, link = make(tmp_path, "fedavg", rounds=1), tmp_path / "theirs", tmp_path / "runs" / name
    theirs.mkdir()
    link.parent.mkdir()
    link.symlink_to(theirs)
    refused(here(command, tmp_path), f"{link} is a symbolic link, which nothing is written through; remove it.")
    assert not list(theirs.iterdir())
    link.unlink()
    assert here(command, tmp_path)[0] == 0


@pytest.mark.parametrize("name", [".locks", ".quarantine"])
def test_a_damaged_run_is_not_moved_through_a_symbolic_link(fedbench, tmp_path, name):
    runs = write_store(tmp_path / "runs", evidence((Condition("toy"),), ("fedavg",), patients=3))
    run, theirs = next(runs.glob("toy.*")), tmp_path / "theirs"
    (run / "run.json").write_text("{}")
    theirs.mkdir()
    (runs / name).symlink_to(theirs)
    refused(fedbench("status", "--out", str(runs)), f"{runs / name} is a symbolic link")
    assert run.is_dir() and not list(theirs.iterdir())


def test_a_linked_results_folder_and_linked_prepared_data_are_the_users_own(tmp_path):
    for name in ("disk", "cache"):
        (tmp_path / name).mkdir()
    (tmp_path / "runs").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / ".prepared").symlink_to(tmp_path / "cache")
    assert here(make(tmp_path, "fedavg", rounds=1), tmp_path)[0] == 0
    assert list((tmp_path / "disk").glob("toy.fedavg.*/done")) and list((tmp_path / "cache").glob("toy-*"))


def test_nothing_of_fedbench_and_its_plugins_reads_pickles_or_runs_text():
    """No import of pickle and the like, no eval or exec, no load that allows pickles.

    The conformance kit pickles what a plugin made in the same process, and reads no file.
    """
    banned = {"pickle", "cPickle", "dill", "joblib", "shelve", "marshal"}
    folder = Path(fedbench.__file__).parent
    ours = [
        *folder.rglob("*.py"),
        *(file for name in ("algorithms", "datasets") for file in (ROOT / name).glob("*.py")),
    ]
    assert {ROOT / "algorithms" / "fedavg.py", ROOT / "datasets" / "phantom.py"} <= set(ours)
    for file in set(ours) - set((folder / "testing").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = {a.name for a in node.names} if isinstance(node, ast.Import) else set()
            names |= {node.module} if isinstance(node, ast.ImportFrom) else set()
            assert not names & banned, file
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in ("eval", "exec", "torch.load", "pd.read_pickle", "pandas.read_pickle"), file
                allowed = [k for k in node.keywords if k.arg == "allow_pickle" and ast.unparse(k.value) != "False"]
                assert not allowed, file
