"""The paper's numbers as Markdown: all conditions on a page, and at a glance between two marks of a README."""

from __future__ import annotations

import json
from dataclasses import replace
from math import log
from pathlib import Path

import pandas as pd
import pytest

from fedbench.analysis.evidence import Condition, merge
from fedbench.analysis.figures.discriminators import ACCURACY, LOSS
from fedbench.analysis.kinds import kind_of
from fedbench.analysis.paper import results_page as module
from fedbench.analysis.paper.glance import glance
from fedbench.analysis.paper.numbers import Numbers, named
from fedbench.analysis.paper.plain import markdown, plain
from fedbench.analysis.paper.readme import BEGIN, END, NOTHING, glance_problems, part_of, put_part
from fedbench.analysis.paper.results_page import results_page
from fedbench.analysis.paper.study import read_study, study_of
from fedbench.analysis.statistics.rows import Endpoint
from fedbench.errors import UserError
from tests.analysis.evidence_rows import evidence
from tests.analysis.paper.test_paper import NASTY, TINY, quick, study_folder  # noqa: F401  # quick is a fixture
from tests.analysis.test_norms import FEW, TOY, trained
from tests.toys import refused

ROOT = Path(__file__).resolve().parents[3]


def readme(folder: Path, inside: str = NOTHING) -> Path:
    (folder / "README.md").write_text(f"# Title\n\n{BEGIN}\n{inside}{END}\n\nThe rest.\n")
    return folder / "README.md"


def rows_of(text: str, title: str) -> dict[str, list[str]]:
    """The cells of the table under a heading, by algorithm."""
    lines = text.partition(f"### {title}\n")[2].partition("###")[0].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("|")]
    return {name.replace("\\", ""): rest for name, *rest in cells[2:]}


def test_a_study_without_fedda_leads_with_what_was_better_or_worse_than_the_reference():
    study = study_of([("", trained("batch", {"fedprox": 0.2}, algorithms=("local", "fedavg", "fedprox")))])
    lead = "In toy, by cross-modality Dice, against fedavg: better: fedprox; worse: local."
    page = results_page(study).partition("## In short")[2]
    assert glance(study).startswith(lead) and page.lstrip().startswith(lead)
    assert "we cannot say" not in page and "FedDA" not in page + glance(study)


def test_nothing_is_said_of_fedda_where_it_was_not_run_and_a_modality_was_left_out():
    algorithms = ("local", "fedavg", "fedprox")
    left_out = evidence((Condition("toy", "CT"),), algorithms, patients=14)
    study = study_of([("", trained("batch", algorithms=algorithms)), ("unseen", left_out)])
    page = results_page(study).partition("## In short")[2]
    assert "FedDA" not in page and "modalities left out of training;" in glance(study)


def test_links_are_to_what_is_there():
    study = study_of([("", trained("batch"))])
    assert glance(study).endswith("made by `python -m fedbench paper`.\n") and "results/README" not in glance(study)
    said = "[results/README.md](results/README.md) says how to repeat the runs.\n"
    assert glance(study, "paper", "results/README.md").endswith(f"`python -m fedbench paper`; {said}")


# -- what is shown ---------------------------------------------------------------------------------------------------


def test_numbers_and_words_are_those_of_the_analysis():
    study = study_of([("", trained("batch", {"fedda-joint": 0.05}))])
    text = results_page(study)
    rows = rows_of(text, "toy")
    analyses = study.groups[0][1]
    cross, own, hd95 = (analyses.get(TOY, Endpoint(*e)) for e in (("cross", "dice"), ("in", "dice"), ("cross", "hd95")))
    assert set(rows) == {"local", "fedavg", "fedbn", "fedprox", "fedda-joint†"}
    for label in FEW:
        mean = cross.means.loc[label]
        shown = rows[label + "†" * (label == "fedda-joint")]
        assert shown[0] == f"{mean['mean']:.3f} ({mean['low']:.3f} to {mean['high']:.3f})"
        assert shown[2] == f"{own.means.loc[label, 'mean']:.3f}" and shown[4] == f"{hd95.means.loc[label, 'mean']:.1f}"
    words = [rows[name][1] for name in ("fedavg", "local", "fedda-joint†", "fedprox")]
    assert words == ["reference", "worse", "better", "not distinguishable"]
    assert rows["fedda-joint†"][3] == module.word(own, "fedda-joint") and rows["fedavg"][3] == "reference"
    assert "| cross-modality Dice against fedavg | in-modality Dice | in-modality Dice against fedavg | cross-" in text
    assert "15 runs of 1:01 min on average, 3 seeds, 14 test patients, batch normalisation" in text
    assert "our reconstruction" in text and "`python -m fedbench paper`" in text


def test_a_glance_shows_all_conditions_in_one_table_by_kind_of_algorithm():
    """Two norms of one dataset: what was tuned to other numbers is one row."""
    parts = [("", trained("batch", {"fedda-joint[lam=0.05]": 0.05})), ("other", trained("instance"))]
    study = study_of(parts)
    text = glance(study)
    assert text.startswith(
        "Does FedDA add cross-modality ability to what fedavg gives? In our hands: yes, it was better"
    )
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert table[0] == "| algorithm | toy | toy, instance norm |"
    rows = {line.split(" | ")[0].strip("| "): line.rstrip(" |").split(" | ")[1:] for line in table[2:]}
    assert list(rows) == ["local", "fedavg", "fedbn", "fedda-joint†", "fedprox"]
    first, second = (analyses.get(TOY, Endpoint("cross", "dice")) for _, analyses in study.groups)
    (tuned,) = (label for label in first.means.index if label.startswith("fedda-joint"))
    assert rows["fedda-joint†"][0] == f"{first.means.loc[tuned, 'mean']:.3f} ▲"
    assert rows["fedavg"] == [f"{analysis.means.loc['fedavg', 'mean']:.3f}" for analysis in (first, second)]
    assert rows["local"][0].endswith(" ▼") and rows["fedprox"][0] == f"{first.means.loc['fedprox', 'mean']:.3f}"
    assert "our reconstruction" in text and "(paper/)" in text and "(paper/results.md)" in text


def test_an_ablation_is_not_in_the_glance_but_on_the_page():
    labels = ("fedavg", "fedda-joint[lam=0.1]", "fedda-joint[lam=0.2]")
    study = study_of([("", trained("batch")), ("ablation", evidence((TOY,), labels, patients=6))])
    table = [line for line in glance(study).splitlines() if line.startswith("|")]
    assert table[0] == "| algorithm | toy |" and "lam" not in "".join(table)
    assert set(rows_of(results_page(study), "toy (ablation)")) == {"fedavg", *(f"{label}†" for label in labels[1:])}


def test_two_sizes_of_one_algorithm_in_the_main_study_have_a_row_each():
    labels = ("fedavg", "fedprox[mu=0.1]", "fedprox[mu=0.2]", "moon[mu=1]")
    table = [
        x for x in glance(study_of([("", evidence((TOY,), labels, patients=6))])).splitlines() if x.startswith("|")
    ]
    assert [line.split(" | ")[0].strip("| ").replace("\\", "") for line in table[2:]] == [*labels[:3], "moon"]


@pytest.mark.parametrize(
    ("label", "kind"),
    [
        ("fedprox[mu=0.1]", "fedprox"),
        ("fedbn (personal)", "fedbn (personal)"),
        ("fedda-joint[exchange=features,lam=0.05]", "fedda-joint[exchange=features]"),
        ("fedbn[norms=all] (averaged)", "fedbn[norms=all] (averaged)"),
    ],
)
def test_what_was_tuned_is_no_part_of_the_kind(label, kind):
    assert kind_of(label) == kind


def test_where_a_patient_is_a_field_of_view_it_is_said():
    for name, said in (("nuclei", True), ("toy", False), ("phantom-heart", False)):
        study = study_of([("", trained("batch", condition=Condition(name)))])
        for text in (glance(study), results_page(study)):
            assert (f"On {name} a patient is a field of view." in text) is said


def test_long_tables_keep_reference_points_reference_and_what_is_studied():
    many = ("local", "centralised", "fedavg", "fedbn", "fedprox", "moon", "fedda-joint", "fedda-cyclic")
    many += tuple(f"fedda-joint[lam={lam}]" for lam in (0.1, 0.2, 0.5, 1, 2, 5, 10))
    text = results_page(study_of([("", evidence((TOY,), many, patients=6))]))
    rows = rows_of(text, "toy")
    assert list(rows)[:3] == ["local", "centralised", "fedavg"] and len(rows) == module.ROWS
    assert sum(name.startswith("fedda") for name in rows) == 9 and "3 more rows in the paper" in text


def test_a_glance_has_an_answer_in_short_for_each_question():
    """Own modality, alignment where features were kept, cost and luck."""
    study = study_of([("", trained("batch", {"fedda-joint": -0.03}))])
    bullets = [line for line in glance(study).splitlines() if line.startswith("- ")]
    starts = (
        "- **Own modality.** On its own modality",
        "- **Cost.** FedDA sent 1.00 times",
        "- **Power.** Not distinguishable is not equal",
    )
    assert all(any(line.startswith(start) for line in bullets) for start in starts)
    assert any("Between two seeds the mean of one algorithm moved by" in line for line in bullets)
    assert not any("No features were kept" in line for line in bullets)
    page = [line for line in results_page(study).splitlines() if line.startswith("- **")]
    assert [line.partition(".**")[0] for line in bullets] == [line.partition(".**")[0] for line in page]
    assert any(line.startswith("- **Power.** These tests are cautious") for line in page)


def test_what_the_primary_answer_rests_on_is_told_beside_it():
    """Against the reference alone, not against each rival; on the page with the largest gain and its interval."""
    study = study_of([("", trained("batch", {"fedda-joint": -0.03, "fedprox": 0.3}))])
    text = glance(study)
    assert "In our hands: we found no evidence that it does; it was distinguishable from fedavg in none of 1" in text
    assert "in favour of FedDA is that of" not in text
    assert "favour of FedDA is that of" in results_page(study) or "against FedDA is that of" in results_page(study)


def test_what_more_rounds_did_is_told_at_a_glance_too():
    few, many = ({"rounds": rounds, "lr": 0.1, "validate_every": 4} for rounds in (40, 80))
    study = study_of([("", trained("batch", training=few)), ("long", trained("batch", {"": 0.1}, training=many))])
    (bullet,) = (line for line in glance(study).splitlines() if line.startswith("- **Budget.**"))
    assert "80 rounds in place of 40 on toy moved that of fedavg by" in bullet


def test_discriminators_that_only_guessed_are_told_at_a_glance_too():
    found = trained("instance")
    own = found.rounds[(found.rounds["setting"] == "fedda-joint") & (found.rounds["metric"] == "seconds")]
    late = own.assign(round=own["round"] + 1)
    guessed = [late.assign(metric=metric, value=value) for metric, value in ((LOSS, log(2)), (ACCURACY, 0.5))]
    study = study_of([("", replace(found, rounds=pd.concat([found.rounds, *guessed], ignore_index=True)))])
    for page in (glance, results_page):
        (bullet,) = (line for line in page(study).splitlines() if line.startswith("- **Alignment.**"))
        assert "In 1 of 1 comparison the discriminators only guessed late in training." in bullet


def test_groups_stand_together_and_what_was_re_estimated_is_left_to_the_paper():
    parts = [("", trained("batch", anew=0.1)), ("toy-instance", trained("instance"))]
    study = study_of([*parts, ("zoo", evidence(patients=6))])
    text = results_page(study)
    titles = [line.removeprefix("### ") for line in text.splitlines() if line.startswith("###")]
    assert titles == ["toy", "toy (instance)", "toy (zoo)"]
    assert "reestimated" not in text and "more row" not in text
    assert "affine instance normalisation" in text
    glanced = glance(study, "text")
    assert "- **Normalisation.** The cross-modality Dice of fedavg was moved by another kind" in glanced
    assert "- **Normalisation.** With another kind of normalisation layer" in text and "[text](text/)" in glanced
    assert "| algorithm | toy | toy, instance norm | toy (zoo) |" in glanced


def test_modalities_left_out_share_a_table():
    conditions = tuple(Condition("toy", unseen) for unseen in ("CT", "MR"))
    found = evidence((TOY, *conditions), FEW, patients=9)
    worst = (found.cases["setting"] == "fedprox") & (found.cases["unseen"] == "CT") & (found.cases["modality"] == "CT")
    found = replace(found, cases=found.cases.assign(dice=found.cases["dice"].where(~worst, 0.01)))
    text = results_page(study_of([("", found)]))
    rows = rows_of(text, "toy, a modality left out of training")
    assert "| algorithm | CT (9) | MR (9) |" in text and list(rows) == [
        "local",
        "fedavg",
        "fedbn",
        "fedda-joint†",
        "fedprox",
    ]
    analyses = study_of([("", found)]).groups[0][1]
    for column, condition in enumerate(conditions):
        means = analyses.get(condition, Endpoint("unseen", "dice", condition.unseen)).means["mean"]
        assert rows["fedbn"][column].split()[0] == f"{means['fedbn']:.3f}"
    assert rows["fedprox"][0] == "0.010 (worse)" and rows["fedavg"] == [cell.split()[0] for cell in rows["fedavg"]]
    assert "too few" not in text
    few = results_page(study_of([("", evidence((TOY, *conditions), FEW, patients=5))]))
    assert "Of CT and MR patients are too few to name any difference." in few
    assert text.count("### ") == 2 and "than fedavg where it says so" in text


def test_what_was_published_unfinished_is_said(tmp_path):
    root = study_folder(tmp_path / "published", **TINY)
    whole = read_study(root)
    (manifest,) = root.rglob("manifest.json")
    content = json.loads(manifest.read_text()) | {"unfinished": {"toy.fedavg.s9.abc": "failed", "toy.moon.s9.abc": ""}}
    manifest.write_text(json.dumps(content))
    for page in (glance, results_page):
        assert "lacks" not in page(whole)
        assert f"when they were published: {manifest.parent.name} lacks 2 runs;" in page(read_study(root))


def test_algorithms_that_a_condition_lacks_are_named():
    """Those that other conditions of the same dataset have; ablations lack them by design."""
    left = [name for name in FEW if name != "fedprox"]
    found = merge([trained("batch"), trained("batch", algorithms=left, condition=Condition("toy", "CT"))])
    ablation = evidence((TOY,), ("fedavg", "fedda-joint[lam=0.1]", "fedda-joint[lam=0.2]"), patients=6)
    said = "Of the algorithms, fedprox was not run in toy without CT."
    for page in (glance, results_page):
        assert said in page(study_of([("", found), ("ablation", ablation)]))
        assert "not run in" not in page(study_of([("", trained("batch")), ("ablation", ablation)]))


def test_sentences_are_read_without_latex():
    numbers = Numbers()
    inner = numbers.put("inner", text=r"$-0.012$ [$+0.001$, 0.5]")
    numbers.put("outer", text="unused")
    assert plain(numbers, rf"\textsf{{a\_b}}\textsuperscript{{\dag}} lost {inner} of 5\%, $p<0.001$ -- so") == (
        "a_b† lost −0.012 [+0.001, 0.5] of 5%, p < 0.001 – so"
    )


def test_hostile_names_are_printed_as_they_are():
    name = r"a_b%#$&{}^\input{/etc/passwd}\Macro{}<b>|`x`"
    assert plain(Numbers(), named(name, False)) == name
    assert "<b>" not in markdown(Numbers(), named(name, False))
    text = results_page(study_of([("", evidence((TOY,), ("fedavg", NASTY), patients=4))]))
    table = [line for line in text.splitlines() if line.startswith("| a")]
    assert len(table) == 2 and all(line.replace(r"\|", "").count("|") == 7 for line in table)


# -- the marks -------------------------------------------------------------------------------------------------------


def test_only_the_part_between_the_marks_changes(tmp_path):
    file = readme(tmp_path)
    assert put_part(file, "New.\n") and part_of(file) == "New.\n"
    assert file.read_text() == f"# Title\n\n{BEGIN}\nNew.\n{END}\n\nThe rest.\n"
    assert glance_problems(file, "New.\n") == [] and "run `fedbench paper`" in glance_problems(file, "Newer.\n")[0]


def test_a_readme_without_marks_is_left_alone(tmp_path):
    file = tmp_path / "README.md"
    assert not put_part(file, "New.\n") and not file.exists()
    file.write_text("# Title\n")
    assert not put_part(file, "New.\n") and glance_problems(file, "New.\n") == []
    assert file.read_text() == "# Title\n"


@pytest.mark.parametrize("text", [f"{BEGIN}\n", f"{END}\n{BEGIN}\n", f"{BEGIN}\n{END}\n{END}\n", f"{BEGIN} {END}"])
def test_damaged_marks_are_refused(tmp_path, text):
    (tmp_path / "README.md").write_text(text)
    with pytest.raises(UserError, match="both be there, once and in this order"):
        put_part(tmp_path / "README.md", "New.\n")
    assert (tmp_path / "README.md").read_text() == text


def test_the_projects_readme_has_such_a_part():
    assert part_of(ROOT / "README.md") is not None


# -- the command -----------------------------------------------------------------------------------------------------


def test_paper_writes_and_checks_the_readme_beside_it(fedbench, tmp_path):
    root = study_folder(tmp_path / "published", **TINY)
    file = readme(tmp_path)
    status, out, _ = fedbench("paper", "--from", str(root))
    assert status == 0 and "results at a glance" in out
    assert "against fedavg: not distinguishable: fedprox." in part_of(file)
    assert "Published as study" in (tmp_path / "paper" / "results.md").read_text()
    assert fedbench("paper", "--from", str(root), "--check")[0] == 0
    file.write_text(file.read_text().replace("0.7", "0.8"))
    status, out, _ = fedbench("paper", "--from", str(root), "--check")
    assert status == 1 and "README.md: its results at a glance are not what the results give" in out
    file.write_text(f"{END}\n{BEGIN}\n")
    refused(fedbench("paper", "--from", str(root)), "README.md", "in this order")


def test_nothing_published_is_what_the_readme_must_say(fedbench, tmp_path):
    file = readme(tmp_path)
    assert fedbench("paper", "--check")[0] == 0
    put_part(file, "fedavg 0.9\n")
    status, out, _ = fedbench("paper", "--check")
    assert status == 1 and "put `Nothing published yet.` between the marks" in out
