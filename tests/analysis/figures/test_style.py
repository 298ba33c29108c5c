"""One look per algorithm wherever it is drawn; names are shown as they are; the same figure gives the same bytes."""

from __future__ import annotations

import hashlib
from itertools import combinations
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from fedbench.analysis.figures import style
from fedbench.analysis.figures.lettering import fold, legend_columns, write_legend
from fedbench.suite import read_suite

DEFAULT = read_suite("default").algorithms
DEUTERANOPIA = [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]]
PROTANOPIA = [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
TRITANOPIA = [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]]


def seen(colour: str, by: list[list[float]]) -> np.ndarray:
    """A colour as somebody sees it, in CIELAB: Machado, Oliveira and Fernandes, IEEE TVCG 15:1291-1298 (2009)."""
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ (np.array(by) @ linear).clip(0, 1) / (0.9505, 1.0, 1.089)
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def test_looks_do_not_depend_on_who_else_is_there():
    alone = {label: style.look_of(label, [label]) for label in (*DEFAULT, "scaffold")}
    assert {label: style.look_of(label, (*DEFAULT, "scaffold")) for label in alone} == alone
    assert len({look.colour for look in alone.values()}) == len({look.marker for look in alone.values()}) == len(alone)


def test_reference_points_are_dashed():
    assert style.colour_of("local", ["local"]) == "#808080" and style.marker_of("centralised", []) == "^"
    lines = {label: style.look_of(label, DEFAULT).line for label in DEFAULT}
    assert [label for label, line in lines.items() if line != "-"] == ["local", "centralised"]


@pytest.mark.parametrize("by", [np.eye(3).tolist(), DEUTERANOPIA, PROTANOPIA, TRITANOPIA])
def test_colours_are_told_apart_with_every_colour_vision(by):
    """A difference of 2.3 is just noticeable; markers differ too."""
    for group in ([style.colour_of(a, DEFAULT) for a in DEFAULT], [look.colour for look in style.GROUPS]):
        assert min(np.linalg.norm(seen(a, by) - seen(b, by)) for a, b in combinations(group, 2)) > 9


def test_variants_share_a_hue_and_differ_in_colour_marker_and_line():
    labels = ["fedbn (averaged)", "fedbn (personal)", "fedprox[mu=0.1]", "fedprox[mu=0.01]", "fedprox"]
    looks = {label: style.look_of(label, labels) for label in labels}
    assert looks["fedbn (personal)"] == style.look_of("fedbn", ["fedbn"]) == style.look_of("fedbn", labels)
    for variants in (labels[:2], labels[2:]):
        for part in zip(*(looks[label] for label in variants), strict=True):
            assert len(set(map(str, part))) == len(variants)


def test_lines_of_no_variant_are_too_pale_for_white_paper():
    labels = [f"{name}[lam={i}]" for name in ("fedda-cyclic", "fedda-joint", "moon", "fedbn") for i in range(6)]
    assert max(style.luminance(to_rgb(style.colour_of(label, labels))) for label in labels) < 0.5


def test_many_further_algorithms_have_different_looks():
    labels = [f"own-{i}" for i in range(30)]
    looks = [style.look_of(label, labels) for label in labels]
    assert len(set(looks)) == 30
    assert not {look.colour for look in looks} & {style.colour_of(a, DEFAULT) for a in DEFAULT}


def test_modalities_have_colours_of_their_own():
    own = {style.look_of_group(m, ["CT", "MR", "PET"]).colour for m in ("CT", "MR", "PET")}
    assert len(own) == 3 and not own & {style.colour_of(a, DEFAULT) for a in DEFAULT}


def test_more_groups_than_colours_are_told_apart_by_marker_and_line():
    names = [f"site-{i:02}" for i in range(24)]
    looks = [style.look_of_group(name, names) for name in names]
    assert len(set(looks)) == 24 and len({(look.colour, look.marker) for look in looks}) == 24
    assert [look.line for look in looks[:6]] == ["-"] * 6 and "-" not in [look.line for look in looks[6:]]


def test_a_reconstruction_is_marked():
    assert style.display_name("fedda[lam=1]") == "fedda[lam=1]†" and style.display_name("feddane") == "feddane"
    assert style.display_name("fedda-joint[lam=1]") == "fedda-joint[lam=1]†" and style.display_name("moon") == "moon"
    assert style.footnote(["moon", "fedda-joint"]).startswith("† our reconstruction") and style.footnote(["moon"]) == ""


def test_names_are_shown_literally():
    """Neither mathematics between dollars nor the underscore with which matplotlib hides a name."""
    name = "_$x$ and $y_1$ 100%"
    with style.apply_style():
        figure = Figure()
        axes = figure.subplots()
        title = axes.set_title(name)
        legend = write_legend(axes, [name, "fedda-joint"], [name])
        assert not title.get_parse_math()
        assert [(t.get_text(), t.get_parse_math()) for t in legend.get_texts()] == [
            (name, False), ("fedda-joint†", False),
        ]  # fmt: skip


def test_the_users_matplotlibrc_changes_nothing_and_stays():
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red"}):
        with style.apply_style():
            assert matplotlib.rcParams["font.size"] == 7 and matplotlib.rcParams["axes.facecolor"] == "white"
        assert matplotlib.rcParams["font.size"] == 30


def test_saved_twice_a_figure_gives_the_same_bytes(tmp_path: Path):
    digests = []
    for name in ("a", "b"):
        with style.apply_style():
            figure = Figure(figsize=(style.COLUMN, 2))
            figure.subplots().plot([0, 1], label="x")
        files = style.save(figure, tmp_path / f"{name}.with.points")
        assert [file.name for file in files] == [f"{name}.with.points.pdf", f"{name}.with.points.png"]
        digests.append([hashlib.sha256(file.read_bytes()).hexdigest() for file in files])
        assert b"Date" not in files[0].read_bytes()
    assert digests[0] == digests[1]


def test_long_names_are_folded_at_brackets_and_commas():
    assert fold("fedda-cyclic[lam=0.001,exchange=features]", 1.2) == "fedda-cyclic\n[lam=0.001,\nexchange=features]"
    assert fold("fedbn (personal)", 0.8) == "fedbn\n(personal)" and fold("fedavg", 0.1) == "fedavg"


def test_a_legend_is_as_wide_as_its_figure_at_most():
    assert legend_columns(["a", "b"], 7.0) == 2 and legend_columns(["a" * 40] * 9, 7.0) == 2
    assert legend_columns(["a" * 400], 3.0) == 1
