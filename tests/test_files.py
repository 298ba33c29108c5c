"""Files that are whole or absent, and locks between real processes."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import stat

import pytest

from fedbench.files import locked, sha256, try_lock, write_atomic, write_text

spawn = multiprocessing.get_context("spawn")


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_text_is_written_as_utf8_into_new_folders(tmp_path):
    file = tmp_path / "a" / "b" / "c.txt"
    write_text(file, "Vallières\n")
    assert file.read_bytes() == "Vallières\n".encode()
    assert names(file.parent) == ["c.txt"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o644  # a temporary file's 0600 would lock colleagues out


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing(tmp_path):
    file = tmp_path / "x.json"
    write_text(file, "old")

    def fails(part):
        part.write_text("half of the n")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomic(file, fails)
    assert file.read_text() == "old" and names(tmp_path) == ["x.json"]
    with pytest.raises(OSError, match="disk full"):
        write_atomic(tmp_path / "new.json", fails)
    assert names(tmp_path) == ["x.json"]


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path):
    file = tmp_path / "x"
    write_text(file, "old")

    def write(part):
        part.write_text("new")
        assert file.read_text() == "old"

    with open(file) as reader:
        write_atomic(file, write)
        assert reader.read() == "old"  # whoever was reading reads on undisturbed
    assert file.read_text() == "new"


def test_sha256_is_that_of_the_bytes(tmp_path):
    file = tmp_path / "x"
    file.write_bytes(b"\x00\xff" * 300_000)
    assert sha256(file) == hashlib.sha256(b"\x00\xff" * 300_000).hexdigest()


def _hold(path, pipe) -> None:
    with locked(path):
        pipe.send("held")
        pipe.recv()


def _wait_for(path, pipe) -> None:
    pipe.send("asking")
    with locked(path):
        pipe.send("got it")


def start(target, path):
    """A process that works on ``path``, and the pipe to it, once it has said its first word."""
    here, there = spawn.Pipe()
    process = spawn.Process(target=target, args=(path, there))
    process.start()
    here.recv()
    return process, here


@pytest.mark.parametrize("how", ["politely", "killed"])
def test_a_lock_keeps_another_process_out_until_its_holder_ends(tmp_path, how):
    path = tmp_path / "locks" / "run"
    holder, pipe = start(_hold, path)
    with try_lock(path) as free:
        assert not free
    if how == "killed":
        os.kill(holder.pid, signal.SIGKILL)
    else:
        pipe.send("let go")
    holder.join()
    with try_lock(path) as free:
        assert free


def test_locked_waits_for_its_turn(tmp_path):
    path = tmp_path / "run"
    with locked(path):
        waiter, pipe = start(_wait_for, path)
        assert not pipe.poll(0.3)
    assert pipe.recv() == "got it"
    waiter.join()


def test_a_tried_lock_is_as_good_as_a_lock(tmp_path):
    with try_lock(tmp_path / "run") as first, try_lock(tmp_path / "run") as second, try_lock(tmp_path / "b") as other:
        assert (first, second, other) == (True, False, True)
    with try_lock(tmp_path / "run") as free:
        assert free


def test_an_error_inside_lets_go(tmp_path):
    for lock in (locked, try_lock):
        with pytest.raises(KeyError), lock(tmp_path / "run"):
            raise KeyError
    with try_lock(tmp_path / "run") as free:
        assert free
