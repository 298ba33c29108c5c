"""Overlays of two tiny real runs on ten generated patients."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from fedbench import store
from fedbench.analysis.figures import overlays
from fedbench.analysis.figures.overlays import choose_views, draw_overlays
from fedbench.analysis.tables.summary import summarise
from fedbench.data.prepared import PreparedCase
from fedbench.errors import UserError
from fedbench.execution import planning, runner
from fedbench.federation import ClientData, Federation
from fedbench.suite import make_suite

DATASET = "phantom-heart"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    suite = make_suite(
        {
            "algorithms": ["fedavg", "local"],
            "datasets": [f"{DATASET}[patients=10]"],
            "seeds": [0],
            "model": {"channels": [8, 8, 16, 16, 16]},
            "training": {"rounds": 1},
        }
    )
    cells = planning.plan(suite, root / ".prepared")
    for cell in cells:
        assert runner.execute(cell, root, runner.Options()).status == "done"
    return root, cells


@pytest.fixture
def runs(finished, tmp_path):
    """A copy that a test may damage."""
    root, cells = finished
    shutil.copytree(root, tmp_path / "runs")
    return tmp_path / "runs", cells


@pytest.fixture
def texts(monkeypatch):
    """All texts of the figures drawn, axes by axes."""
    found: list[str] = []
    original = overlays._png

    def spy(figure: Figure) -> bytes:
        found.extend(text.get_text() for text in figure.texts)
        for panel in figure.axes:
            found.extend([panel.get_ylabel(), *(text.get_text() for text in panel.texts)])
        return original(figure)

    monkeypatch.setattr(overlays, "_png", spy)
    return found


def test_draws_a_png_of_sensible_size_and_the_same_bytes_again(finished, tmp_path, texts):
    root, cells = finished
    target = tmp_path / "figures" / "overlays.png"
    assert draw_overlays(cells, root, DATASET, target) == target
    with Image.open(target) as image:
        assert image.format == "PNG"
        assert 600 < image.width < 1500
        assert 600 < image.height < 1500
    first = target.read_bytes()
    assert 20_000 < len(first) <= overlays.MOST_BYTES
    assert [p.name for p in target.parent.iterdir()] == ["overlays.png"]
    draw_overlays(cells, root, DATASET, target)
    assert target.read_bytes() == first
    assert {"fedavg", "local", "global model", "personal model"} <= set(texts)


def test_printed_dice_and_row_labels_are_those_of_the_next_client(finished, tmp_path, texts):
    root, cells = finished
    draw_overlays(cells, root, DATASET, tmp_path / "o.png", patients=2)
    results = store.load_results(root)
    last = results.cases[results.cases["selection"] == "last"]
    patients = sorted(last["patient"].unique())
    for patient, modality, client in zip(patients, ("CT", "MR"), ("MR", "CT"), strict=False):
        assert f"{patient}, {modality}\nmodel of client {client}" in texts
        for setting in ("fedavg", "local"):
            own = last[(last["setting"] == setting) & (last["client"] == client)]
            dice = own.loc[own["case"] == f"{patient}/{modality}", "dice"].mean()
            assert f"Dice {dice:.2f}" in texts


def test_real_runs_have_the_columns_that_the_summary_reads(finished):
    root, _ = finished
    frame = summarise(store.load_results(root), DATASET)
    assert list(zip(frame["setting"], frame["deployment"], strict=True)) == [
        ("fedavg", "global"),
        ("local", "personal"),
    ]
    assert list(frame["scores"]) == [3 * 2 * 4, 3 * 2 * 4 * 2]  # patients x modalities x classes (x models)
    assert frame.loc[0, "in-modality Dice"] == frame.loc[0, "cross-modality Dice"]  # one model, the same cases
    assert frame.attrs["notes"] == []


@pytest.mark.parametrize("damage", ["absent", "unfinished", "corrupt"])
def test_a_run_that_is_not_finished_is_an_empty_panel(runs, tmp_path, texts, damage):
    root, cells = runs
    folder = root / cells[1].id
    if damage == "absent":
        shutil.rmtree(folder)
    elif damage == "unfinished":
        (folder / store.DONE).unlink()
    else:
        (folder / store.PREDICTIONS).write_bytes(b"x")
    target = draw_overlays(cells, root, DATASET, tmp_path / "o.png", patients=2)
    assert target is not None
    with Image.open(target) as image:
        assert image.format == "PNG"
    assert texts.count("not finished") == 2
    assert folder.exists() == (damage != "absent")  # nothing is moved or written


def test_nothing_to_draw(runs, tmp_path):
    root, cells = runs
    assert draw_overlays(cells, root, "other", tmp_path / "o.png") is None
    assert draw_overlays([], root, DATASET, tmp_path / "o.png") is None
    for cell in cells:
        (root / cell.id / store.DONE).unlink()
    assert draw_overlays(cells, root, DATASET, tmp_path / "o.png") is None
    assert not (tmp_path / "o.png").exists()


def test_changed_data_is_refused(runs, tmp_path):
    root, cells = runs
    prepared = next(path for path in (root / ".prepared").iterdir() if path.is_dir())
    facts = json.loads((prepared / "dataset.json").read_text())
    (prepared / "dataset.json").write_text(json.dumps(facts | {"content": "other"}))
    moved = [type(cell)(cell.identity, cell.algorithm, str(prepared), cell.label) for cell in cells]
    with pytest.raises(UserError, match="changed since the run was planned"):
        draw_overlays(moved, root, DATASET, tmp_path / "o.png")


def test_large_pictures_are_drawn_with_fewer_dots(monkeypatch):
    figure = Figure(figsize=(2, 2))
    figure.add_axes((0, 0, 1, 1)).imshow(np.random.default_rng(0).random((200, 200)), interpolation="nearest")
    full = overlays._png(figure)
    monkeypatch.setattr(overlays, "MOST_BYTES", len(full) - 1)
    assert len(overlays._png(figure)) < len(full)


def case(patient: str, modality: str, shape: tuple[int, ...] = (8, 8)) -> PreparedCase:
    return PreparedCase(f"{patient}/{modality}", patient, modality, "", (1.0,) * len(shape), shape, "", str(Path("x")))


def chosen(test: list[PreparedCase], clients: str, patients: int) -> list[tuple[str, str]]:
    holders = tuple(ClientData(name, name, (), ()) for name in clients)
    views = choose_views(Federation("toy", holders, tuple(test), None, ""), "ABC", patients)
    return [(view.case.id, view.client.name) for view in views]


def test_views_take_modalities_in_turn_and_the_next_clients_model():
    test = [case(patient, modality) for patient in ("p2", "p1", "p3", "p4") for modality in "ABC"]
    assert chosen(test, "ABC", 4) == [("p1/A", "B"), ("p2/B", "C"), ("p3/C", "A"), ("p4/A", "B")]


def test_views_of_patients_with_one_modality_each_and_of_an_unseen_modality():
    test = [case("p1", "C"), case("p2", "A"), case("p3", "A")]
    assert chosen(test, "AC", 9) == [("p2/A", "C"), ("p1/C", "A"), ("p3/A", "C")]
    assert chosen([case("p1", "B")], "AC", 1) == [("p1/B", "C")]
