"""All conditions side by side: one table, one figure, and one table of the modalities left out of training."""

from __future__ import annotations

import pytest

from fedbench.analysis.evidence import Condition, merge
from fedbench.analysis.figures import style
from fedbench.analysis.figures.overview import draw
from fedbench.analysis.paper.overview import (
    NAMED_PHANTOMS,
    draw_overview,
    overview_section,
    panels,
    phantoms_beside,
    scores_table,
    shown_in_figure,
    side_by_side,
    unseen_table,
)
from fedbench.analysis.paper.study import study_of
from fedbench.analysis.statistics.rows import Endpoint
from tests.analysis.evidence_rows import evidence
from tests.analysis.test_norms import TOY, trained

CROSS = Endpoint("cross", "dice")
HEART = Condition("phantom-heart")


@pytest.fixture(scope="module")
def study():
    """Two norms, an ablation and a phantom; FedDA is better with the first norm alone, and tuned to another number."""
    ablation = evidence((TOY,), ("fedavg", "fedda-joint[lam=0.1]", "fedda-joint[lam=0.2]"), patients=6)
    heart = trained("batch", {"fedda-joint": -0.03}, condition=HEART)
    main = merge([trained("batch", {"fedda-joint[lam=0.05]": 0.05}), heart])
    return study_of(
        [("", main), ("toy-instance", trained("instance", {"fedda-joint": -0.03})), ("toy-lambda", ablation)]
    )


def columns_of(table):
    return [(*column.groups, column.name) for column in table.columns[1:]]


def test_the_table_has_every_condition_with_its_own_verdicts(study):
    parts = side_by_side(study)
    table = scores_table(parts)
    assert columns_of(table) == [("toy", "batch"), ("toy", "instance")]
    rows = {name.text: found for name, *found in table.rows}
    assert list(rows) == ["local", "fedavg", "fedbn", "fedda-joint", "fedprox"]
    for column, part in enumerate(parts):
        analysis = part.analyses.get(part.condition, CROSS)
        (label,) = (label for label in analysis.means.index if label.startswith("fedda-joint"))
        assert rows["fedda-joint"][column].text == f"{analysis.means.loc[label, 'mean']:.3f}"
        assert rows["fedavg"][column].sign == ""
    assert [cell.sign for cell in rows["fedda-joint"]] == ["▲", ""]
    assert {cell.sign for cell in rows["local"]} == {"▼"}
    assert table.marks["▲"].startswith(
        "better than fedavg by both corrected tests, over patients and over patients and"
    )
    assert table.marks["▼"].startswith("worse than fedavg")


def test_phantoms_beside_patients_have_a_table_of_their_own(study):
    (heart,) = phantoms_beside(study)
    table = scores_table([heart], NAMED_PHANTOMS, "Phantoms")
    assert columns_of(table) == [("phantom-heart", "batch")]
    assert (table.name, table.title) == ("overview-phantoms", "Phantoms with every modality in training")


def test_phantoms_alone_are_what_there_is_to_show():
    parts = [("", trained("batch", condition=HEART)), ("heart-instance", trained("instance", condition=HEART))]
    study = study_of(parts)
    assert columns_of(scores_table(side_by_side(study))) == [("phantom-heart", "batch"), ("phantom-heart", "instance")]
    assert phantoms_beside(study) == []
    assert "images of patients" not in overview_section(study, [])[0]


def test_the_figure_shows_ablations_and_no_phantoms_beside_patients(study):
    (column,) = panels(shown_in_figure(study))
    assert [panel.title for panel in column] == ["toy, batch norm", "toy, instance norm", "toy, lambda"]
    with style.apply_style():
        figure = draw([column], "About.").figure
    drawn = [axes for axes in figure.get_axes() if axes.get_title(loc="left")]
    names = [[tick.get_text() for tick in axes.get_yticklabels()] for axes in drawn]
    assert names[0] == ["fedbn", "fedda-joint†", "fedprox"]  # local and the reference are not among them
    assert names[2] == ["fedda-joint[lam=0.1]†", "fedda-joint[lam=0.2]†"]
    assert len({axes.get_xlim() for axes in drawn}) == 1
    for axes, panel in zip(drawn, column, strict=True):
        marks = {line.get_label(): line.get_xdata()[0] for line in axes.lines if line.get_marker() not in ("None", "")}
        for label in panel.rows.values():
            assert marks[label] == panel.analysis.comparison(label, "fedavg")["mean"]


def test_many_datasets_share_two_columns():
    found = [(f"d{i}", trained("batch", condition=Condition(f"d{i}"))) for i in range(5)]
    study = study_of([("", merge([each for _, each in found]))])
    columns = panels(shown_in_figure(study))
    assert len(columns) == 5
    with style.apply_style():
        figure = draw(columns, "").figure
    titles = [axes.get_title(loc="left") for axes in figure.get_axes() if axes.get_title(loc="left")]
    assert titles == [f"d{i}, batch norm" for i in range(5)] and len(figure.subfigs) == 2


def test_one_condition_needs_no_overview(tmp_path):
    study = study_of([("", trained("batch"))])
    assert draw_overview(study, tmp_path, style.save) == [] and list(tmp_path.iterdir()) == []
    text, tables = overview_section(study, [])
    assert tables == {} and "ref" not in text


def test_the_section_shows_both(study, tmp_path):
    drawn = draw_overview(study, tmp_path, lambda figure, stem: style.save(figure, stem, kinds=("pdf",)))
    text, tables = overview_section(study, drawn)
    assert (tmp_path / "overview.pdf").is_file() and "{figures/overview.pdf}" in text
    assert list(tables) == ["overview"] and r"\label{tab:overview}" in tables["overview"]
    assert "has the scores of 2 conditions of images of patients with every modality in training" in text
    assert r"also published: 1 of phantoms (Table~\ref{tab:overview-phantoms}) and 1 of ablations." in text
    assert r"\ref{tab:overview}" in text and r"\ref{fig:overview}" in text and r"\label{fig:overview}" in text


def test_modalities_left_out_stand_side_by_side():
    conditions = tuple(Condition("toy", unseen) for unseen in ("CT", "MR"))
    few, three = ("fedavg", "fedda-joint", "local"), ("CT", "MR", "PET")
    study = study_of([("", evidence((TOY, *conditions), few, patients=9, modalities=three))])
    assert [part.condition for part in side_by_side(study)] == [TOY]
    table = unseen_table([part for part in study.parts if part.condition.unseen])
    assert columns_of(table) == [("toy", "CT (9)"), ("toy", "MR (9)")]
    rows = {name.text: found for name, *found in table.rows}
    for column, condition in enumerate(conditions):
        means = study.groups[0][1].get(condition, Endpoint("unseen", "dice", condition.unseen)).means["mean"]
        assert {name: found[column].text for name, found in rows.items()} == {
            name: f"{means[name]:.3f}" for name in ("local", "fedavg", "fedda-joint")
        }
