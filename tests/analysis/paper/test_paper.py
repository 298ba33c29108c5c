"""The paper: every number and word from the results, LaTeX that compiles, and a check that notices."""

from __future__ import annotations

import json
import re
import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fedbench.analysis import verdicts
from fedbench.analysis.analyses import Analyses, Choices
from fedbench.analysis.evidence import Condition
from fedbench.analysis.figures import FIGURES, alignment
from fedbench.analysis.figures.scene import Scene
from fedbench.analysis.loading import read_evidence
from fedbench.analysis.paper import (
    building,
    checking,
    making,
    numbers,
    reliability,
    sections,
    training,
)
from fedbench.analysis.paper.answers.cross import studied
from fedbench.analysis.paper.numbers import Numbers
from fedbench.analysis.paper.setup import describe_setup
from fedbench.analysis.paper.study import read_study, study_of
from fedbench.analysis.publishing import publish
from fedbench.analysis.statistics.protocol import ALPHA, analyse
from fedbench.analysis.statistics.rows import Endpoint
from fedbench.analysis.tables import fitting
from fedbench.errors import UserError
from fedbench.files import sha256
from tests.analysis import evidence_rows
from tests.analysis.evidence_rows import evidence, of_cases, write_store
from tests.analysis.score_rows import random_table, results, table, unfinished_grid
from tests.toys import refused

PAPER = Path(__file__).resolve().parents[3] / "paper"
TOY = Condition("toy")
TINY = {"algorithms": ("fedavg", "fedprox"), "seeds": (0,), "patients": 4}
FEW = ("local", "fedavg", "fedprox", "fedda-joint")
NASTY = r"a_b%#$&{}~^\input{/etc/passwd}<τ†"
MACRO = re.compile(r"\\([A-Z][A-Za-z]+)")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    quicken(monkeypatch)


def quicken(patch: pytest.MonkeyPatch) -> None:
    """Few simulations and two figures: what they show is tested elsewhere."""
    patch.setattr(reliability, "SIMULATIONS", 20)
    patch.setattr(reliability, "RESAMPLES", 50)
    patch.setattr(making, "FIGURES", {name: FIGURES[name] for name in ("forest", "ranks")})


def texts(found, choices: Choices | None = None) -> dict[str, str]:
    """The macros of evidence, by name; without the supplement, which defines none."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sections, "_details", lambda *_: None)
        return defined(making.write(study_of([("", found)], choices), _undrawn(found)))


def _undrawn(found) -> dict[str, list]:
    study = study_of([("", found)])
    return {part.key: [] for part in [*study.parts, *study.rescored]}


def defined(written: dict[str, str]) -> dict[str, str]:
    lines = re.findall(r"\\newcommand\{\\([A-Za-z]+)\}\{(.*)\}\n", written[making.NUMBERS])
    return dict(lines)


def spelled(name: str, macros: dict[str, str]) -> str:
    """The text of a macro with the macros in it replaced."""
    text, before = macros[name], ""
    while text != before:
        before, text = text, re.sub(r"\\([A-Z][A-Za-z]+)\{\}", lambda m: macros[m[1]], text)
    return text


def study_folder(root: Path, name: str = "study", conditions=(TOY,), algorithms=FEW, **more) -> Path:
    """Published results under ``root``, which is returned."""
    runs = write_store(root.parent / f"runs-{name}", evidence(conditions, algorithms, **more))
    publish.publish(Analyses(read_evidence(runs)), root / name)
    return root


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    """A whole condition of three modalities and one with MR left out; three seeds, eight patients."""
    root = tmp_path_factory.mktemp("results") / "published"
    return study_folder(root, conditions=(TOY, Condition("toy", "MR")), seeds=(0, 1, 2), modalities=("CT", "MR", "PET"))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    """Published results that are analysed in no time."""
    return study_folder(tmp_path_factory.mktemp("tiny") / "published", **TINY)


@pytest.fixture(scope="module")
def made(published, tmp_path_factory) -> Path:
    """The paper of ``published``."""
    target = tmp_path_factory.mktemp("made") / "paper"
    target.mkdir()
    for name in (building.MAIN, building.REFERENCES):
        shutil.copy(PAPER / name, target)
    with pytest.MonkeyPatch.context() as patch:
        quicken(patch)
        making.make(read_study(published), target)
    return target


@pytest.fixture
def paper(made, tmp_path) -> Path:
    """A copy of ``made``, to be changed."""
    return shutil.copytree(made, tmp_path / "paper")


# -- macros ----------------------------------------------------------------------------------------------------------


def test_a_macro_is_used_by_a_name_of_letters():
    made = Numbers()
    assert made.put("cross", "fedprox[mu=0.1]", "sts", text="0.5") == r"\CrossFedproxMuZeroOneSts{}"
    assert made.render().endswith("\\newcommand{\\CrossFedproxMuZeroOneSts}{0.5}\n")


def test_different_things_never_share_a_macro():
    made = Numbers()
    first, second = made.put("a-b", text="1"), made.put("a", "b", text="2")
    assert first != second and made.text("a-b") == "1" and made.text("a", "b") == "2"
    assert made.put("a", "b", text="2") == second
    with pytest.raises(ValueError, match="two texts"):
        made.put("a", "b", text="3")
    assert made.put("日本", text="x") == r"\Nameless{}"


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (numbers.signed(-0.0124), "$-0.012$"),
        (numbers.signed(0.0124), "$+0.012$"),
        (numbers.signed(-0.0001), "$0.000$"),
        (numbers.signed(float("nan")), "--"),
        (numbers.interval(0.1, 0.25), "[0.100, 0.250]"),
        (numbers.interval(float("nan"), 1.0), "[--]"),
        (numbers.p_value(0.0004), "$p<0.001$"),
        (numbers.p_value(0.0123), "$p=0.012$"),
        (numbers.p_value(float("nan")), "no $p$-value"),
        (numbers.out_of(0, 3, "condition"), "no condition"),
        (numbers.out_of(2, 3, "condition"), "2 of 3 conditions"),
        (numbers.out_of(2, 2, "condition"), "both conditions"),
        (numbers.out_of(3, 3, "condition"), "all 3 conditions"),
        (numbers.out_of(1, 1, "condition"), "the one condition"),
        (numbers.words(["a", "b", "c"]), "a, b and c"),
    ],
)
def test_numbers_as_text(written, text):
    assert written == text


def test_numbers_are_those_of_the_analysis():
    found = evidence((TOY,), FEW, seeds=(0, 1, 2), patients=12)
    macros = texts(found)
    for relation in ("in", "cross"):
        made = analyse(found.of(TOY), "toy", Endpoint(relation))
        prefix = relation.capitalize() + "Dice"
        for label, name in (("local", "Local"), ("fedavg", "Fedavg"), ("fedda-joint", "FeddaJoint")):
            if f"{prefix}{name}Toy" in macros:
                mean = made.means.loc[label]
                assert macros[f"{prefix}{name}Toy"] == f"{mean['mean']:.3f}"
                assert macros[f"{prefix}{name}IntervalToy"] == f"[{mean['low']:.3f}, {mean['high']:.3f}]"
    made = analyse(found.of(TOY), "toy", Endpoint("cross"))
    pair = made.comparison("fedda-joint", "fedavg")
    assert macros["CrossDiceFeddaJointAgainstFedavgMeanToy"] == f"${pair['mean']:+.3f}$"
    assert macros["CrossDiceFeddaJointAgainstFedavgPToy"] == numbers.p_value(pair["p_holm"])
    assert macros["CrossDiceFeddaJointAgainstFedavgRunsPToy"] == numbers.p_value(pair["runs_p_holm"])
    assert macros["OmnibusToy"].startswith(f"$F_{{{made.friedman.df[0]},{made.friedman.df[1]}}}={made.friedman.f:.2f}")
    assert macros["NumberOfRuns"] == "12" and macros["Seeds"] == "3 seeds"


# -- words -----------------------------------------------------------------------------------------------------------


def compared(gain: float, seeds=(0, 1, 2, 3), patients=20) -> verdicts.Comparison:
    """FedDA against FedAvg when it gains so much Dice."""
    stream = np.random.default_rng(0)
    rows = [
        table({name: (0.6 + by + stream.normal(0, 0.02, patients)).tolist() for name, by in gains.items()}, [seed])
        for gains in [{"fedavg": 0.0, "fedda-joint": gain}]
        for seed in seeds
    ]
    return verdicts.judge(analyse(results(pd.concat(rows)), "toy"), "fedda-joint", "fedavg")


def test_words_need_both_tests_and_follow_the_data():
    better, worse, same = compared(0.1), compared(-0.1), compared(0.0)
    assert (better.verdict, worse.verdict, same.verdict) == tuple(
        verdicts.Verdict(word) for word in ("better than", "worse than", "not distinguishable from")
    )
    alone = compared(0.1, seeds=(0,))
    assert alone.p < ALPHA and np.isnan(alone.runs_p)
    assert alone.verdict is verdicts.Verdict.SAME and alone.patients_only


def test_a_smaller_distance_is_better():
    rows = pd.concat([table({"fedavg": [0.8] * 20, "fedda-joint": [0.4] * 20}, [seed]) for seed in (0, 1)])
    rows["hd95"] = 10 * rows["dice"] + np.random.default_rng(0).normal(0, 0.1, len(rows))
    made = analyse(results(rows), "toy", Endpoint("cross", "hd95"))
    assert verdicts.judge(made, "fedda-joint", "fedavg").verdict is verdicts.Verdict.BETTER
    assert verdicts.judge(made, "fedavg", "fedda-joint").verdict is verdicts.Verdict.WORSE


def test_patients_tested_with_every_seed_must_not_contradict_the_others():
    """Both tests are significant, for opposite signs: 40 patients at -0.05, the 10 with every seed at +0.1."""
    found = analyse(results(unfinished_grid()), "toy")
    for pair in (("moon", "fedavg"), ("fedavg", "moon")):
        comparison = verdicts.judge(found, *pair)
        assert comparison.p < ALPHA and comparison.runs_p < ALPHA
        assert comparison.verdict is verdicts.Verdict.SAME and comparison.patients_only


def test_the_paragraph_on_certainty_names_the_primary_metric(monkeypatch):
    monkeypatch.setattr(sections, "_details", lambda *_: None)
    found = evidence(**TINY)
    said = {}
    for metric in ("dice", "hd95"):
        declared = json.dumps({"relation": "cross", "metric": metric})
        each = replace(found, runs=found.runs.assign(declared=declared))
        said[metric] = making.write(study_of([("", each)]), _undrawn(each))[making.GENERATED]
    assert "By cross-modality Dice, Friedman's test" in said["dice"]
    assert "By cross-modality HD95, Friedman's test" in said["hd95"]
    assert "By cross-modality Dice, Friedman's test" not in said["hd95"]


def test_the_conclusion_flips_when_the_data_flip(monkeypatch):
    said = {}
    for name, gain in (("better", 0.15), ("worse", -0.15), ("same", 0.0)):
        monkeypatch.setattr(evidence_rows, "GAINS", {"local": -0.3, "fedda-joint": gain})
        macros = texts(evidence((TOY,), FEW, seeds=(0, 1, 2), patients=20))
        said[name] = [spelled(f"Answer{key}", macros) for key in ("Short", "Cross", "Federation")]
        word = {"better": "better than", "worse": "worse than", "same": "not distinguishable from"}[name]
        assert macros["CrossDiceFeddaJointAgainstFedavgToy"] == word
    assert said["better"][0].startswith("yes") and "better in every one" in said["better"][1]
    assert said["worse"][0].startswith("no, it was worse") and "worse in every one" in said["worse"][1]
    assert (
        said["same"][0].startswith("we found no evidence") and "FedDA was distinguishable in none." in said["same"][1]
    )
    assert "better than clients that train alone in the one condition" in said["same"][2]


def test_mixed_verdicts_are_counted(monkeypatch):
    monkeypatch.setattr(evidence_rows, "GAINS", {"fedprox": -0.3, "fedda-joint": 0.0, "moon": 0.15})
    macros = texts(evidence((TOY,), ("fedavg", "fedprox", "moon", "fedda-joint"), seeds=(0, 1, 2), patients=20))
    assert spelled("AnswerCross", macros).split("FedDA was ")[1] == (
        r"better in 1 (than \textsf{fedprox}), worse in 1 (than \textsf{moon}) and not distinguishable in 1."
    )
    assert macros["CrossDiceFeddaJointStandsToy"] == r"better than \textsf{fedprox} and worse than \textsf{moon}"
    assert "moon" in spelled("AnswerIn", macros)


def test_statistics_taken_anew_are_no_gain_of_an_algorithm(monkeypatch):
    monkeypatch.setattr(evidence_rows, "GAINS", {"local": -0.3})
    found = evidence((TOY,), FEW, seeds=(0, 1, 2), patients=20)
    extra = found.cases[found.cases["deployment"] == "global"].assign(deployment="reestimated")
    extra["dice"] = (extra["dice"] + 0.15).clip(0, 1)
    macros = texts(replace(found, cases=pd.concat([found.cases, extra], ignore_index=True)))
    plainly = texts(found)
    assert not [name for name in macros if "Reestimated" in name]
    assert {name: text for name, text in macros.items() if "Dice" in name} == {
        name: text for name, text in plainly.items() if "Dice" in name
    }
    assert spelled("AnswerShort", macros).startswith("we found no evidence")
    assert "distinguishable in none" in spelled("AnswerCross", macros)
    assert "reestimated" not in spelled("AnswerIn", macros)


def test_what_stays_undecided_and_what_clients_reach_alone_is_said(monkeypatch):
    monkeypatch.setattr(evidence_rows, "GAINS", {"local": 0.2, "fedda-joint": 0.1})
    found = evidence((TOY,), FEW, seeds=(0,), patients=20)  # of one seed nothing is decided
    macros = texts(found)
    assert "training runs" in macros["AnswerUndecided"]
    own = study_of([("", found)]).parts[0].primary
    pairs = own.pairwise[own.pairwise["declared"]]
    assert macros["UndecidedSize"] == f"{pairs['mean'].abs().max():.3f} in cross-modality Dice"
    assert "train alone were better there than" in spelled("AnswerAlone", macros)
    assert "in no condition (mean difference of $+" in spelled("AnswerAlone", macros)


def test_the_same_runs_in_two_studies_count_once():
    parts = [evidence((TOY,), (*FEW, extra), patients=12) for extra in ("moon", "fedda-joint[lam=0.1]")]
    whole = evidence((TOY,), (*FEW, "moon", "fedda-joint[lam=0.1]"), patients=12)
    study = study_of([("", parts[0]), ("ablation", parts[1])])
    found = studied(study.parts, "cross")
    once = studied(study_of([("", parts[0])]).parts, "cross")
    assert len(found) == len(once) + len([a for a in FEW if a not in ("local", "fedda-joint")])
    assert len(studied(study_of([("", whole), ("again", whole)]).parts, "cross")) == len(
        studied(study_of([("", whole)]).parts, "cross")
    )
    macros = Numbers()
    describe_setup(macros, study)
    assert macros.spelled(r"\NumberOfRuns{}") == str(len(whole.runs))
    identities = [json.dumps(json.loads(text) | {"harness": "b" * 64}) for text in parts[1].runs["identity"]]
    frames = (getattr(parts[1], name) for name in ("runs", "cases", "rounds"))
    runs, cases, rounds = (frame.assign(run_id=frame["run_id"] + "b") for frame in frames)
    again = replace(parts[1], runs=runs.assign(identity=identities), cases=cases, rounds=rounds)  # by other code
    assert len(studied(study_of([("", parts[0]), ("ablation", again)]).parts, "cross")) == len(found)


def test_too_few_patients_and_seeds_are_said_to_decide_nothing():
    macros = texts(evidence((TOY,), FEW, seeds=(0,), patients=4))
    assert "no difference could be named however large" in macros["AnswerPower"]
    assert "test over runs" in macros["LimitSeeds"] and "too small to simulate" in macros["Calibration"]
    assert texts(evidence((TOY,), FEW, seeds=(0, 1), patients=20))["AnswerPower"] == ""


def test_without_what_the_questions_are_about():
    macros = texts(evidence((TOY,), ("fedavg", "moon"), seeds=(0,), patients=3))
    assert macros["AnswerShort"].startswith("we cannot say")
    assert "stays open" in macros["AnswerCross"] and "not published" in macros["AnswerFederation"]
    assert "No published condition leaves a modality out" in macros["AnswerUnseen"]


def test_budgets_that_differ_are_said_to():
    found = evidence((TOY,), FEW)
    assert "exactly the same number" in texts(found)["Budget"]
    found.runs.loc[0, "steps"] = 7
    budget = texts(found)["Budget"]
    assert "differs" in budget and "7 to 220" in budget


# -- the text that people write ------------------------------------------------------------------------------------


def prose() -> str:
    """main.tex from \\begin{document} on, without comments and what may hold digits."""
    text = (PAPER / building.MAIN).read_text(encoding="utf-8").partition(r"\begin{document}")[2]
    text = re.sub(r"(?<!\\)%.*", "", text)
    for allowed in (
        r"\\cite[tp]?\{[^}]*\}",
        r"\\(?:ref|label|input|setcounter\{subsection\})\{[^}]*\}",
        r"\\\[.*?\\\]",
        r"\$[^$]*\$",
    ):
        text = re.sub(allowed, "", text, flags=re.DOTALL)
    return text


def test_no_result_stands_in_the_text_as_a_literal():
    assert re.findall(r".{20}\d.{20}", prose()) == []


@pytest.mark.parametrize(
    "amount",
    [
        {"algorithms": ("fedavg", "moon"), "seeds": (0,), "patients": 3},
        {"conditions": (TOY, Condition("toy", "MR"), Condition("other")), "modalities": ("CT", "MR", "PET")},
    ],
    ids=["little", "much"],
)
def test_every_macro_of_the_text_is_defined(amount):
    macros = texts(evidence(**amount))
    text = (PAPER / building.MAIN).read_text(encoding="utf-8")
    own = set(re.findall(r"\\newcommand\{\\([A-Za-z]+)\}", text)) | {"PackageError", "IfFileExists", "FloatBarrier"}
    assert set(MACRO.findall(text)) - own <= set(macros)


def test_every_citation_has_its_reference_and_the_other_way_round():
    citations = re.findall(r"\\cite[tp]?\{([^}]*)\}", (PAPER / building.MAIN).read_text())
    cited = {key.strip() for keys in citations for key in keys.split(",")}
    assert cited == set(re.findall(r"@\w+\{(\w+),", (PAPER / building.REFERENCES).read_text()))


# -- what is written -------------------------------------------------------------------------------------------------


def test_all_inputs_and_figures_of_the_text_are_there(made):
    paper = made
    files = ("main.tex", making.OVERVIEW, making.GENERATED, making.SUPPLEMENT)
    text = "".join((paper / name).read_text() for name in files)
    for name in re.findall(r"\\input\{(.*?)\}", text):
        assert (paper / name).is_file() or (paper / f"{name}.tex").is_file(), name
    shown = re.findall(r"\\includegraphics\[.*?\]\{(.*?)\}", text)
    assert len(shown) == len(set(shown)) and {paper / name for name in shown} == set((paper / "figures").iterdir())
    assert not list((paper / "figures").glob("*.png"))
    record = json.loads((paper / building.MADE_FROM).read_text())
    assert set(record["published"]) == {"study"} and record["choices"]["reference"] == "fedavg"


def test_reconstructions_are_marked_in_the_text(made):
    text = (made / making.GENERATED).read_text()
    names = re.findall(r"\\textsf\{fedda\{?-\}?joint\}(.{9})", text)
    assert names and set(names) == {r"\textsupe"}


def test_files_of_an_earlier_study_go_and_those_of_people_stay(paper, tmp_path):
    (paper / "README.md").write_text("ours")
    (paper / "tables" / "mine.tex").write_text("ours")
    other = study_folder(tmp_path / "other", "later", (Condition("new"),), **TINY)
    making.make(read_study(other), paper)
    assert not (paper / "tables" / "main.toy.tex").exists() and (paper / "tables" / "main.new.tex").exists()
    assert not (paper / "figures" / "toy.forest.pdf").exists()
    assert (paper / "README.md").exists() and (paper / "tables" / "mine.tex").exists()
    assert checking.check(read_study(other), paper) == ["tables/mine.tex: nothing makes it now; remove it."]


def test_a_condition_published_again_is_a_study_beside_the_first(tmp_path):
    for name in ("study-toy", "study-toy-group"):
        study_folder(tmp_path / "published", name, **TINY)
    study_folder(tmp_path / "published", "study-other", (Condition("other"),), **TINY)
    study = read_study(tmp_path / "published")
    assert [part.title for part in study.parts] == ["other", "toy", "toy (group)"]
    assert [part.folder for part in study.parts] == ["study-other", "study-toy", "study-toy-group"]
    making.make(study, tmp_path / "paper")
    assert (tmp_path / "paper" / "figures" / "study-toy-group" / "toy.forest.pdf").is_file()
    assert (tmp_path / "paper" / "tables" / "study-toy-group.main.toy.tex").is_file()
    assert "CrossDiceFedavgStudyToyGroupToy" in (tmp_path / "paper" / making.NUMBERS).read_text()
    body = (tmp_path / "paper" / making.GENERATED).read_text()
    supplement = (tmp_path / "paper" / making.SUPPLEMENT).read_text()
    assert r"\label{sec:toy}" in body and "study-toy-group" not in body  # the main study's are told in the text
    assert r"\subsection{toy (group)}\label{sup:study-toy-group.toy}" in supplement
    assert r"Table~\ref{tab:study-toy-group.main.toy}, Figure~\ref{fig:study-toy-group.toy.forest}." in supplement
    assert r"Published as \textsf{study-toy-group}." in supplement
    assert "Differences to the reference, toy (group)." in supplement
    defined_here = set(re.findall(r"\\label\{(.*?)\}", body + supplement)) | {
        label
        for file in (tmp_path / "paper" / "tables").iterdir()
        for label in re.findall(r"\\label\{(.*?)\}", file.read_text())
    }
    assert set(re.findall(r"\\ref\{(.*?)\}", body)) <= defined_here


def test_a_table_that_is_too_wide_is_there_in_parts_with_every_algorithm_in_each(monkeypatch):
    monkeypatch.setattr(fitting, "WIDEST", 60)
    found = evidence((TOY,), FEW)
    made = making.write(study_of([("", found)]), _undrawn(found))
    parts = [name for name in made if name.startswith("tables/pairs.toy.cross-dice.")]
    assert len(parts) > 1
    for number, name in enumerate(parts, start=1):
        assert f"part {number} of {len(parts)}" in made[name] and rf"\input{{{name}}}" in made[making.SUPPLEMENT]
        assert all(algorithm in made[name] for algorithm in FEW) and "against fedavg" in made[name]


def test_distances_are_those_of_the_figure(published):
    (_, analyses) = read_study(published).groups[0]
    for condition in analyses.conditions:
        scene = Scene(analyses, condition, tuple(FEW))
        titles = [panel.get_title() for panel in alignment.draw(scene).figure.axes]
        shown = [title.rpartition(" ")[2] for title in titles if "A-distance" in title]
        assert shown == [numbers.number(value, 2) for value in training.measure(scene).distances.values()]
        assert len(shown) == len(FEW)


# -- the check -------------------------------------------------------------------------------------------------------


def test_check_passes_on_what_was_made(published, paper):
    figure = paper / "figures" / "toy.ranks.pdf"
    figure.write_bytes(figure.read_bytes() + b"%another matplotlib made this one")  # bytes of figures are not compared
    record = json.loads((paper / building.MADE_FROM).read_text())
    record["figures"]["figures/toy.ranks.pdf"] = sha256(figure)
    (paper / building.MADE_FROM).write_text(json.dumps(record))
    assert checking.check(read_study(published), paper) == []


def test_check_notices_every_change(published, paper):
    changes = {
        building.MADE_FROM: lambda b: b.replace(b'"study"', b'"old"'),
        making.NUMBERS: lambda b: re.sub(rb"0\.(\d)", rb"0.9\1", b, count=1),
        making.GENERATED: lambda b: b.replace(b"reached", b"excelled with", 1),
        "tables/main.toy.tex": lambda b: b + b" ",
        "figures/toy.forest.pdf": lambda b: b + b"%",
    }
    for file, change in changes.items():
        before = (paper / file).read_bytes()
        (paper / file).write_bytes(change(before))
        assert (paper / file).read_bytes() != before
    for file in (making.DATASETS, "tables/cost.toy.tex", "figures/toy.ranks.pdf"):
        (paper / file).unlink()
    (paper / "tables" / "mine.tex").write_text("")
    assert [problem.partition(";")[0] for problem in checking.check(read_study(published), paper)] == [
        "made_from.json: made from other results than those published now",
        "datasets.tex: missing",
        "generated.tex: differs from what the results give",
        "numbers.tex: differs from what the results give",
        "tables/cost.toy.tex: missing",
        "tables/main.toy.tex: differs from what the results give",
        "figures/toy.forest.pdf: is not the file that was made",
        "figures/toy.ranks.pdf: missing",
        "tables/mine.tex: nothing makes it now",
    ]
    (paper / building.MADE_FROM).write_text("{")
    assert "missing or unreadable" in checking.check(read_study(published), paper)[0]


def test_check_notices_other_results(paper, tmp_path):
    other = study_folder(tmp_path / "other", **TINY)
    problems = checking.check(read_study(other), paper)
    assert any(p.startswith("made_from.json: made from other results") for p in problems)
    assert any(p.startswith("numbers.tex: differs") for p in problems)


# -- the command -----------------------------------------------------------------------------------------------------


def test_nothing_published(fedbench):
    refused(fedbench("paper"), "nothing published yet in results/published: no such folder", "fedbench publish")
    Path("results.parquet").write_text("")
    for command in ("paper", "tables", "status"):
        option = "--out" if command == "status" else "--from"
        refused(fedbench(command, option, "results.parquet"), "results.parquet: it is a file")
    status, out, _ = fedbench("paper", "--check")
    assert status == 0 and "nothing published yet" in out
    Path("paper/tables").mkdir(parents=True)
    Path("paper/tables/main.toy.tex").write_text("0.99")
    status, out, _ = fedbench("paper", "--check")
    assert status == 1 and "tables/main.toy.tex: made from results that are not published" in out


def test_command_makes_and_checks(fedbench, tiny):
    assert fedbench("paper", "--from", str(tiny))[0] == 0
    assert fedbench("paper", "--from", str(tiny / "study"), "--check")[0] == 0  # one folder will do
    text = Path("paper/numbers.tex")
    text.write_text(text.read_text().replace("0.05", "0.06"))
    status, out, _ = fedbench("paper", "--from", str(tiny), "--check")
    assert status == 1 and "numbers.tex: differs" in out and "generated.tex" not in out


def test_check_keeps_to_the_choices_of_the_paper(fedbench, tiny):
    assert fedbench("paper", "--from", str(tiny), "--reference", "fedprox")[0] == 0
    assert r"\newcommand{\Reference}{\textsf{fedprox}}" in Path("paper/numbers.tex").read_text()
    assert fedbench("paper", "--from", str(tiny), "--check")[0] == 0
    status, out, _ = fedbench("paper", "--from", str(tiny), "--check", "--reference", "fedavg")
    assert status == 1 and "made with other choices" in out


def test_wrong_uses(fedbench, tiny, monkeypatch, tmp_path):
    refused(fedbench("paper", "--pdf", "--check"), "exclude each other")
    refused(fedbench("paper", "--from", str(tiny), "--selection", "best"), "--selection best", "last")
    damaged = shutil.copytree(tiny, tmp_path / "damaged")
    (damaged / "study" / "cases.parquet").write_bytes(b"")
    refused(fedbench("paper", "--from", str(damaged)), "cases.parquet", "checksum")
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    refused(fedbench("paper", "--from", str(tiny), "--pdf"), "latexmk", "apt-get install")
    assert Path("paper/numbers.tex").exists()  # everything but the PDF


# -- LaTeX -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def latex():
    if shutil.which("latexmk") is None or shutil.which("pdflatex") is None:
        warnings.warn("LaTeX is not installed: nobody checks that the paper compiles", stacklevel=1)
        pytest.skip("LaTeX is not installed: nobody checks that the paper compiles")


def test_pdf_is_built_and_noticed_when_old(latex, paper):
    def problems() -> list[str]:
        return checking.pdf_problems(paper, making.recorded(paper).get("pdf"))

    building.build(paper)
    first = (paper / building.PDF).read_bytes()
    assert first.startswith(b"%PDF") and problems() == []
    building.build(paper)
    assert (paper / building.PDF).read_bytes() == first
    with open(paper / building.MAIN, "a") as main:
        main.write("% more\n")
    assert "older than its sources" in problems()[0]
    (paper / building.PDF).write_bytes(b"%PDF of somebody")
    assert "is not the file that was built" in problems()[0]


def test_pdf_needs_the_text_that_people_write(latex, paper):
    (paper / building.MAIN).write_text(r"\documentclass{article}\begin{document}\nonsense\end{document}")
    with pytest.raises(UserError, match=r"(?s)LaTeX failed.*Undefined control sequence"):
        building.build(paper)
    (paper / building.MAIN).unlink()
    with pytest.raises(UserError, match=r"main\.tex"):
        building.build(paper)


def compile_paper(found, target: Path) -> None:
    target.mkdir()
    for name in (building.MAIN, building.REFERENCES):
        shutil.copy(PAPER / name, target)
    making.make(study_of([("", found)]), target)
    pdf = building.build(target)
    assert pdf.stat().st_size > 50_000 and pdf.read_bytes().startswith(b"%PDF")
    text = "\n".join(path.read_text(encoding="utf-8") for path in target.rglob("*.tex"))
    pointed = set(re.findall(r"\\ref\{([^}]*)\}", text))
    assert pointed and pointed <= set(re.findall(r"\\label\{([^}]*)\}", text))


@pytest.mark.parametrize("amount", ["little", "much"])
def test_paper_compiles_with_whatever_is_published(latex, tmp_path, amount):
    many = (TOY, Condition("toy", "MR"), Condition("zoo"))
    conditions = (TOY,) if amount == "little" else many
    names = ("fedavg", "moon") if amount == "little" else evidence_rows.ALGORITHMS
    seeds = (0,) if amount == "little" else (0, 1)
    compile_paper(evidence(conditions, names, seeds, 6), tmp_path / "paper")


def test_hostile_names_are_printed_and_not_run(latex, tmp_path):
    rows = pd.concat(
        random_table(["fedavg", NASTY, "fedda-joint"], 6, 2, dataset=NASTY, relation=relation, modality=NASTY)
        for relation in ("in", "cross")
    )
    compile_paper(of_cases(rows.assign(**{"class": NASTY})), tmp_path / "paper")
    text = (tmp_path / "paper" / making.GENERATED).read_text() + (tmp_path / "paper" / making.NUMBERS).read_text()
    assert r"\input{/etc" not in text and r"\textbackslash{}input\{/etc/passwd\}" in text
