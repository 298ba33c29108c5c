"""What is shown while runs go on, on a terminal and in a log, from progress files."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from fedbench.commands import console as module
from fedbench.commands.console import LiveDisplay, PlainDisplay, clock, display, number
from fedbench.execution.runner import Outcome
from fedbench.store import Store, write_json
from fedbench.suite import Cell

HOSTILE = "cannot read [/tmp/x] of [bold]P1[/bold]: expected [/]"


def cell(name: str, seed: int = 0) -> Cell:
    identity = {"dataset": "toy", "algorithm": name.partition("[")[0], "seed": seed}
    return Cell(identity | {"data": {"fold": None, "leave_out": None}}, name, "", name)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def say(store: Store, cell: Cell, **progress):
    folder = store.folder(cell.id)
    folder.mkdir(exist_ok=True)
    write_json(folder / "progress.json", {"loss": 0.5, "dice": None, "phase": "training", "rounds": 10} | progress)


def shown(terminal: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=160, color_system=None)


def drawn(view: LiveDisplay) -> str:
    """The live table as one would see it now."""
    out = shown(False)
    view.tick()
    out.print(view.live.renderable)
    return out.file.getvalue()


def test_a_terminal_shows_every_run_by_its_whole_name_and_how_far_it_is(store):
    cells = [cell("fedprox[mu=0.1]"), cell("fedavg"), cell("moon"), cell("fedbn")]
    with display(shown(True), store, 4) as view:
        assert isinstance(view, LiveDisplay)
        assert "starting workers" in drawn(view)
        for each in cells[:3]:
            view.started(each)
        say(store, cells[0], round=4)
        say(store, cells[1], round=10, phase="scoring", dice=0.75)
        lines = {name: next(x for x in drawn(view).splitlines() if name in x) for name in ("fedprox", "fedavg", "moon")}
        assert lines["fedprox"].split()[:6] == ["toy", "0", "fedprox[mu=0.1]", "4/10", "0.500", "–"]
        assert lines["fedavg"].split()[3:6] == ["scoring", "0.500", "0.750"]
        assert lines["moon"].split()[3:] == ["starting", "–", "–", "–"]
        view.finished(Outcome(cells[0].id, "done", 3.0))
        text = drawn(view)
        assert "fedprox" not in text
        assert "1/4" in text
        assert "left" in text


def test_the_time_left_counts_rounds_of_runs_that_go_on(store, monkeypatch):
    """Of five runs one is done, one is half done, and of one that was interrupted a fifth was: 1.8 in 90 s."""
    cells = [cell("fedavg"), cell("moon"), cell("fedbn")]
    monkeypatch.setattr(module.time, "monotonic", lambda: 10.0)
    say(store, cells[2], round=2)
    with display(shown(False), store, 5) as view:
        assert view.seconds_left() is None
        for each in cells:
            view.started(each)
        assert view.seconds_left() is None
        view.finished(Outcome(cells[0].id, "done", 3.0))
        say(store, cells[1], round=5)
        say(store, cells[2], round=5)
        monkeypatch.setattr(module.time, "monotonic", lambda: 100.0)
        assert view.seconds_left() == pytest.approx(90 / 1.8 * 3)
        view.lost(cells[2], "killed")
        view.started(cells[2])
        assert view.seconds_left() == pytest.approx(90 / 1.8 * 3)


@pytest.mark.parametrize("terminal", [True, False])
def test_errors_are_shown_as_they_are(store, terminal):
    """Brackets in them are no markup, which would be swallowed or end the driver."""
    console = shown(terminal)
    with display(console, store, 2) as view:
        for each in (cell("fedavg"), cell("fedprox[mu=0.1]")):
            view.started(each)
        view.lost(cell("fedprox[mu=0.1]"), HOSTILE)
        view.told(HOSTILE)
        view.finished(Outcome(cell("fedavg").id, "failed", 1.0, HOSTILE))
        view.tick()
    assert console.file.getvalue().count(HOSTILE) == 3
    assert "going on from its checkpoint" in console.file.getvalue()


def test_a_log_gets_a_line_for_every_end_and_now_and_then_one_for_a_running_run(store, monkeypatch):
    console = shown(False)
    running, other = cell("fedavg"), cell("moon")
    with display(console, store, 2) as view:
        assert isinstance(view, PlainDisplay)
        view.started(running)
        view.started(other)
        say(store, running, round=4, dice=0.25)
        view.tick()
        assert not console.file.getvalue()
        monkeypatch.setattr(module, "LINE_SECONDS", 0.0)
        view.tick()
        assert f"{running.id} round 4/10 loss 0.500 validation Dice 0.250" in console.file.getvalue()
        assert other.id not in console.file.getvalue()  # it has not said anything yet
        view.finished(Outcome(running.id, "done", 61.25))
    assert f"[1/2] {running.id} done in 61.2 s; " in console.file.getvalue()


def test_a_log_says_no_time_left_that_nobody_knows(store):
    """All rounds of the run were there before, and only its scores were left: nothing to reckon with."""
    console, only = shown(False), cell("fedavg")
    say(store, only, round=10)
    with display(console, store, 2) as view:
        view.started(only)
        view.finished(Outcome(only.id, "done", 0.2))
    assert console.file.getvalue() == f"[1/2] {only.id} done in 0.2 s\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "–"), (0, "0:00"), (75, "1:15"), (59.6, "1:00"), (3600, "1:00:00")],
)
def test_clock(seconds, text):
    assert clock(seconds) == text


def test_numbers_have_fixed_digits_and_none_is_a_dash():
    assert [number(x) for x in (0.12345, 2, None)] == ["0.123", "2.000", "–"]
    assert number(0.12345, 1) == "0.1"
