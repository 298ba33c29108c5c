"""Arrays are mapped without parsing the same header again, and in threads, which Python's own parser may not bear."""

from __future__ import annotations

import gc
import pickle
import threading
import time

import numpy as np
import pandas as pd
import pyarrow
import pytest

from fedbench.errors import UserError
from fedbench.reading import TRIES, map_array, plain_name, read_table, steadily, tables_in_system_memory

MISCOUNTED = "AST constructor recursion depth mismatch (before=42, after=39)"


def failing(times: int, message: str):
    left = [times]

    def read() -> str:
        if left[0]:
            left[0] -= 1
            raise SystemError(message)
        return "read"

    return read, left


def test_what_python_miscounts_is_read_again():
    read, left = failing(TRIES - 1, MISCOUNTED)
    assert steadily(read) == "read" and left == [0]


def test_it_is_not_tried_for_ever():
    read, left = failing(100, MISCOUNTED)
    with pytest.raises(SystemError, match="mismatch"):
        steadily(read)
    assert left == [100 - TRIES]


def test_any_other_error_of_python_comes_through_at_once():
    read, left = failing(1, "something else")
    with pytest.raises(SystemError, match="something else"):
        steadily(read)
    assert left == [0]


def test_arrays_are_mapped_by_many_threads_while_rubbish_is_collected(tmp_path):
    """The garbage collector lets other threads go on while one is in the middle of a header."""
    for n in range(8):
        np.save(tmp_path / f"{n}.npy", np.full((2, 3, 4), n, np.float32))
    problems: list[BaseException] = []

    def read_all() -> None:
        try:
            for n in range(8):
                assert (map_array(str(tmp_path / f"{n}.npy")) == n).all()
        except BaseException as error:
            problems.append(error)

    def wait(_phase: str, _info: object) -> None:
        time.sleep(1e-5)

    before = gc.get_threshold()
    gc.callbacks.append(wait)
    gc.set_threshold(3, 1, 1)
    try:
        threads = [threading.Thread(target=read_all) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        gc.set_threshold(*before)
        gc.callbacks.remove(wait)
    assert problems == []


@pytest.mark.parametrize("array", [np.arange(6.0), np.arange(24, dtype=">i2").reshape(2, 3, 4), np.array(7), np.eye(3)])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
def test_an_array_is_mapped_as_numpy_maps_it(tmp_path, array, order, version):
    with open(tmp_path / "a.npy", "wb") as stream:
        np.lib.format.write_array(stream, np.asarray(array, order=order), version)
    expected = np.load(tmp_path / "a.npy", mmap_mode="r")
    found = map_array(str(tmp_path / "a.npy"))
    assert isinstance(found, np.memmap) and (found.dtype, found.shape) == (array.dtype, array.shape)
    assert found.tobytes() == expected.tobytes() and found.strides == expected.strides
    with pytest.raises(ValueError, match="read-only"):
        found[...] = 0


def test_headers_are_parsed_once_each(tmp_path, monkeypatch):
    parse, parsed = np.lib.format.read_array_header_1_0, []
    monkeypatch.setattr(np.lib.format, "read_array_header_1_0", lambda stream: parsed.append(1) or parse(stream))
    for n in range(30):
        np.save(tmp_path / f"{n}.npy", np.full((41, 43, 1 + n % 3), n, np.float32))
        assert (map_array(str(tmp_path / f"{n}.npy")) == n).all()
    assert len(parsed) == 3


@pytest.mark.parametrize(
    "content", ["nothing", "magic", "half a header", "half an array", "objects", "a pickle", "text"]
)
def test_what_is_no_array_is_refused(tmp_path, content):
    file = tmp_path / "a.npy"
    np.save(file, np.array([{}, {}]) if content == "objects" else np.zeros((4, 4)))
    whole = file.read_bytes()
    contents = {"nothing": b"", "magic": whole[:6], "half a header": whole[:60], "half an array": whole[:-64]}
    file.write_bytes(contents.get(content, {"a pickle": pickle.dumps([0]), "text": b"text " * 99}.get(content, whole)))
    with pytest.raises(UserError, match=r"a\.npy: damaged"):
        map_array(str(file))
    file.unlink()
    with pytest.raises(UserError, match=r"a\.npy is missing"):
        map_array(str(file))


def test_only_columns_that_are_asked_for_count_and_are_read(tmp_path, monkeypatch):
    """A column that unpacks to more than a table may; the others do not. One that is not there is refused."""
    monkeypatch.setattr("fedbench.reading.SMALL", 2**20)
    monkeypatch.setattr("fedbench.reading.MOST_TIMES", 1)
    file = tmp_path / "a.parquet"
    frame = pd.DataFrame({"n": range(1000), "list": [[1, 2]] * 1000, "long": ["x" * 10**4] * 1000})
    frame.to_parquet(file)
    found = read_table(file, ["list", "n"])
    assert list(found.columns) == ["list", "n"] and found["n"].equals(frame["n"])
    assert [list(each) for each in found["list"]] == [[1, 2]] * 1000
    for columns in (None, ["n", "long"]):
        with pytest.raises(UserError, match="too large to be results; not read"):
            read_table(file, columns)
    with pytest.raises(UserError, match=r"a\.parquet: damaged or not parquet .*m\b"):
        read_table(file, ["n", "m"])


def test_tables_are_read_into_memory_that_goes_back_and_a_programs_own_arrow_is_left_alone(tmp_path):
    pd.DataFrame({"a": ["x" * 50] * 100_000}).to_parquet(tmp_path / "t.parquet")
    before, system = pyarrow.default_memory_pool(), pyarrow.system_memory_pool()
    held, own = system.max_memory(), before.max_memory()
    with tables_in_system_memory():
        assert pyarrow.default_memory_pool().backend_name == "system"
    read_table(tmp_path / "t.parquet")
    assert system.max_memory() > held and before.max_memory() == own
    with pytest.raises(ZeroDivisionError), tables_in_system_memory():
        raise ZeroDivisionError
    assert pyarrow.default_memory_pool().backend_name == before.backend_name


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "../b", "a\\b", "a\0b"])
def test_a_name_that_leads_elsewhere_is_refused(name):
    with pytest.raises(UserError, match=r"manifest: .* would lead out of its folder"):
        plain_name(name, "manifest")
    assert plain_name("P01.CT", "manifest") == "P01.CT"
