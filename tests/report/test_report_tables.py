"""The six tables on a hand-written bank."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_world import HOSTILE, World, make_world, write_submissions
from scipy.stats import t as student

from va_search.data.store import MIX
from va_search.ensemble.build import build
from va_search.ensemble.recipe import load_recipe
from va_search.ensemble.saved import read_ensemble
from va_search.files import write_json
from va_search.report.chosen import choose_ensemble
from va_search.report.gather import Gathered, gather
from va_search.report.tables.ablation import (
    ablation_tables,
    coefficients,
    effects,
    largest_group,
    t_interval,
)
from va_search.report.tables.ensemble import members_table
from va_search.report.tables.folds import folds_table
from va_search.report.tables.studies import store_table, studies_table
from va_search.report.tables.submissions import submissions_table
from va_search.report.tables.trials import overall_table, unfinished_table
from va_search.report.words import BEST_EPOCH, kept_epochs
from va_search.table import Table


def texts(table: Table) -> list[list[str]]:
    return [[cell.text for cell in row.cells] for row in table.rows]


def column(table: Table, name: str) -> list[str]:
    at = [column.name for column in table.columns].index(name)
    return [row.cells[at].text for row in table.rows if row.kind != "group"]


@pytest.fixture(scope="module")
def everything(world: World) -> Gathered:
    return gather(world.home, ["main", "ablation", "folds", "mix"])


def test_table_1_is_over_seeds_with_a_column_per_modality(everything: Gathered) -> None:
    table = overall_table(everything)
    assert table.title.startswith("Table 1: ")
    assert [one.name for one in table.columns[:4]] == [
        "Model",
        "Visual features",
        "Audio features",
        "Fusion",
    ]
    scores = [float(text.split(" ")[0]) for text in column(table, "Score")]
    assert scores == sorted(scores, reverse=True)
    late = [one for one in everything.trials if one.settings and one.settings.fusion == "late"]
    assert len(late) == 2
    row = next(cells for cells in texts(table) if cells[3] == "late")
    assert row[:3] == ["Transformer", "fau, mae", "hubert"]
    valence = [one.ccc("valence") for one in late if one.best]
    assert row[5] == f"{statistics.mean(valence):.3f} ± {statistics.stdev(valence):.3f}"
    assert sum(cell.best for row in table.rows for cell in row.cells) == 3
    # Of a configuration's seeds the best trial is named, with its study, as there are several.
    best = max(everything.on_main_fold, key=lambda trial: trial.score or 0.0)
    assert best.label in column(table, "Trial")


def test_table_1_with_one_seed_has_no_deviation(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    world.add("one", world.settings("fau"))
    (row,) = texts(overall_table(gather(world.home, ["one"])))
    assert "±" not in "".join(row)
    assert row[4] == "1"


def test_table_1_says_why_it_is_empty(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    world.begin("new")
    table = overall_table(gather(world.home, ["new"]))
    assert table.missing is not None
    assert "No trial is complete" in table.missing.why
    world.add("new", world.settings("fau", fold=MIX))
    table = overall_table(gather(world.home, ["new"]))
    assert table.missing is not None
    assert "train_val_mix" in table.missing.why


def test_tables_2_and_3_have_members_best_single_and_ensemble(world: World) -> None:
    found, chosen = (
        gather(world.home, ["ablation", "folds"]),
        choose_ensemble(world.home, ["ablation", "folds"]),
    )
    saved = read_ensemble(world.home, "best")
    for number, dimension in ((2, "valence"), (3, "arousal")):
        table = members_table(found, chosen, dimension)
        part = saved.dimensions[dimension]
        assert table.title == f"Table {number}: members and ensemble for {dimension}"
        assert len(table.rows) == len(part.members) + 3
        weights = [float(text) for text in column(table, "Weight")[:-3]]
        assert sum(weights) == pytest.approx(1.0, abs=0.005)
        last = texts(table)[-1]
        assert (last[0], last[-3]) == ("Ensemble", f"{part.scores.in_sample:.3f}")
        assert texts(table)[-2][0] == f"Best single trial for {dimension}"
        assert texts(table)[-3][0] == "Best single trial for both"
        assert (
            saved.best_for_both is not None
            and saved.best_for_both.trial == texts(table)[-3][-1].split("/")[1]
        )
        assert f"{part.scores.out_of_fold:.3f}" in last[-2]


def test_members_have_the_settings_that_differ(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    names = ["low", "high"]
    rates = dict(zip(names, (1e-4, 1e-3), strict=True))
    trials = {}
    for name, rate in rates.items():
        trials[name] = world.add("one", world.settings("fau", learning_rate=rate), 0.2)
    build(world.home, ["one"], load_recipe("mean"), "both", world.store)
    found, chosen = gather(world.home, ["one"]), choose_ensemble(world.home, ["one"])
    table = members_table(found, chosen, "valence")
    assert [column.name for column in table.columns[1:4]] == [
        "Features",
        "Settings that differ",
        "Seed",
    ]
    settings = {cells[-1]: cells[2] for cells in texts(table)[:2]}
    for name, trial in trials.items():
        assert settings[trial] == f"learning_rate {rates[name]:g}"
    closing = [cells[2] for cells in texts(table)[2:]]
    assert closing == ["", "", ""], "the best single trials and the ensemble"


def test_late_fusion_is_marked(world: World, tmp_path: Path) -> None:
    saved = read_ensemble(world.home, "best").model_dump(mode="json")
    saved["dimensions"]["valence"]["members"][0]["fusion"] = "late"
    other = make_world(tmp_path)
    other.add("ablation", other.settings("fau"))
    write_json(other.home.ensemble("late"), {**saved, "name": "late", "studies": ["ablation"]})
    table = members_table(
        gather(other.home, ["ablation"]), choose_ensemble(other.home, ["ablation"]), "valence"
    )
    assert table.rows[0].cells[0].mark
    assert not any(row.cells[0].mark for row in table.rows[1:])


def blend(world: World) -> dict[str, Any]:
    """Half of the ensemble `best`, half of one whose members have no score."""
    saved = read_ensemble(world.home, "best").model_dump(mode="json")
    nothing = {"in_sample": None, "out_of_fold": None}
    unscored = {
        **saved,
        "name": "mixed",
        "scores": nothing,
        "best_single": nothing,
        "intervals": None,
    }
    unscored["measured_on"] = {
        **saved["measured_on"],
        "fold": MIX,
        "reason": "nothing to validate on",
    }
    unscored["dimensions"] = {
        name: {
            **part,
            "scores": {**nothing, "interval": None},
            "best_single": None,
            "members": [{**part["members"][0], "ccc": None, "weight": 1.0}],
        }
        for name, part in saved["dimensions"].items()
    }
    parts = [{"share": 0.5, "ensemble": saved}, {"share": 0.5, "ensemble": unscored}]
    return {**unscored, "name": "blend", "recipe": "ensemble_3", "dimensions": {}, "parts": parts}


def test_a_blend_shows_its_parts_and_no_score(world: World, tmp_path: Path) -> None:
    other = make_world(tmp_path)
    other.add("one", other.settings("fau"))
    write_json(other.home.ensemble("blend"), blend(world))
    table = members_table(
        gather(other.home, ["one"]), choose_ensemble(other.home, ["one"], "blend"), "valence"
    )
    groups = [row.cells[0].text for row in table.rows if row.kind == "group"]
    assert groups == ["best, 50% of the whole", "mixed, 50% of the whole"]
    assert sum(float(text) for text in column(table, "Weight")[:-1]) == pytest.approx(
        1.0, abs=0.005
    )
    assert texts(table)[-1][0] == "Ensemble (no validation to score it on)"


def test_without_an_ensemble_the_command_stands_there(world: World) -> None:
    table = members_table(
        gather(world.home, ["main"]), choose_ensemble(world.home, ["main"]), "valence"
    )
    assert table.missing is not None
    assert (
        table.missing.command
        == f"va-search ensemble main --name main-best --home {world.home.root}"
    )


def test_table_4_has_folds_average_spread_and_what_is_not_there(everything: Gathered) -> None:
    table = folds_table(everything)
    rows = texts(table)
    assert "LSTM" not in rows[0][0]
    assert "2 seeds" in rows[0][0]
    by_name = {cells[0]: cells for cells in rows}
    assert by_name["1"][1] == "2"
    assert "±" in by_name["1"][2]
    assert by_name["2"][2:] == ["–", "–", "–", "failed"]
    assert by_name["3 (official)"][1] == "4"
    assert by_name["4 (test)"][2] == "withheld"
    means = [float(by_name[name][2].split(" ")[0]) for name in ("1", "3 (official)")]
    assert by_name["Average"][-1] == "2 of 3 folds"
    assert float(by_name["Average"][2]) == pytest.approx(statistics.mean(means), abs=0.001)
    spread = float(by_name["Spread over folds"][2])
    assert spread == pytest.approx(statistics.stdev(means), abs=0.001)


def test_table_4_of_a_study_of_one_fold_says_so(world: World) -> None:
    table = folds_table(gather(world.home, ["ablation"]))
    assert table.missing is not None
    assert "two of the store's 3 folds" in table.missing.why


def test_table_5_takes_the_largest_group_and_tells_what_sets_add(everything: Gathered) -> None:
    combinations, marginal = ablation_tables(everything)
    assert len(combinations.rows) == 4
    assert column(combinations, "Seeds") == ["3"] * 4
    assert "Transformer, early fusion" in combinations.lead
    rows = {cells[0]: cells for cells in texts(marginal)}
    assert rows["fau"][1:3] == ["in all of the combinations", "–"]
    assert " to " in rows["mae"][2]
    assert any("in none" in cells[1] for cells in rows.values())


def test_effects_are_those_of_least_squares(everything: Gathered) -> None:
    group = largest_group(everything.scored)
    found = {effect.names: effect for effect in effects(group, "valence")}
    per_seed = []
    for seed in (0, 1, 2):
        some = {
            t.settings.features: t.ccc("valence")
            for t in group
            if t.settings and t.settings.seed == seed
        }
        low = [("fau",), ("fau", "hubert")]
        high = [("fau", "mae"), ("fau", "hubert", "mae")]
        assert set(some) == {*low, *high}
        per_seed.append(
            np.mean([some[one] or 0 for one in high]) - np.mean([some[one] or 0 for one in low])
        )
    effect = found["mae",]
    assert effect.mean == pytest.approx(np.mean(per_seed))
    assert effect.interval == pytest.approx(
        student.interval(0.95, 2, np.mean(per_seed), np.std(per_seed, ddof=1) / 3**0.5)
    )


def test_what_cannot_be_told_apart_is_not_told() -> None:
    either = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
    values = np.array([0.1, 0.2, 0.4, 0.5])
    found = coefficients(either, values)
    assert np.isnan(found[:2]).all(), "the first two always stand for each other"
    assert found[2] == pytest.approx(0.3)


def test_sets_that_come_together_are_one_and_one_seed_has_no_interval(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    for features in (("fau",), ("fau", "mae", "hubert")):
        world.add("one", world.settings(*features))
    group = gather(world.home, ["one"]).scored
    found = {effect.names: effect for effect in effects(group, "score")}
    both = found["hubert", "mae"]
    assert both.mean is not None
    assert (both.interval, both.seeds) == (None, 1)
    assert "together" in both.why
    marginal = ablation_tables(gather(world.home, ["one"]))[1]
    assert any("One seed" in note for note in marginal.notes)


def test_the_interval_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(2000):
        low, high = t_interval(rng.normal(size=4)) or (0.0, 0.0)
        covered += low <= 0.0 <= high
    assert covered / 2000 == pytest.approx(0.95, abs=0.02)


def test_table_5_without_an_ablation_says_so(world: World) -> None:
    (table,) = ablation_tables(gather(world.home, ["folds"]))
    assert table.missing is not None
    assert "this study has none" in table.missing.why
    assert table.missing.command is None, "without the report's folder there is no space to search"


def test_table_6_withholds_scores_without_labels(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    world.begin("one")
    missing = submissions_table(gather(world.home, ["one"]), tmp_path).missing
    assert missing is not None
    assert missing.command is None, "there is no trial to submit"
    write_submissions(world, "one", labelled=False)
    table = submissions_table(gather(world.home, ["one"]))
    assert column(table, "Test\nscore") == ["withheld", "–"]
    assert column(table, "Members\nV / A") == ["7 / 12", "–"]
    assert table.notes[0] == "Ensemble 1: validation is the official split's 4 recordings."
    write_submissions(world, "one", labelled=True)
    table = submissions_table(gather(world.home, ["one"]))
    assert column(table, "Test\nscore") == ["0.630", "–"]
    assert column(table, "Validation, out-of-fold\nV / A / score") == [
        "0.610 / 0.650 / 0.600",
        "–",
    ]
    assert any(HOSTILE in note for note in table.notes)


def test_half_a_table_6_is_named(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    world.begin("one")
    (world.home.study("one") / "submissions.json").write_text('{"rows"')
    missing = submissions_table(gather(world.home, ["one"])).missing
    assert missing is not None
    assert "not a JSON document" in missing.why


def test_the_first_section_counts_and_names(everything: Gathered) -> None:
    table = studies_table(everything)
    states = ["Complete", "stopped early", "without validation", "Failed", "Missing"]
    assert [column.name for column in table.columns[1:6]] == states, "no trial is from elsewhere"
    rows = {cells[0]: cells[1:] for cells in texts(table)}
    assert rows["main"][:5] == ["11", "1", "0", "1", "1"]
    assert rows["mix"][2] == "2"
    alone = studies_table(gather(everything.home, ["ablation"]))
    assert [column.name for column in alone.columns] == ["Study", "Complete", "Planned", "Time"]
    unfinished = unfinished_table(everything)
    assert unfinished is not None
    told = [cells[1] for cells in texts(unfinished)]
    assert told == [f"failed: ValueError: {HOSTILE} | no memory", "failed: RuntimeError: diverged",
                    "missing: proposed, not finished"]  # fmt: skip
    assert texts(store_table(everything))[2][-1] == "withheld"


def test_a_table_says_which_epochs_its_trials_keep() -> None:
    assert kept_epochs([]) == kept_epochs(["best", "best"]) == BEST_EPOCH
    assert kept_epochs(["last"]) == "CCC on validation, of what each trial keeps: the last epoch."
    mixed = kept_epochs(["best", "ema"])
    assert "best epoch per target (in-sample" in mixed and "moving average of the weights" in mixed
