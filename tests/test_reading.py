"""Arrays are read in threads, which Python's own parser does not always bear."""

from __future__ import annotations

import gc
import threading
import time

import numpy as np
import pytest

from fedbench.reading import TRIES, map_array, steadily

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
