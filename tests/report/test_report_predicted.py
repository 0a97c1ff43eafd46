"""Whose predictions the figures show: the ensemble's where it has any on annotations, else the best
trial's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from report_world import HOSTILE, World, make_world

from va_search.data.store import MIX
from va_search.ensemble.build import build
from va_search.ensemble.recipe import load_recipe
from va_search.ensemble.saved import read_ensemble
from va_search.files import shipped
from va_search.report.chosen import choose_ensemble
from va_search.report.figures.predictions import (
    PredictedCurves,
    RecordingCurves,
    best_and_worst,
    each_recording,
    find_predictions,
    scatter,
    typical_recording,
)
from va_search.report.gather import gather
from va_search.report.tables.ensemble import members_table
from va_search.report.tables.recordings import recordings_table


def found_for(world: World, studies: list[str], ensemble: str | None = None) -> PredictedCurves:
    found = find_predictions(
        gather(world.home, studies), choose_ensemble(world.home, studies, ensemble)
    )
    assert isinstance(found, PredictedCurves)
    return found


@pytest.fixture(scope="module")
def folded(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Two configurations on all folds, two trials without validation, and three of the paper's
    strategies."""
    world = make_world(tmp_path_factory.mktemp("folded"))
    world.begin("all")
    for encoder in ("lstm", "gru"):
        for fold in (1, 2, "official"):
            world.add("all", world.settings("fau", encoder=encoder, fold=fold), 0.2)
        world.add("all", world.settings("fau", encoder=encoder, fold=MIX))
    for name in ("ensemble_1", "six_fold", "train_val_mix", "ensemble_3"):
        build(
            world.home,
            ["all"],
            load_recipe(shipped(f"ensembles/paper/{name}.yaml")),
            name,
            world.store,
        )
    return world


def test_an_ensembles_predictions_have_its_own_score(world: World) -> None:
    found, saved = found_for(world, ["ablation", "folds"]), read_ensemble(world.home, "best")
    assert found.model == "ensemble best"
    for index, dimension in enumerate(("valence", "arousal")):
        assert found.pooled(index) == pytest.approx(
            saved.dimensions[dimension].scores.in_sample, abs=0.01
        )
    assert [part.recording.split for part in found.recordings] == ["validation"] * 4


def test_an_ensemble_over_folds_is_shown_on_every_labelled_recording(folded: World) -> None:
    found = found_for(folded, ["all"], "six_fold")
    assert len(found.recordings) == 8
    saved = read_ensemble(folded.home, "six_fold")
    assert found.pooled(0) == pytest.approx(saved.dimensions["valence"].scores.in_sample, abs=0.01)


@pytest.mark.parametrize("name", ["train_val_mix", "ensemble_3"])
def test_without_validation_the_best_trial_is_shown(folded: World, name: str) -> None:
    found = found_for(folded, ["all"], name)
    assert found.model.startswith("trial ")
    best = max(gather(folded.home, ["all"]).on_main_fold, key=lambda trial: trial.score or 0.0)
    assert found.pooled(0) == pytest.approx(best.ccc("valence"), abs=1e-5)


@pytest.mark.parametrize("name", [None, "six_fold", "train_val_mix", "ensemble_3"])
def test_tables_2_and_3_cope_with_every_strategy(folded: World, name: str | None) -> None:
    table = members_table(
        gather(folded.home, ["all"]), choose_ensemble(folded.home, ["all"], name), "valence"
    )
    assert ("ensemble_1" if name is None else name) in table.lead
    models = {row.cells[0].text for row in table.rows}
    assert ("LSTM over 3 folds" in models) == (name == "six_fold")


def test_recordings_without_a_ccc_are_named(world: World) -> None:
    found = found_for(world, ["ablation", "folds"])
    flat = [
        part if i else RecordingCurves(part.recording, part.prediction, 0 * part.annotation)
        for i, part in enumerate(found.recordings)
    ]
    none = [
        part
        if i != 1
        else RecordingCurves(part.recording, part.prediction, np.nan * part.annotation)
        for i, part in enumerate(flat)
    ]
    figure = each_recording(
        PredictedCurves(found.model, found.measured, tuple(none), found.targets)
    )
    assert "valence: v1, v2" in figure.caption
    assert "2 recordings" in figure.pictures[0].alt


def test_best_median_and_worst_are_shown_once_each(world: World) -> None:
    found = found_for(world, ["ablation", "folds"])
    cccs = sorted((each.mean_ccc for each in found.recordings), reverse=True)
    typical, ends = typical_recording(found), best_and_worst(found)
    assert len(typical.pictures) == 2 and len(ends.pictures) == 4
    assert f"here {cccs[2]:.3f}." in typical.caption and "median of 4 recordings" in typical.title
    alts = [picture.alt for picture in (*typical.pictures, *ends.pictures)]
    assert any(HOSTILE in alt for alt in alts)
    alone = PredictedCurves(found.model, found.measured, found.recordings[:1], found.targets)
    assert len(typical_recording(alone).pictures) == 2
    assert best_and_worst(alone).missing is not None, "it is the typical one"


def test_recordings_are_listed_from_the_best_to_the_worst(world: World) -> None:
    found = found_for(world, ["ablation", "folds"])
    table = recordings_table(found, "va-search look best")
    assert [column.name for column in table.columns][-3:] == ["Valence", "Arousal", "Mean CCC"]
    means = [float(each.cells[-1].text) for each in table.rows]
    assert means == sorted(means, reverse=True) and len(means) == 4
    for each, curves in zip(table.rows, found.ranked, strict=True):
        assert each.cells[0].text == curves.recording.name
        assert each.cells[-3].text == f"{curves.ccc(0):.3f}"
    assert table.command == "va-search look best"
    many = PredictedCurves(found.model, found.measured, found.recordings * 4, found.targets)
    rows = recordings_table(many).rows
    assert rows[5].texts == ["6 more between them"]
    ranks = [int(each.cells[1].text) for each in (*rows[:5], *rows[6:])]
    assert ranks == [1, 2, 3, 4, 5, 12, 13, 14, 15, 16], "the five best and the five worst"


def test_a_reason_stands_where_nothing_can_be_shown(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    world.begin("new")
    found = find_predictions(gather(world.home, ["new"]), choose_ensemble(world.home, ["new"]))
    assert isinstance(found, str)
    assert recordings_table(found).missing is not None
    for draw in (typical_recording, best_and_worst, each_recording, scatter):
        figure = draw(found)
        assert figure.missing is not None
        assert "No complete trial" in figure.missing.why
