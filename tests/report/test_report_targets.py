"""Reports of stores with one target, and with three of ranges of their own."""

from __future__ import annotations

import re

import pytest
from target_study import STUDY, TargetStudy, make_target_study, slow_cccs
from target_world import ONE, THREE

from va_search.data.store import frames_hash
from va_search.predictions.bank import Bank
from va_search.report.chosen import ChosenEnsemble, answer
from va_search.report.figures.drawing import SCORE_COLOUR, target_colours
from va_search.report.figures.predictions import (
    PredictedCurves,
    best_and_worst,
    each_recording,
    find_predictions,
    scatter,
    typical_recording,
)
from va_search.report.figures.progress import history_figure, learning_curves, pareto_figure
from va_search.report.figures.settings import decisive_figure
from va_search.report.gather import Gathered, gather
from va_search.report.study_page import study_page
from va_search.report.tables.ablation import ablation_tables
from va_search.report.tables.decisive import decisive_by_measure
from va_search.report.tables.ensemble import members_table
from va_search.report.tables.folds import table_of_folds
from va_search.report.tables.studies import store_table
from va_search.report.tables.submissions import table_6
from va_search.report.tables.trials import (
    best_trials_table,
    overall_table,
    pareto_table,
    settings_table,
)
from va_search.search.fold_table import Cell, FoldRow, Spread
from va_search.table import Table, number

NO_ENSEMBLE = ChosenEnsemble(None)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> TargetStudy:
    return make_target_study(tmp_path_factory.mktemp("one"), ONE)


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> TargetStudy:
    return make_target_study(tmp_path_factory.mktemp("three"), THREE)


@pytest.fixture(params=["one", "three"])
def study(request: pytest.FixtureRequest) -> TargetStudy:
    made: TargetStudy = request.getfixturevalue(request.param)
    return made


def gathered(study: TargetStudy) -> Gathered:
    return gather(study.home, [STUDY], study.store)


def heads(table: Table) -> list[str]:
    return [column.name for column in table.columns]


def texts(table: Table) -> list[list[str]]:
    return [[cell.text for cell in row.cells] for row in table.rows]


def test_each_target_has_its_labelled_frames(one: TargetStudy, three: TargetStudy) -> None:
    table = store_table(gathered(one))
    assert heads(table)[-1] == "Labelled frames"
    # Of 60 frames of a recording, 5 have no label at all and 5 more none of this target.
    assert [row[-1] for row in texts(table)] == ["200", "150", "withheld"]
    assert table.lead == "Store targets: engagement from 0 to 100, 2 folds of labelled recordings."
    table = store_table(gathered(three))
    labelled = [f"Labelled frames,\n{target}" for target in three.store.target_names]
    assert heads(table)[-3:] == labelled
    assert [row[-3:] for row in texts(table)] == [["200"] * 3, ["150"] * 3, ["withheld"] * 3]
    ranges = "valence from -1 to 1, arousal from 0 to 1000, stress from 1 to 9"
    assert table.lead.startswith(f"Store targets: {ranges}")


def test_each_target_has_a_column_of_table_1(study: TargetStudy) -> None:
    table = overall_table(gathered(study))
    targets = study.store.target_names
    wanted = [f"{name[0].upper()}{name[1:]}" for name in (*targets, "score")]
    assert heads(table)[5 : 5 + len(wanted)] == wanted
    # LSTM has less noise: the first row is the mean of its two seeds.
    lstm = [trial for trial in study.trials if trial.settings and trial.settings.encoder == "lstm"]
    first = texts(table)[0]
    for column, name in enumerate((*targets, "score"), start=5):
        mean = sum(trial.ccc(name) or 0.0 for trial in lstm) / 2
        assert first[column].startswith(number(mean))


def test_the_score_of_three_is_named_so(one: TargetStudy, three: TargetStudy) -> None:
    assert "Score: the CCC." in overall_table(gathered(one)).notes[0]
    assert "Score: mean of the 3 CCCs." in overall_table(gathered(three)).notes[0]


def test_the_best_trials_are_named_by_target(one: TargetStudy, three: TargetStudy) -> None:
    ((label, text),) = answer(gathered(one), NO_ENSEMBLE).rows
    best = one.best("engagement")
    score = number(best.ccc("engagement"))
    assert label == "best trials, in-sample"
    assert text == f"for engagement {best.id} (engagement {score})"
    ((_, text),) = answer(gathered(three), NO_ENSEMBLE).rows
    parts = text.split(", ")
    measures = ("score", "valence", "arousal", "stress")
    wanted = ("all targets", "valence", "arousal", "stress")
    for part, words, measure in zip(parts, wanted, measures, strict=True):
        best = three.best(measure)
        assert part == f"for {words} {best.id} ({measure} {number(best.ccc(measure))})"


def test_best_trials_and_ablation_have_a_column_a_target(study: TargetStudy) -> None:
    targets = study.store.target_names
    table = best_trials_table([study.best("score")], "score")
    assert heads(table)[: len(targets) + 2] == ["trial", "score", *targets]
    best = study.best("score")
    assert texts(table)[0][1 : len(targets) + 2] == [
        number(best.ccc(name)) for name in ("score", *targets)
    ]
    (missing,) = ablation_tables(gathered(study))
    assert missing.missing is not None, "one combination of feature sets is no ablation"


def test_the_pareto_table_has_a_column_a_target() -> None:
    point = {"trial": "t1", "valence": 0.5, "arousal": 0.25, "stress": 0.125}
    table = pareto_table([point])
    assert heads(table) == ["trial", "valence", "arousal", "stress"]
    assert texts(table) == [["t1", "0.500", "0.250", "0.125"]]


def test_members_have_a_table_a_target(one: TargetStudy, three: TargetStudy) -> None:
    (target,) = one.store.target_names
    title = members_table(gathered(one), NO_ENSEMBLE, target).title
    assert title == "Members and ensemble for engagement"
    titles = [
        members_table(gathered(three), NO_ENSEMBLE, target).title
        for target in three.store.target_names
    ]
    assert titles == [
        "Table 2: members and ensemble for valence",
        "Table 3: members and ensemble for arousal",
        "Members and ensemble for stress",
    ]


def test_folds_have_a_column_a_target(one: TargetStudy) -> None:
    assert one.trials[0].settings is not None
    settings = one.trials[0].settings.model_dump(mode="json", exclude={"seed", "fold"})
    values = {"engagement": Spread(0.5, None, 1), "score": Spread(0.5, None, 1)}
    cells: dict[str | int, Cell] = {0: Cell("complete", values), 1: Cell("missing", {})}
    configuration = FoldRow("c", settings, [0], cells, values)
    for store in (one.store, None):
        table = table_of_folds([configuration], {0: 0, 1: 1}, store)
        assert heads(table) == ["Fold", "Recordings", "Engagement", "Score", "State"]
        assert texts(table)[1][2:4] == ["0.500", "0.500"]


def test_table_6_has_a_column_a_target() -> None:
    scores = {"valence": 0.5, "arousal": 0.25, "stress": 0.75, "score": 0.5}
    strategy = {
        "submission": 1,
        "strategy": "s",
        "members": {"valence": 1, "arousal": 2, "stress": 3},
        "in_sample": scores,
        "test": scores,
    }
    table = table_6({"rows": [strategy], "labels": "x"})
    assert table.lead == "Score: mean of the 3 targets, valence (V), arousal (A) and stress (S)."
    assert heads(table)[2:4] == ["Members\nV / A / S", "Validation, in-sample\nV / A / S / score"]
    assert texts(table)[0][2:4] == ["1 / 2 / 3", "0.500 / 0.250 / 0.750 / 0.500"]
    assert texts(table)[0][5:] == ["0.500", "0.250", "0.750", "0.500"]
    alike = {**strategy, "members": {"stress": 1, "sadness": 2}, "in_sample": None, "test": None}
    table = table_6({"rows": [alike], "labels": "x"})
    assert table.lead == "Score: mean of the two targets, stress and sadness."
    assert heads(table)[2] == "Members\nstress / sadness"


def test_predictions_are_drawn_on_each_targets_range(study: TargetStudy) -> None:
    curves = find_predictions(gathered(study), NO_ENSEMBLE)
    assert isinstance(curves, PredictedCurves)
    best = study.best("score")
    recordings = study.store.split("validation")
    values = Bank(study.home.bank).read(
        STUDY, best.id, "validation", frames_hash=frames_hash(recordings)
    )
    cccs = slow_cccs(values, study.annotation(), study.store.target_names)
    targets = study.store.target_names
    assert [curves.pooled(column) for column in range(len(targets))] == pytest.approx(
        list(cccs.values()), abs=1e-6
    )
    typical, dots = typical_recording(curves), scatter(curves)
    assert len(typical.pictures) == len(each_recording(curves).pictures) == len(targets)
    assert len(best_and_worst(curves).pictures) == 2 * len(targets)
    for picture, (target, ccc) in zip(dots.pictures, cccs.items(), strict=True):
        assert f"Scatter of {target}" in picture.alt and "150 labelled frames" in picture.alt
        assert f"pooled CCC {number(ccc)}" in picture.alt
    if "stress" in targets:
        ticks = set(re.findall(r">(\d+)</text>", dots.pictures[1].svg))
        assert {"200", "800"} <= ticks, "arousal's axis is its own range, 0 to 1000"
        assert "by the mean of their 3 CCCs" in typical.caption
    else:
        assert "by their CCC" in typical.caption


def test_curves_and_history_have_a_line_a_target(study: TargetStudy) -> None:
    targets = study.store.target_names
    curves = learning_curves(gathered(study))
    assert len(curves.pictures) == len(targets)
    for picture, target in zip(curves.pictures, targets, strict=True):
        assert f"Validation {target} CCC" in picture.alt
        assert number(study.best("score").ccc(target)) in picture.alt
    (history,) = history_figure(study.trials).pictures
    for name in (*targets, "score"):
        assert f"{name} {number(study.best(name).ccc(name))}" in history.alt
    colours = [*target_colours(targets).values(), SCORE_COLOUR]
    assert len(set(colours)) == len(targets) + 1
    assert all(colour in history.svg for colour in colours)
    missing = decisive_figure(decisive_by_measure(gathered(study))).missing
    assert missing is not None and "too few trials" in missing.why.lower()


def test_the_studys_page_ranks_by_any_target(three: TargetStudy, one: TargetStudy) -> None:
    page = study_page(three.home, STUDY, "stress", three.store, three.trials)
    assert "Best trials by stress" in page["study.html"]
    assert page["best.json"]["columns"][:5] == ["trial", "score", "valence", "arousal", "stress"]
    assert page["best.json"]["data"][0][0] == three.best("stress").id
    page = study_page(one.home, STUDY, "both", one.store, one.trials)
    assert "Pareto" not in page["study.html"], "of one target there is no set"


def test_a_store_without_valence_has_no_weight_of_it(one: TargetStudy, three: TargetStudy) -> None:
    for study, has_weights in ((one, False), (three, True)):
        names = {cells[0] for cells in texts(settings_table(gathered(study)))}
        assert "learning_rate" in names
        assert ({"loss_valence", "loss_arousal"} <= names) is has_weights


def test_the_pareto_set_of_two_targets_is_a_line(three: TargetStudy) -> None:
    figure = pareto_figure(three.trials, ("valence", "arousal"))
    (picture,) = figure.pictures
    assert picture.alt.startswith(("1 of 4", "2 of 4", "3 of 4", "4 of 4"))
    assert figure.title == "Pareto set of valence and arousal"
