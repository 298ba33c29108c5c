"""Data and plugin source as a node unpacks them that does not see the driver's files."""

from __future__ import annotations

import multiprocessing
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from fedbench import registry
from fedbench.data.prepared import FACTS, damage, load
from fedbench.errors import UserError
from fedbench.execution.shipping import (
    CACHE,
    has_content,
    node_cache,
    pack_sources,
    pack_store,
    unpack_sources,
    unpack_store,
)
from fedbench.sources import code_digest
from tests import plugins
from tests.toys import full, prepare_toy, write_toy


@pytest.fixture
def store(tmp_path):
    return prepare_toy(write_toy(tmp_path / "toy", full(4)), tmp_path / "driver")


def packed(store: Path):
    """The shipment with the content of each file in place of a handle."""
    return pack_store(store, load(store).content, lambda content: content)


def test_a_store_arrives_whole_and_is_fetched_once(store, tmp_path):
    shipment, fetched = packed(store), []
    first = unpack_store(shipment, tmp_path / "node", lambda content: fetched.append(1) or content, set())
    assert first.is_relative_to(tmp_path / "node") and damage(first) == []
    assert {p.name: p.read_bytes() for p in first.iterdir()} == {p.name: p.read_bytes() for p in store.iterdir()}
    assert load(first).content == load(store).content
    count = len(fetched)
    assert unpack_store(shipment, tmp_path / "node", lambda content: fetched.append(1) or content, set()) == first
    assert len(fetched) == count == len(list(store.iterdir()))


def _unpack(store: Path, cache: Path, log: Path, barrier) -> None:
    shipment = packed(store)
    barrier.wait()

    def get(content):
        with open(log, "a") as stream:
            stream.write("x")
        return content

    assert damage(unpack_store(shipment, cache, get, set())) == []


def test_two_workers_of_a_node_fetch_once(store, tmp_path):
    context, log = multiprocessing.get_context("fork"), tmp_path / "log"
    barrier = context.Barrier(2)
    workers = [context.Process(target=_unpack, args=(store, tmp_path / "node", log, barrier)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert len(log.read_text()) == len(list(store.iterdir()))


def test_what_does_not_arrive_whole_is_refused_and_fetched_again(store, tmp_path):
    shipment = packed(store)
    label = next(name for name in shipment.files if name.endswith(".label.npy"))

    def flipped(content):
        if content is shipment.files[label]:
            content = content.copy()
            content[-1] ^= 1
        return content

    with pytest.raises(UserError, match=rf"did not arrive whole: .*{label}"):
        unpack_store(shipment, tmp_path / "node", flipped, set())
    assert damage(unpack_store(shipment, tmp_path / "node", lambda content: content, set())) == []


def test_a_fetch_that_was_interrupted_is_made_good(store, tmp_path):
    shipment = packed(store)

    def killed(content):
        if content is shipment.files[FACTS]:
            raise KeyboardInterrupt
        return content

    with pytest.raises(KeyboardInterrupt):
        unpack_store(shipment, tmp_path / "node", killed, set())
    assert damage(unpack_store(shipment, tmp_path / "node", lambda content: content, set())) == []


def altered(file: Path) -> None:
    """One byte of an array."""
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def half_of_it(file: Path) -> None:
    """In another file of the same name: whoever reads the first one reads on."""
    content = file.read_bytes()
    file.unlink()
    file.write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize("name", ["image.npy", "manifest.parquet", "dataset.json"])
@pytest.mark.parametrize("damaging", [altered, os.unlink, half_of_it])
def test_what_was_damaged_in_the_cache_is_fetched_again(store, tmp_path, name, damaging):
    """By a worker that comes; what another one reads is not taken from it."""
    shipment = packed(store)
    folder = unpack_store(shipment, tmp_path / "node", lambda content: content, set())
    first = load(folder).cases[0]
    image = first.image
    value = image.flat[0]
    damaging(next(file for file in sorted(folder.iterdir()) if file.name.endswith(name)))
    seen = []

    def get(content):
        seen.append(Path(f"{first.stem}.label.npy").is_file())
        return content

    assert unpack_store(shipment, tmp_path / "node", get, set()) == folder
    assert seen and all(seen) and damage(folder) == [] and image.flat[0] == value
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == {p.name: p.read_bytes() for p in store.iterdir()}


def test_a_worker_checks_every_array_once_and_misses_what_is_deleted(store, tmp_path, monkeypatch):
    shipment, checked, read = packed(store), set(), []
    monkeypatch.setattr("fedbench.execution.shipping.damage", lambda folder: read.append(1) or damage(folder))

    def unpack():
        return unpack_store(shipment, tmp_path / "node", lambda content: content, checked)

    folder, often = unpack(), len(read)
    assert unpack() == folder and len(read) == often > 0 and checked == {folder}
    next(folder.glob("*.label.npy")).unlink()
    assert unpack() == folder and damage(folder) == [] and len(read) > often


def test_a_visible_folder_counts_only_with_the_planned_content(store, tmp_path):
    other = prepare_toy(write_toy(tmp_path / "other", full(5)), tmp_path / "driver")
    assert has_content(store, load(store).content)
    assert not has_content(store, load(other).content)
    assert not has_content(tmp_path / "nowhere", load(store).content)
    (store / FACTS).write_text("{")
    assert not has_content(store, load(other).content)


def test_the_node_s_own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE, str(tmp_path / "named"))
    assert node_cache() == tmp_path / "named"
    monkeypatch.delenv(CACHE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert node_cache() == tmp_path / "xdg" / "fedbench"
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    assert node_cache().parent == tmp_path / "tmp"


WITH_NEIGHBOURS = '''
from fedbench.algorithms.fedavg import FedAvg
from helpers.numbers import THREE

class Mine(FedAvg):
    """Mine."""
    name = "mine"
    three = THREE
'''


@pytest.fixture
def plugin(tmp_path):
    """A plugin file that imports a package beside it, which imports a module of its own.

    Its package is forgotten after the test: fedbench refuses a plugin beside which another ``helpers`` lies.
    """
    folder = tmp_path / "driver side é"
    (folder / "helpers").mkdir(parents=True)
    (folder / "helpers" / "__init__.py").write_text("ONE = 1\n")
    numbers = "import helpers\nfrom helpers.more import TWO\nTHREE = TWO + helpers.ONE\n"
    (folder / "helpers" / "numbers.py").write_text(numbers)
    (folder / "helpers" / "more.py").write_text("TWO = 2\n")
    yield Path(plugins.write(folder, "mine", WITH_NEIGHBOURS))
    forget_neighbours()


def forget_neighbours() -> None:
    """As in a process that has not imported the plugin."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "helpers"]:
        del sys.modules[name]


def code_of(algorithm: str) -> tuple[type, str]:
    forget_neighbours()
    cls = registry.load("algorithm", registry.find("algorithm", registry.parse_spec(algorithm).name))
    return cls, code_digest(cls)


@pytest.mark.parametrize("named", ["{}:Mine", "{}", "{}:Mine[weight_decay=0.5]"])
def test_a_plugin_arrives_with_what_it_imports_and_is_the_same_code(plugin, tmp_path, named):
    algorithm = named.format(plugin)
    sources, (_, code) = pack_sources(algorithm), code_of(algorithm)
    assert unpack_sources(sources, tmp_path / "node") == algorithm  # visible here: used where it lies
    plugin.parent.rename(tmp_path / "gone")
    here = unpack_sources(sources, tmp_path / "node")
    assert here.startswith(str(tmp_path / "node")) and here.endswith(algorithm.removeprefix(str(plugin)))
    cls, arrived = code_of(here)
    assert cls.three == 3 and arrived == code
    assert unpack_sources(sources, tmp_path / "node") == here


def test_a_plugin_that_is_another_on_the_node_is_not_used(plugin, tmp_path):
    sources, (_, code) = pack_sources(f"{plugin}:Mine"), code_of(f"{plugin}:Mine")
    plugin.write_text(WITH_NEIGHBOURS + "\n# of the node\n")
    here = unpack_sources(sources, tmp_path / "node")
    assert here != f"{plugin}:Mine" and code_of(here)[1] == code


def test_an_installed_plugin_is_not_sent(tmp_path):
    sources = pack_sources("fedprox[mu=0.1]")
    assert sources.texts == () and unpack_sources(sources, tmp_path) == "fedprox[mu=0.1]"
    assert not list(tmp_path.iterdir())


def test_bytes_are_passed_on_as_they_are(store):
    shipment = packed(store)
    assert all(isinstance(content, np.ndarray) and content.dtype == np.uint8 for content in shipment.files.values())
