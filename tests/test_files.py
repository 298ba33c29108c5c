"""Files that are whole or absent, folders that are old or new, and locks between real processes."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import stat
from pathlib import Path

import pytest

from fedbench.files import (
    BEFORE,
    interrupted,
    locked,
    new_folder,
    recover,
    sha256,
    try_lock,
    write_atomic,
    write_text,
)

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


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    """What was renamed and not flushed may be empty after a power cut."""
    done, fsync, replace = [], os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (done.append(("flushed", os.fstat(handle).st_ino)), fsync(handle)))
    monkeypatch.setattr(os, "replace", lambda a, b: (done.append(("named", os.stat(a).st_ino)), replace(a, b)))
    write_text(tmp_path / "x", "text")
    file = (tmp_path / "x").stat().st_ino
    assert done == [("flushed", file), ("named", file)]


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


# -- folders that are replaced as a whole -----------------------------------------------------------------------------


def folder_with(path: Path, text: str) -> Path:
    path.mkdir(parents=True)
    (path / "file").write_text(text)
    return path


def before(target: Path) -> Path:
    """Where the old folder lies while the new one is put in its place."""
    return target.with_name(f".{target.name}{BEFORE}")


def test_a_new_folder_appears_whole_with_those_above_it(tmp_path):
    target = tmp_path / "above" / "new"
    with new_folder(target) as made:
        assert names(made) == [] and made.name == "new"
        (made / "file").write_text("new")
        assert not target.exists()
    assert (target / "file").read_text() == "new" and names(target.parent) == ["new"]


def test_a_folder_is_replaced_with_all_that_it_held(tmp_path):
    target = folder_with(tmp_path / "x", "old")
    (target / "more").touch()
    with new_folder(target) as made:
        (made / "file").write_text("new")
        assert (target / "file").read_text() == "old"
    assert names(target) == ["file"] and (target / "file").read_text() == "new" and names(tmp_path) == ["x"]


def test_an_error_keeps_the_old_folder_and_leaves_nothing(tmp_path):
    target = folder_with(tmp_path / "x", "old")
    for kept in (target, tmp_path / "above" / "new"):
        with pytest.raises(KeyError), new_folder(kept) as made:
            (made / "file").write_text("half")
            raise KeyError
    assert (target / "file").read_text() == "old" and names(tmp_path) == ["x"]
    (tmp_path / "above").mkdir()
    with pytest.raises(KeyError), new_folder(tmp_path / "above" / "new"):
        raise KeyError
    assert names(tmp_path) == ["above", "x"] and names(tmp_path / "above") == []


def test_the_old_folder_comes_back_if_the_new_one_cannot_take_its_place(tmp_path):
    target = folder_with(tmp_path / "x", "old")
    with pytest.raises(FileNotFoundError), new_folder(target) as made:
        made.rmdir()
    assert (target / "file").read_text() == "old" and names(tmp_path) == ["x"]


def _replace(target, pipe) -> None:
    """Stop for good where the old folder is taken away and the new one not yet there."""
    rename = Path.rename

    def stopping(path, to):
        if path.parent.name.startswith(f".{target.name}.") and to == target:
            pipe.send("between")
            pipe.recv()
        return rename(path, to)

    Path.rename = stopping
    with new_folder(target) as made:
        (made / "file").write_text("new")


def test_a_process_killed_between_old_and_new_loses_nothing(tmp_path):
    target = folder_with(tmp_path / "x", "old")
    process, _ = start(_replace, target)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert not target.exists() and interrupted(before(target)) == "x"
    recover(target)
    assert (target / "file").read_text() == "old" and not before(target).exists()


def test_the_next_replacement_begins_with_what_was_there(tmp_path):
    target = folder_with(tmp_path / "x", "old").rename(before(tmp_path / "x")).with_name("x")
    with pytest.raises(KeyError), new_folder(target):
        assert (target / "file").read_text() == "old"
        raise KeyError
    assert (target / "file").read_text() == "old" and names(tmp_path) == ["x"]


def test_an_old_folder_beside_the_new_one_is_removed(tmp_path):
    """Left by a process that was killed before it had deleted all of it."""
    target = folder_with(tmp_path / "x", "new")
    folder_with(before(target), "old")
    recover(target)
    assert (target / "file").read_text() == "new" and names(tmp_path) == ["x"]
    recover(target)
    recover(tmp_path / "none")
    assert names(tmp_path) == ["x"]


def test_the_name_of_an_old_folder_tells_whose_it_is(tmp_path):
    assert interrupted(before(tmp_path / "a.b")) == "a.b"
    assert [interrupted(tmp_path / name) for name in ("x", ".x", f"x{BEFORE}")] == [None] * 3
