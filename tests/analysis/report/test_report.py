"""The report: sentences that do not overclaim, names that stay names, one file that needs nothing else."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fedbench import store
from fedbench.analysis import figures
from fedbench.analysis.analyses import Analyses
from fedbench.analysis.evidence import Condition, Evidence
from fedbench.analysis.figures import Drawn
from fedbench.analysis.report import write_report
from fedbench.analysis.report.browser import browse, spread
from fedbench.analysis.report.encoding import image_uri, reduced_image, reduced_labels, reduction, runs_of, upright
from fedbench.analysis.report.page import sort_value
from fedbench.analysis.report.pictures import fair_share, pictures
from fedbench.analysis.report.status import finished, ranges, unfinished
from fedbench.analysis.report.verdict import verdict
from fedbench.analysis.statistics.protocol import analyse
from fedbench.analysis.statistics.rows import Endpoint, labels
from fedbench.analysis.tables.cells import Cell, duration, estimate, number
from fedbench.errors import UserError
from fedbench.views import CaseView, array_key
from tests.analysis.evidence_rows import evidence, of_cases, write_store
from tests.analysis.score_rows import results, table, unfinished_grid

IMAGE = "<img src=x onerror=alert(1)>"
SCRIPT = "</script><script>alert(1)</script>"
HOSTILE = {
    "dataset": f"set {IMAGE}", "patient": f"P {SCRIPT}", "modality": f"CT {SCRIPT}", "algorithm": f"alg {IMAGE}",
    "class": f"liver & {IMAGE} \" ' {{{{ 7 * 7 }}}}", "focus": f"fedda-{SCRIPT}",
}  # fmt: skip


def with_pictures(found: Evidence, side: int = 16, noise: int = 255) -> Evidence:
    """Add slices of every case and run; predictions are the truth, shifted by the number of the algorithm."""
    settings = sorted(found.runs["setting"].unique())

    def views(condition: Condition) -> dict[str, CaseView]:
        cases = found.of(condition).cases.drop_duplicates("case")
        made = {}
        for number_, case in enumerate(cases.itertuples()):
            stream = np.random.default_rng(number_)
            image = stream.integers(0, noise, (3, side, side, 1), dtype=np.uint8)
            view = CaseView(case.patient, case.modality, image, truth(side), (4, 7, 9), 1, (2.0, 1.0), "mm", False)
            made[case.case] = view
        return made

    def predictions(run_id: str) -> dict[str, np.ndarray]:
        own = found.cases[found.cases["run_id"] == run_id].drop_duplicates(["client", "case", "deployment"])
        shifted = np.roll(truth(side), settings.index(own["setting"].iloc[0]), axis=1)
        return {
            array_key(m.deployment, m.client if m.deployment == "personal" else None, m.case): shifted
            for m in own.itertuples()
        }

    return dataclasses.replace(found, _views=views, _predictions=predictions)


def truth(side: int) -> np.ndarray:
    """Three slices with two structures; the first is larger in each following slice."""
    made = np.zeros((3, side, side), np.uint8)
    for i in range(3):
        made[i, 2 : 5 + i, 3:9] = 1
        made[i, 9:12, 9:12] = 2
    return made


def small(**other) -> Evidence:
    """Two conditions, four algorithms, with pictures."""
    arguments = {
        "conditions": (Condition("heart"), Condition("heart", "MR")), "patients": 6,
        "algorithms": ("local", "fedavg", "fedbn", "fedda-cyclic"),
    } | other  # fmt: skip
    return with_pictures(evidence(**arguments))


def drawn(folder: Path, condition: Condition, noisy: bool = False, width: int = 600) -> Drawn:
    """A figure as the drawing modules return it."""
    pixels = np.random.default_rng(0).integers(0, 255, (200, width, 3), dtype=np.uint8) * (255 if not noisy else 1)
    folder.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(folder / "a.png")
    return Drawn("gallery", f"Gallery {IMAGE}", condition, f"What is {SCRIPT}", (folder / "a.pdf", folder / "a.png"))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory) -> str:
    """The page of evidence whose every name attacks it."""
    folder = tmp_path_factory.mktemp("hostile")
    condition = Condition(HOSTILE["dataset"])
    found = evidence(
        (condition,), ("fedavg", HOSTILE["algorithm"], HOSTILE["focus"]), (0, 1), 6, (HOSTILE["modality"], "MR"),
        (HOSTILE["class"], "spleen"),
    )  # fmt: skip
    rename = dict.fromkeys(["P000"], HOSTILE["patient"])
    cases = found.cases.replace({"patient": rename}).assign(
        case=found.cases["case"].str.replace("P000", HOSTILE["patient"], regex=False)
    )
    runs = found.runs.assign(
        provenance=[
            json.dumps(json.loads(p) | {"classes": [HOSTILE["class"], SCRIPT], "versions": {SCRIPT: IMAGE}})
            for p in found.runs["provenance"]
        ],
        identity=[
            json.dumps(json.loads(i) | {"training": {SCRIPT: SCRIPT}, "algorithm_params": {IMAGE: SCRIPT}})
            for i in found.runs["identity"]
        ],
    )
    found = with_pictures(dataclasses.replace(found, cases=cases, runs=runs))
    figures = [drawn(folder, condition), Drawn("curves", SCRIPT, condition, reason=f"no {IMAGE}")]
    return write_report(found, Analyses(found), folder / "report.html", figures).read_text(encoding="utf-8")


class Reader(HTMLParser):
    """Collects elements and texts as a browser would see them."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.scripts: list[str] = []
        self.open = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.open = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        self.open = ""

    def handle_data(self, data):
        if self.open == "script":
            self.scripts[-1] += data
        else:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.texts)


# -- the page ------------------------------------------------------------------------------------------------------


def test_names_stay_text(hostile):
    page = Reader(hostile)
    images = [attributes for tag, attributes in page.elements if tag == "img"]
    assert all(attributes["src"].startswith("data:image/") for attributes in images)
    assert not [a for _, attributes in page.elements for a in attributes if a.startswith("on")]
    executable = [a for tag, a in page.elements if tag == "script" and a.get("type") != "application/json"]
    assert len(executable) == 2  # the page's own
    for name in HOSTILE.values():
        assert name in page.text or name in hostile.replace("\\u003c", "<").replace("\\u003e", ">")
    assert "49" not in re.findall(r"liver & .{0,60}", page.text)[0]


def test_every_table_and_sentence_shows_a_hostile_name_as_it_is(hostile):
    text = Reader(hostile).text
    for kind in ("dataset", "patient", "modality", "algorithm", "focus", "class"):
        assert HOSTILE[kind] in text


def test_embedded_data_cannot_end_its_element(hostile):
    page = Reader(hostile)
    data = json.loads(page.scripts[0])
    assert data["cases"][0]["patient"] in (HOSTILE["patient"], "P001")
    assert {a["name"] for a in data["algorithms"]} == {"fedavg", HOSTILE["algorithm"], HOSTILE["focus"]}
    assert "<" not in page.scripts[0]


def test_only_the_pages_own_scripts_may_run(hostile):
    page = Reader(hostile)
    policy = next(a["content"] for tag, a in page.elements if tag == "meta" and "http-equiv" in a)
    own = page.scripts[-2:]
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in own]
    assert re.findall(r"'sha256-([^']+)'", policy) == digests
    assert policy.startswith("default-src 'none'") and "script-src 'unsafe" not in policy


def test_needs_no_network(hostile):
    page = Reader(hostile)
    for tag, attributes in page.elements:
        for name in ("src", "href", "action", "data", "poster"):
            value = attributes.get(name) or "#"
            assert value.startswith(("#", "data:")), (tag, value)
    assert "url(" not in hostile and "@import" not in hostile and "fetch(" not in hostile


def test_ids_are_unique_and_every_link_has_a_target(hostile):
    page = Reader(hostile)
    ids = [a["id"] for _, a in page.elements if a.get("id")]
    assert len(set(ids)) == len(ids)
    linked = {a["href"][1:] for tag, a in page.elements if tag == "a"}
    assert linked <= set(ids)


def test_every_control_has_a_label(hostile):
    page = Reader(hostile)
    labelled = {a["for"] for tag, a in page.elements if tag == "label" and a.get("for")}
    for tag, attributes in page.elements:
        if tag == "select" or (tag == "input" and attributes.get("type") == "range"):
            assert attributes["id"] in labelled
        if tag == "button":
            assert attributes.get("aria-label") and attributes["type"] == "button"


def test_says_that_a_reconstruction_is_one(hostile):
    text = Reader(hostile).text
    assert f"{HOSTILE['focus']} (our reconstruction) reaches" in text or "(our reconstruction) has the highest" in text
    assert "Algorithms marked † are our reconstruction from the paper's text" in text


def test_has_figures_with_captions_and_says_which_are_not_drawn(hostile):
    page = Reader(hostile)
    assert f"What is {SCRIPT}" in page.text
    assert f"{SCRIPT}: not drawn; no {IMAGE}." in page.text


@pytest.fixture(scope="module")
def harmless(tmp_path_factory) -> Path:
    """The page of ``small()``, without figures."""
    found = small()
    return write_report(found, Analyses(found), tmp_path_factory.mktemp("harmless") / "r.html", [])


def test_same_evidence_same_bytes(harmless, tmp_path):
    found = small()
    shuffled = dataclasses.replace(found, cases=found.cases.sample(frac=1, random_state=1))
    assert write_report(shuffled, Analyses(shuffled), tmp_path / "b.html", []).read_bytes() == harmless.read_bytes()


def test_tells_protocol_provenance_and_runs_but_no_folder_of_the_machine(harmless):
    text = harmless.read_text()
    page = Reader(text).text
    for said in ("Friedman", "refuse", "Both masks empty", "fedbench calibrate", "partition 0", "2 of 2", "0–1"):
        assert said in page
    assert "…/data" in page and "somebody" not in text


def test_draws_figures_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "FIGURES", {name: figures.FIGURES[name] for name in ("forest", "ranks")})
    found = small(conditions=(Condition("heart"),), algorithms=("fedavg", "fedprox"))
    page = Reader(write_report(found, Analyses(found), tmp_path / "r.html").read_text())
    images = [a["src"] for tag, a in page.elements if tag == "img"]
    assert len(images) == 2 and all(src.startswith("data:image/") for src in images)
    assert str(tmp_path) not in page.text and "/tmp" not in page.text


# -- sentences -----------------------------------------------------------------------------------------------------


def told(scores: dict[str, list[float]], seeds=(0, 1), cases=None, metric="dice") -> str:
    """The sentences about these scores per patient."""
    cases = table(scores, seeds) if cases is None else cases
    analysis = analyse(results(cases), "toy", Endpoint("cross", metric))
    found = verdict(Condition("toy"), analysis, sorted(set(labels(cases))))
    return " ".join([found.headline, *found.sentences]).replace("\u00a0", " ")


LEVEL = [0.5 + 0.01 * i for i in range(20)]


def shifted(by: float) -> list[float]:
    """Every patient better by about ``by``, no two by the same."""
    return [score + by + 0.0001 * i for i, score in enumerate(LEVEL)]


def test_a_clear_difference_is_significant_over_patients_and_runs():
    said = told({"fedavg": LEVEL, "fedprox": shifted(0.05)})
    assert said.startswith("fedprox has the highest mean cross-modality Dice of the federated algorithms: 0.646 (")
    assert "20 patients, 2 seeds" in said
    assert "mean difference +0.051" in said
    assert "significantly better over patients (Holm-corrected p < 0.001) and over training runs" in said
    assert "Its runner-up, fedavg, is significantly worse over patients and over training runs" in said


def test_with_one_seed_nothing_is_said_about_training_anew():
    said = told({"fedavg": LEVEL, "fedprox": shifted(0.05)}, seeds=(0,))
    assert "with one seed nothing can be said about training anew" in said
    assert "over training runs (p" not in said


def test_nothing_is_claimed_over_runs_that_other_patients_contradict():
    """All 40 patients: moon worse by 0.05; the 10 of them who were tested with every seed: better by 0.1."""
    said = told({}, cases=unfinished_grid())
    assert "It is the reference; significantly worse over patients: moon" in said
    row = analyse(results(unfinished_grid()), "toy").comparison("moon", "fedavg")
    assert row["p_holm"] < 0.05 and row["runs_p_holm"] < 0.001 and row["mean"] < 0 < row["runs_p_mean"]
    mark = verdict(Condition("toy"), analyse(results(unfinished_grid()), "toy"), ["fedavg", "moon"]).marks[1]
    assert (mark.outcome, mark.over_runs) == ("worse", "not distinguishable")
    assert mark.runs_p == "p\u00a0<\u00a00.001, the other way"
    turned = unfinished_grid().replace({"setting": {"moon": "fedavg", "fedavg": "fedprox"}})
    said = told({}, cases=turned.assign(algorithm=turned["setting"]))
    assert "but not over training runs: the 10 patients tested with every seed differ the other way" in said
    assert "and over training runs" not in said


def test_patients_without_all_seeds_are_no_single_seed():
    cases = unfinished_grid(settled=False).replace({"setting": {"moon": "fedavg", "fedavg": "fedprox"}})
    said = told({}, cases=cases.assign(algorithm=cases["setting"]))
    assert "nothing can be said about training anew, for want of patients tested with every seed" in said
    assert "one seed" not in said and "nan" not in said


def test_distances_are_better_when_lower():
    """HD95 is ten times the number that stands for Dice here, so fedprox is worse by it and moon better."""
    scores = {"fedavg": LEVEL, "fedprox": shifted(0.05), "moon": shifted(-0.05), "local": shifted(0.2)}
    said = told(scores, metric="hd95")
    assert said.startswith("moon has the lowest mean cross-modality HD95 of the federated algorithms: 5.4")
    assert " mm (95% interval" in said and "mean difference −0.49" in said
    assert "significantly better over patients (Holm-corrected p < 0.001) and over training runs" in said
    assert "significantly worse over patients" in told({k: scores[k] for k in ("fedavg", "fedprox")}, metric="hd95")
    marks = verdict(
        Condition("toy"), analyse(results(table(scores, (0, 1))), "toy", Endpoint("cross", "hd95")), sorted(scores)
    ).marks
    assert {m.algorithm: (m.outcome, m.over_runs) for m in marks if m.algorithm != "fedavg"} == {
        "fedprox": ("worse", "worse"), "moon": ("better", "better"), "local": ("worse", "worse"),
    }  # fmt: skip


def test_luck_of_a_run_is_not_claimed_for_the_algorithm():
    frames = [
        table({"fedavg": LEVEL, "fedprox": shifted(by)}, [seed]) for seed, by in enumerate((0.25, -0.1, 0.02))
    ]  # fmt: skip
    said = told({}, cases=pd.concat(frames, ignore_index=True))
    assert "significantly better over patients" in said
    assert "but not distinguishable over training runs" in said and "might not show it again" in said


def test_a_mark_claims_nothing_over_runs_that_does_not_stand_over_patients():
    few = table({"fedavg": LEVEL[:4], "fedprox": shifted(0.05)[:4]}, (0, 1, 2))  # p over patients is 1/8 at least
    mark = verdict(Condition("toy"), analyse(results(few), "toy"), ["fedavg", "fedprox"]).marks[1]
    assert (mark.outcome, mark.over_runs) == ("not distinguishable", "not distinguishable")
    assert mark.runs_p == "p\u00a0<\u00a00.001" and mark.difference.startswith("+0.050 [+0.0")


def test_no_difference_is_called_not_distinguishable():
    alternating = [score + (0.01 if i % 2 else -0.0099) for i, score in enumerate(LEVEL)]
    said = told({"fedavg": LEVEL, "fedprox": alternating})
    assert "not distinguishable (Holm-corrected p = " in said
    assert "Over patients it is not distinguishable from fedavg (Holm over all pairs)." in said
    assert "significantly" not in said


def test_ranks_and_means_that_disagree_are_no_claim():
    """Nineteen patients slightly worse, one far better: the mean rises, the signed ranks fall."""
    odd = [score - 0.001 * (i + 1) for i, score in enumerate(LEVEL[:-1])] + [LEVEL[-1] + 0.29]
    said = told({"fedavg": LEVEL, "fedprox": odd})
    assert said.startswith("fedprox has the highest mean")
    assert "significantly better" not in said


def test_the_reference_itself_may_be_best():
    said = told({"fedavg": shifted(0.05), "fedprox": LEVEL, "moon": shifted(0.05)[::-1]})
    assert "It is the reference; significantly worse over patients: fedprox; not distinguishable from it: moon." in said
    said = told({"fedavg": LEVEL, "moon": LEVEL})
    assert "no other federated algorithm is distinguishable from it (smallest Holm-corrected p = 1.00)" in said


def test_reference_points_win_nothing():
    said = told({"centralised": shifted(0.3), "fedavg": LEVEL, "fedprox": shifted(0.05), "local": shifted(-0.3)})
    assert said.startswith("fedprox has the highest mean cross-modality Dice of the federated algorithms")
    assert "Reference points, not federated: centralised 0.896, local 0.296." in said


def test_reference_points_alone():
    said = told({"centralised": shifted(0.3), "fedavg": LEVEL})
    assert said.startswith("fedavg has") and "nothing to compare it with but reference points" in said


def test_a_reconstruction_is_reported_whatever_it_reached():
    said = told({"fedavg": LEVEL, "fedprox": shifted(0.05), "fedda-cyclic": shifted(-0.05)})
    assert "fedda-cyclic (our reconstruction) reaches 0.546; against fedavg: mean difference −0.049" in said
    assert "significantly worse over patients" in said


# -- cases ---------------------------------------------------------------------------------------------------------


def decoded(runs: str, shape: tuple[int, int]) -> np.ndarray:
    """What the page's script makes of a map."""
    pairs = np.frombuffer(base64.b64decode(runs), np.uint8).reshape(-1, 2)
    return np.repeat(pairs[:, 0], pairs[:, 1]).reshape(shape)


@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (40, 40)])
def test_runs_of_labels_give_the_map_back(shape):
    labels_ = np.random.default_rng(0).integers(0, 3, shape).astype(np.uint8)
    assert np.array_equal(decoded(runs_of(labels_), shape), labels_)
    constant = np.full(shape, 2, np.uint8)
    assert np.array_equal(decoded(runs_of(constant), shape), constant)


def test_slices_are_shown_as_radiologists_look_at_them():
    """The voxel at the front left (last x, last y in RAS: left is low x ... x grows to the patient's left here)."""
    view = small().views(Condition("heart"))["P000/CT"]
    labels_ = np.zeros((4, 6), np.uint8)
    labels_[3, 5] = 1  # largest x, most anterior
    assert upright(labels_, view).shape == (6, 4)
    assert np.argwhere(upright(labels_, view)).tolist() == [[0, 0]]  # top left
    picture = dataclasses.replace(view, picture=True)
    assert np.argwhere(upright(labels_, picture)).tolist() == [[0, 3]]  # not mirrored


def test_large_slices_are_reduced_alike():
    assert [reduction((n, 10)) for n in (10, 384, 385, 1200)] == [1, 1, 2, 4]
    labels_ = np.kron(np.eye(3, dtype=np.uint8), np.ones((2, 2), np.uint8))[:, :5]
    assert reduced_labels(labels_, 2).shape == reduced_image(labels_[..., None], 2).shape[:2] == (3, 2)
    assert np.array_equal(reduced_labels(labels_, 2), np.eye(3)[:, :2])
    assert reduced_image(np.array([[0, 255], [0, 255]], np.uint8)[..., None], 2).ravel().tolist() == [128]


def test_images_keep_their_colours():
    image = np.zeros((4, 5, 3), np.uint8)
    image[1, 2] = 250, 120, 7
    kind, _, content = image_uri(image).partition(",")
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))
    assert kind == "data:image/png;base64" and np.array_equal(shown, image)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 100])
def test_spread_takes_every_patient_once_the_ends_first(count):
    order = spread(count)
    assert sorted(order) == list(range(count))
    assert order[:2] == list(dict.fromkeys([0, count - 1]))


def test_spread_by_hand():
    assert spread(5) == [0, 4, 2, 1, 3]


COLOURS = dict.fromkeys(["local", "fedavg", "fedbn", "fedda-cyclic"], "#000000")


def test_browser_shows_each_clients_own_model_and_what_it_scored():
    found = small(conditions=(Condition("heart"),))
    data = browse(Analyses(found), Condition("heart"), COLOURS, 10**7).data
    case = next(c for c in data["cases"] if c["id"] == "P002/MR")
    own = {a["name"]: i for i, a in enumerate(data["algorithms"])}
    shared, personal = case["models"][own["fedavg"]], case["models"][own["local"]]
    assert shared[0]["map"] == shared[1]["map"] and personal[0]["map"] != personal[1]["map"]
    rows = found.cases.query("case == 'P002/MR' and client == 'CT' and setting == 'local' and seed == 0")
    assert [s[1] for s in personal[0]["scores"]] == pytest.approx(rows["dice"].tolist(), abs=1e-4)
    assert case["relations"] == ["cross", "in"]
    shape = case["height"], case["width"]
    view = found.views(Condition("heart"))["P002/MR"]
    assert np.array_equal(decoded(case["truth"][1], shape), upright(view.truth[1], view))
    shown = decoded(case["maps"][shared[0]["map"]][2], shape)
    settings = sorted(found.runs["setting"].unique())
    assert np.array_equal(shown, upright(np.roll(truth(16), settings.index("fedavg"), axis=1)[2], view))
    assert case["aspect"] == 2.0 and case["slices"] == [4, 7, 9]


def test_browser_keeps_to_its_share_and_says_so():
    found = small(conditions=(Condition("heart"),), patients=12)
    analyses = Analyses(found)
    everything = browse(analyses, Condition("heart"), COLOURS, 10**7)
    assert everything.text.startswith("Seed 0, models of the last round. All 12 patients")
    share = len(json.dumps(everything.data["cases"])) // 3
    some = browse(analyses, Condition("heart"), COLOURS, share)
    assert len(json.dumps(some.data["cases"])) <= share
    kept = {case["patient"] for case in some.data["cases"]}
    means = analyses.get(Condition("heart")).matrix.values.mean(axis=1)
    assert {means.idxmin(), means.idxmax()} <= kept and 2 < len(kept) < 12
    assert f"{len(kept)} of 12 patients" in some.text and "the worst, the best and the median come first" in some.text


def test_browser_without_slices():
    found = evidence(algorithms=("fedavg", "fedprox"))
    assert browse(Analyses(found), Condition("toy"), COLOURS, 10**7) is None


def test_page_without_slices_and_figures_says_so(tmp_path):
    found = evidence(algorithms=("fedavg", "fedprox"))
    page = Reader(write_report(found, Analyses(found), tmp_path / "r.html", []).read_text())
    assert "No slices of test cases were kept" in page.text and "No figures were drawn." in page.text
    assert json.loads(page.scripts[0]) is None


# -- pieces --------------------------------------------------------------------------------------------------------


def test_what_cells_are_sorted_by():
    assert sort_value(number(-0.1234, 2)) == ""  # the text says it
    assert sort_value(estimate(0.51234, 0.4, 0.6, 2)) == "0.51234"
    assert sort_value(duration(75)) == "75"
    assert sort_value(Cell("fedavg", ("fedavg",))) == "" and sort_value(number(None, 2)) == ""


def test_small_figures_leave_room_for_large_ones():
    assert fair_share([10, 10, 100], 60) == 40
    assert fair_share([10, 10], 60) == 60
    assert fair_share([], 60) == 60


def test_figures_shrink_into_their_share_but_not_on_the_page(tmp_path):
    one = drawn(tmp_path, Condition("toy"), noisy=True, width=1500)
    shown = pictures([one], 60_000)[one]
    assert (shown.width, shown.height, shown.wide) == (1500, 200, True)
    assert shown.uri.startswith("data:image/jpeg") and len(base64.b64decode(shown.uri.partition(",")[2])) <= 90_000
    assert pictures([one], 10**7)[one].uri.startswith("data:image/png")


def test_runs_are_expected_of_every_seed_with_every_fold():
    found = finished(of_cases(unfinished_grid()))
    assert [[row[i].text for i in (1, 2, 5)] for row in found.rows] == [
        [name, "4 of 6", "seed 1 fold 1, seed 2 fold 1"] for name in ("fedavg", "moon")
    ]


def test_ranges():
    assert ranges([0, 1, 2, 5]) == "0–2, 5" and ranges([]) == "" and ranges([3]) == "3"


def test_failed_runs_are_listed_with_their_error(tmp_path):
    found = dataclasses.replace(evidence(algorithms=("fedavg", "fedprox")), source=tmp_path)
    (tmp_path / "toy.moon.s0").mkdir()
    (tmp_path / "toy.moon.s0" / store.FAILURE).write_text(json.dumps({"error": f"no memory {IMAGE}\nTraceback"}))
    (tmp_path / "toy.moon.s1").mkdir()
    (tmp_path / "toy.moon.s1" / store.CHECKPOINT).write_bytes(b"")
    rows = [[cell.text for cell in row] for row in unfinished(found).rows]
    assert rows == [["toy.moon.s0", "failed", f"no memory {IMAGE}"], ["toy.moon.s1", "not finished", ""]]


# -- the command ---------------------------------------------------------------------------------------------------


def test_report_command(fedbench, tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "FIGURES", {name: figures.FIGURES[name] for name in ("forest", "ranks")})
    root = write_store(tmp_path / "runs", evidence(algorithms=("fedavg", "fedprox"), patients=5))
    status, out, _ = fedbench("report", "--from", str(root))
    assert status == 0 and "runs/report.html" in out
    assert (root / "report.html").stat().st_size < 5_000_000
    status, _, _ = fedbench("report", "--from", str(root), "--to", "other/a.html")
    assert (tmp_path / "other" / "a.html").read_bytes() == (root / "report.html").read_bytes()


def test_report_command_needs_results(fedbench):
    status, _, err = fedbench("report", "--from", "nowhere")
    assert status == 2 and "no results in nowhere" in err


def test_one_algorithm_is_refused(tmp_path):
    found = evidence(algorithms=("fedavg",))
    with pytest.raises(UserError, match="a comparison needs two"):
        write_report(found, Analyses(found), tmp_path / "r.html", [])
    assert not (tmp_path / "r.html").exists()
