"""``generated.tex`` and ``supplement.tex``: a section per condition, with its sentences, tables and figures.

In the text stand the conditions of the main study; those that another study has again (with another norm, or as an
ablation) and phantoms beside images of patients have all their sentences in the supplement.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from fedbench.analysis.analyses import Analyses
from fedbench.analysis.evidence import Condition
from fedbench.analysis.figures import Drawn
from fedbench.analysis.paper.answers.ground import dataset_of
from fedbench.analysis.paper.convergence import tell_ending
from fedbench.analysis.paper.floats import figure_float, figure_height, in_supplement, packed, table_height
from fedbench.analysis.paper.latex import escape
from fedbench.analysis.paper.numbers import HEAD, Numbers
from fedbench.analysis.paper.overview import NAMED_PHANTOMS, phantoms_beside, scores_table, unseen_table
from fedbench.analysis.paper.phantoms import beside, of_patients
from fedbench.analysis.paper.settings_table import settings_table
from fedbench.analysis.paper.study import Part, Study, words_of
from fedbench.analysis.paper.teller import Teller
from fedbench.analysis.paper.telling import tell, tell_notes
from fedbench.analysis.paper.training import Training, tell_training
from fedbench.analysis.paper.tuning import tuning_table
from fedbench.analysis.statistics.rows import Endpoint
from fedbench.analysis.tables import runs as tables_runs
from fedbench.analysis.tables import scores as tables_scores
from fedbench.analysis.tables import significance
from fedbench.analysis.tables.cells import Table
from fedbench.analysis.tables.fitting import in_parts, under_headings
from fedbench.analysis.tables.formats import latex

BODY = ("forest",)  # figures of the text; the others are in the supplement
SHOWCASE = "qualitative"  # in the text once, of the first dataset
FEW = ("forest",)  # figures of a condition with a modality left out of training, or with statistics taken anew
AGAIN = (*FEW, "curves", "transfer", "discriminators")  # figures of a condition that another study has too


@dataclass
class Sections:
    """The text with the tables that it shows, by file name without ending."""

    body: str
    supplement: str
    tables: dict[str, str]


def wanted(part: Part, known: Sequence[str]) -> list[str]:
    """Return which of the ``known`` figures are drawn of a condition."""
    kept = FEW if not part.condition.whole else AGAIN if part.study else known
    return [name for name in known if name in kept]


def write_sections(
    numbers: Numbers, study: Study, figures: Mapping[str, Sequence[Drawn]], trainings: Mapping[str, Training]
) -> Sections:
    """Write both files.

    Args:
        figures: of each part, by its key; files lie in a folder ``figures`` beside the text.
        trainings: of each part, by its key.
    """
    sections = Sections(HEAD, HEAD, {})
    parts = study.parts
    sections.supplement += _table(sections, settings_table(parts), "table")
    if study.trials:
        sections.supplement += _table(sections, tuning_table(study.trials), "table")
    sections.supplement += _phantoms(sections, study)
    whole = [part for part in parts if not part.condition.unseen]
    main = of_patients([part for part in whole if not part.study], dataset_of)
    for part in whole:
        shown = (SHOWCASE, *BODY) if part is whole[0] else BODY if part in main else ()
        _whole(sections, Teller(numbers, part), figures[part.key], shown, trainings[part.key])
    held_out = [part for part in parts if part.condition.unseen]
    if held_out:
        sections.body += _left_out(sections, held_out)
    for part in held_out:
        _held_out(sections, Teller(numbers, part), figures[part.key])
    for part in study.rescored:
        sections.supplement += _heading("subsection", part, "sup")
        _details(sections, part, figures[part.key], (tables_scores.main_result,))
    for name, analyses in study.groups:
        conditions = [condition for condition in analyses.evidence.trained if condition.whole]
        pooled = tables_scores.pooled_result(analyses, of_patients(conditions, lambda condition: condition.dataset))
        if pooled is not None:
            pooled = _of_study(name, pooled)
            words = f" ({words_of(name)})" if name else ""
            sections.supplement += f"\n\\subsection{{Over all data sets{escape(words)}}}\n"
            sections.supplement += _table(sections, pooled, "table")
    return sections


def _whole(
    sections: Sections, teller: Teller, figures: Sequence[Drawn], shown: Sequence[str], training: Training
) -> None:
    """Add a condition with nothing left out: sentences, main result and the figures ``shown`` to the text.

    If none are ``shown`` there, all is added to the supplement.
    """
    part = teller.part
    ended = tell_ending(teller, training.endings)
    main = tables_scores.main_result(part.analyses, part.condition)
    drawn_here = [drawn for name in shown or BODY for drawn in figures if drawn.name == name]
    paragraphs = [
        _guide(part, main, drawn_here, bool(shown)),
        *tell(teller),
        *([ended] if ended else []),
        tell_training(teller, training),
        *tell_notes(part),
    ]
    told = "\n".join(paragraphs) + "\n"
    more = [tables_scores.by_modality, tables_scores.by_class]
    if shown:
        sections.body += _heading("subsection", part, "sec") + told + _table(sections, _of(part, main), "table*")
        sections.body += "".join(_figure(part, drawn, body=True) for drawn in drawn_here)
    sections.supplement += _heading("subsection", part, "sup")
    if not shown:
        sections.supplement += told
        more.insert(0, tables_scores.main_result)
    _details(sections, part, [drawn for drawn in figures if drawn.name not in shown], more)


def _left_out(sections: Sections, parts: Sequence[Part]) -> str:
    """Return the section of the text on modalities left out: where to find each condition, and one table of all."""
    places = [f"{escape(described(part))}: {_ref('sup', part.key)}" for part in parts]
    tested = of_patients((part for part in parts if "unseen" in part.relations), dataset_of)
    table = unseen_table(tested) if tested else None
    shown = f"Table~{_ref('tab', table.name)} has the scores on the modality that nobody trained on. " if table else ""
    text = f"\n\\subsection{{Modalities left out of training}}\n{shown}Each condition is told in the supplement "
    return f"{text}({'; '.join(places)}).\n" + (_table(sections, table, "table*") if table else "")


def _phantoms(sections: Sections, study: Study) -> str:
    """Return the tables of phantoms that stand beside images of patients, for the supplement."""
    tables = []
    if whole := phantoms_beside(study):
        tables.append(scores_table(whole, NAMED_PHANTOMS, "Phantoms"))
    tested = beside((part for part in study.parts if "unseen" in part.relations), dataset_of)
    if tested:
        tables.append(unseen_table(tested, "unseen-phantoms", "Modalities of phantoms"))
    return "".join(_table(sections, table, "table") for table in tables)


def _held_out(sections: Sections, teller: Teller, figures: Sequence[Drawn]) -> None:
    """Add a condition with a modality left out to the supplement."""
    part = teller.part
    paragraphs = [*tell(teller), *tell_notes(part)]
    sections.supplement += _heading("subsection", part, "sup") + "\n".join(paragraphs) + "\n"
    _details(sections, part, figures, (tables_scores.main_result,))


def _details(
    sections: Sections, part: Part, figures: Sequence[Drawn], more: Sequence[Callable[[Analyses, Condition], Table]]
) -> None:
    """Add the tables and figures that the text does not show to the supplement."""
    analyses, condition = part.analyses, part.condition
    made = [significance.overview(analyses, condition)]
    for relation in (r for r in part.relations if not condition.unseen or condition.reestimated or r == "unseen"):
        endpoint = Endpoint(relation, "dice", condition.unseen)
        made.append(under_headings(significance.comparisons(analyses, condition, endpoint, brief=True), "against"))
    made += [make(analyses, condition) for make in more]
    if not condition.reestimated:  # scored again, trained once
        made.append(tables_runs.cost(analyses, condition))
    made.append(tables_runs.empties(analyses, condition))
    tables = [_of(part, each) for whole in made for each in in_parts(whole)]
    floats = [(table_height(table), _table(sections, table, "table")) for table in tables]
    floats += [(figure_height(drawn), _figure(part, drawn, body=False)) for drawn in figures]
    sections.supplement += "".join(packed(floats))
    sections.supplement += "\\FloatBarrier\n"


def described(part: Part) -> str:
    """Return a condition in words, with its norm and what its study is about: ``nuclei, batch normalisation``."""
    return part.condition.title + _suffix(part)


def _suffix(part: Part) -> str:
    identities = part.analyses.results(part.condition).runs["identity"].unique()
    norms = {str(json.loads(text).get("model", {}).get("norm", "")) for text in identities} - {""}
    norm = norms.pop() if len(norms) == 1 else ""
    return (f", {norm} normalisation" if norm else "") + (f" ({part.about})" if part.about not in ("", norm) else "")


def _heading(level: str, part: Part, prefix: str) -> str:
    return f"\n\\{level}{{{escape(described(part))}}}\\label{{{prefix}:{part.key}}}\n"


def _ref(kind: str, name: str) -> str:
    return f"\\ref{{{kind}:{name}}}"


def _guide(part: Part, main: Table, figures: Sequence[Drawn], body: bool) -> str:
    """Return where the numbers of a section are: a sentence or two."""
    published = f" Published as \\textsf{{{escape(part.folder)}}}." if part.folder else ""
    more = f"; all else: Supplement~{_ref('sup', part.key)}" if body else ""
    return f"Scores and differences: {_listed_floats(part, main, figures)}{more}.{published}"


def _listed_floats(part: Part, main: Table, figures: Sequence[Drawn]) -> str:
    """``Table~1, Figure~2``: those that are there."""
    found = [f"Table~{_ref('tab', _of(part, main).name)}"]
    found += [f"Figure~{_ref('fig', f'{part.key}.{drawn.name}')}" for drawn in figures if drawn.files]
    return ", ".join(found)


def _of(part: Part, table: Table) -> Table:
    """Return a table with the name of its study's file, and its norm in its title."""
    return replace(_of_study(part.study, table), title=f"{table.title}{_suffix(part)}")


def _of_study(study: str, table: Table) -> Table:
    return replace(table, name=f"{study}.{table.name}", title=f"{table.title} ({words_of(study)})") if study else table


def _table(sections: Sections, table: Table, environment: str) -> str:
    """Keep a table's file and return its input."""
    text = latex(table, environment)
    sections.tables[table.name] = text if environment == "table*" else in_supplement(text)
    return f"\\input{{tables/{table.name}.tex}}\n"


def _figure(part: Part, drawn: Drawn, body: bool) -> str:
    """Return the float of a figure; a figure that could not be drawn leaves its reason."""
    title = f"{drawn.title}, {described(part)}"
    if not drawn.files:
        return f"\n{escape(title)}: not drawn. {escape(drawn.reason)}\n\n"
    folder = f"figures/{part.study}" if part.study else "figures"
    return figure_float(drawn, folder, title, f"{part.key}.{drawn.name}", body)
