"""A whole report, with its ensemble, of a store with one target, and of one with three."""

from __future__ import annotations

from pathlib import Path

import pytest
from target_study import STUDY, TargetStudy, make_target_study, slow_cccs
from target_world import ONE, THREE

from va_search.ensemble.build import build
from va_search.ensemble.recipe import load_recipe
from va_search.ensemble.saved import predict, read_ensemble
from va_search.predictions.bank import Bank
from va_search.report.figures.progress import pareto_figure
from va_search.report.pages import StudyReport, to_html
from va_search.report.write import assemble
from va_search.search.outcomes import pareto
from va_search.table import number
from va_search.targets import Target, clipped


def reported(folder: Path, targets: tuple[Target, ...]) -> tuple[TargetStudy, StudyReport]:
    study = make_target_study(folder, targets)
    build(study.home, [STUDY], load_recipe("greedy"), "best", study.store)
    return study, assemble(study.home, [STUDY], study.store, out=folder / "report")


@pytest.mark.parametrize("targets", [ONE, THREE], ids=["one", "three"])
def test_the_ensembles_scores_are_those_of_its_predictions(
    tmp_path: Path, targets: tuple[Target, ...]
) -> None:
    study, report = reported(tmp_path, targets)
    recordings = study.store.split("validation")
    ensemble = read_ensemble(study.home, "best")
    values = predict(ensemble, Bank(study.home.bank), "validation", recordings)
    cccs = slow_cccs(values, study.annotation(), study.store.target_names)
    tables = {table.title: table for table in report.tables()}
    scores = tables["CCC on validation: ensemble best and the best single trials"]
    last = [cell.text for cell in scores.rows[-1].cells]
    mean = sum(cccs.values()) / len(cccs)
    assert last == ["Ensemble best", "in-sample", *map(number, cccs.values()), number(mean)]
    for target, ccc in cccs.items():
        (title,) = [name for name in tables if name.endswith(f"and ensemble for {target}")]
        cells = [cell.text for cell in tables[title].rows[-1].cells]
        assert cells[0] == "Ensemble" and cells[5] == number(ccc)
    figures = {figure.title: figure for figure in report.figures()}
    assert len(figures["Ensemble size"].pictures) == len(targets)
    # Figures show what a submission has, within the targets' ranges.
    in_range = clipped(values, study.store.targets)
    shown = slow_cccs(in_range, study.annotation(), study.store.target_names)
    for picture, ccc in zip(
        figures["Predictions against annotations"].pictures, shown.values(), strict=True
    ):
        assert f"150 labelled frames, pooled CCC {number(ccc)}" in picture.alt
    assert to_html(report).count("<svg") == sum(len(each.pictures) for each in report.figures())


def test_the_pareto_set_of_three_targets_has_a_picture_for_every_two(tmp_path: Path) -> None:
    study = make_target_study(tmp_path, THREE)
    names = study.store.target_names
    front = pareto(study.trials)
    for point in front:
        # No other trial is as good on all targets and better on one.
        for trial in study.trials:
            differences = [(trial.ccc(name) or 0.0) - point[name] for name in names]
            assert min(differences) < 0 or max(differences) <= 0
    figure = pareto_figure(study.trials, names)
    assert figure.title == "Pareto set of valence, arousal and stress"
    assert len(figure.pictures) == 3
    for picture, (x, y) in zip(figure.pictures, [(0, 1), (0, 2), (1, 2)], strict=True):
        best = front[0]
        pair = f"{number(best[names[x]])} and {number(best[names[y]])}"
        assert picture.alt.startswith(f"{len(front)} of 4 trials") and pair in picture.alt
