"""Every figure: legible in print, within its page, the same bytes every time, or a reason why there is none."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text

from fedbench.analysis.analyses import Analyses
from fedbench.analysis.evidence import Condition, Evidence
from fedbench.analysis.figures import FIGURES, draw_all, style, write_captions
from fedbench.analysis.figures.scene import Scene
from tests.analysis.evidence_rows import evidence
from tests.analysis.figures.scenes import ALGORITHMS, full_evidence, scene_of

ODD = (
    "local", "fedavg", "_own$a$ [x=1_2^3]", "fedprox[mu=0.1]", "other%20", "fedbn",
    "fedda-cyclic[lam=0.001,exchange=features]",
)  # fmt: skip
PLAIN = [Condition("toy")]
STRANGE = [Condition("set_$1$ 5%", "T2-weighted_fat$sat$")]


def plain() -> Evidence:
    return full_evidence(PLAIN)


def strange() -> Evidence:
    """Names with what TeX and matplotlib read as orders."""
    modalities = ("CT", "MR", STRANGE[0].unseen)
    return full_evidence(STRANGE, ODD, modalities=modalities, classes=("a_$b$",), picture=True, seeds=(0,), unit="px")


def shown_texts(figure: Figure) -> list[Text]:
    found = [t for t in figure.findobj(Text) if isinstance(t, Text) and t.get_text().strip() and t.get_visible()]
    hidden = {id(t) for axes in figure.axes if not axes.axison for t in axes.xaxis.findobj(Text)}
    hidden |= {id(t) for axes in figure.axes if not axes.axison for t in axes.yaxis.findobj(Text)}
    for axes in figure.axes:
        for axis, limits in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                if not min(limits) <= tick.get_loc() <= max(limits):
                    hidden |= {id(t) for t in tick.findobj(Text)}
            if axis.get_offset_text():
                hidden.add(id(axis.get_offset_text()))
    return [t for t in found if id(t) not in hidden]


@pytest.fixture(scope="module", params=[plain, strange])
def scene(request) -> Scene:
    return scene_of(request.param())


@pytest.mark.parametrize("name", list(FIGURES))
def test_text_is_legible_literal_apart_and_within_the_figure(scene, name):
    with style.apply_style():
        sketch = FIGURES[name].draw(scene)
        FigureCanvasAgg(sketch.figure).draw()
        assert sketch.figure.get_figwidth() <= style.PAGE + 1e-6 and sketch.figure.get_figheight() <= 9
        frame = sketch.figure.bbox.padded(1)
        boxes = [(text.get_text(), text.get_window_extent()) for text in shown_texts(sketch.figure)]
        for (one, a), (other, b) in combinations(boxes, 2):
            wide, tall = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
            assert min(wide, tall) <= 0 or wide * tall < 0.1 * min(a.width * a.height, b.width * b.height), (one, other)
        for text in shown_texts(sketch.figure):
            assert text.get_fontsize() >= style.SMALLEST, text
            assert not text.get_parse_math() or isinstance(text, Annotation), text
            box = text.get_window_extent()
            assert frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1, text
    assert sketch.caption.endswith(".") and scene.condition.title in sketch.caption
    assert "†" in sketch.caption or name == "gallery"


def test_every_figure_is_drawn_or_has_a_reason(tmp_path: Path):
    found = evidence(PLAIN, ALGORITHMS[:4])  # no pictures, no features, no discriminators
    drawn = draw_all(found, Analyses(found), tmp_path, ["gallery", "ranks", "discriminators"])
    assert [one.name for one in drawn] == ["gallery", "ranks", "discriminators"]
    assert [bool(one.reason) for one in drawn] == [True, False, True]
    assert [file.name for file in drawn[1].files] == ["toy.ranks.pdf", "toy.ranks.png"]
    assert all(file.stat().st_size > 1000 for file in drawn[1].files)
    text = write_captions(drawn, tmp_path).read_text(encoding="utf-8")
    assert "toy.ranks.pdf · toy.ranks.png\nMean ranks over patients" in text
    assert "not drawn\nno images of test cases were kept" in text


def digests(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())}


def test_another_process_writes_the_same_bytes(tmp_path: Path):
    code = (
        "from pathlib import Path\n"
        "from fedbench.analysis.analyses import Analyses\n"
        "from fedbench.analysis.figures import draw_all\n"
        "from tests.analysis.figures.test_all_figures import plain\n"
        f"found = plain()\ndraw_all(found, Analyses(found), Path({str(tmp_path / 'b')!r}))\n"
    )
    root = Path(__file__).parents[3]
    surroundings = os.environ | {"PYTHONHASHSEED": "7", "SOURCE_DATE_EPOCH": "1", "TZ": "Asia/Tokyo", "LC_ALL": "C"}
    other = subprocess.Popen([sys.executable, "-c", code], cwd=root, env=surroundings)
    found = plain()
    drawn = draw_all(found, Analyses(found), tmp_path / "a")
    assert not any(one.reason for one in drawn)
    assert other.wait() == 0
    ours = digests(tmp_path / "a")
    assert len(ours) == 2 * len(FIGURES) and digests(tmp_path / "b") == ours


def test_the_order_of_rows_changes_nothing(tmp_path: Path):
    found = plain()
    mixed = Evidence(
        *(frame.sample(frac=1, random_state=1) for frame in (found.runs, found.cases, found.rounds)),
        found.source, found._views, found._predictions, found._features,
    )  # fmt: skip
    names = ["curves", "transfer", "ranks", "cost"]
    for one, folder in ((found, "a"), (mixed, "b")):
        draw_all(one, Analyses(one), tmp_path / folder, names)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
