"""Two studies compared on the configurations, folds, seeds and people that they share."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from ensemble_world import World, make_world
from typer.testing import CliRunner

from va_search.api.comparing import StudyComparison, compare_studies
from va_search.cli.main import app
from va_search.ensemble.paired import PairedDifference


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Study `better` has the configurations and seeds of `first`, with less noise, and a0 of it."""
    world = make_world(tmp_path_factory.mktemp("compared"), trials=6)
    for index in range(1, 6):
        world.add("better", f"b{index}", seed=index, noise=0.2)
    world.bank.adopt("better", "a0", source="first")
    return world


@pytest.fixture(scope="module")
def comparison(world: World) -> StudyComparison:
    return compare_studies("better", "first", home=world.home.root)


def test_trials_of_one_configuration_fold_and_seed_are_pairs(
    world: World, comparison: StudyComparison
) -> None:
    assert (comparison.configurations, comparison.same_trials) == (2, 1)
    scores = []
    for study, letter in (("better", "b"), ("first", "a")):
        trials = [world.bank.trial(study, f"{letter}{index}") for index in range(1, 6)]
        scores.append([trial.score or 0.0 for trial in trials])
    differences = np.subtract(*scores)
    assert comparison.trials.pairs == 5
    assert comparison.trials.mean == pytest.approx(differences.mean())
    assert comparison.trials.better == (differences > 0).sum()


def test_the_best_of_each_are_compared_person_by_person(tmp_path: Path) -> None:
    world = make_world(tmp_path, trials=1)
    world.add("better", "b0", seed=0, noise=0.1)
    best = compare_studies("better", "first", home=world.home.root).best
    assert best is not None
    assert best.trials == ("b0", "a0")
    assert best.people is not None
    people = {recording.subject for recording in world.validation}
    assert best.people.pairs == len(people)
    assert best.people.mean == pytest.approx(best.scores[0] - best.scores[1], abs=0.1)


def test_studies_without_shared_cells_have_no_best_pair(comparison: StudyComparison) -> None:
    # Each configuration has half of the seeds only.
    assert len(comparison.cells) == 6
    assert comparison.best is None


def test_the_command_says_what_was_paired(world: World) -> None:
    words = ["study", "compare", "better", "first", "--home", str(world.home.root)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0
    assert "1 trial in both are the same training: left out" in result.stdout
    document = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert document["trials"]["pairs"] == 5
    assert CliRunner().invoke(app, ["study", "compare", "better", "none"]).exit_code == 2


def test_few_pairs_have_no_p_and_one_has_no_interval() -> None:
    assert PairedDifference.of([]) == PairedDifference(0, None, None, None, 0, 0)
    one = PairedDifference.of([0.1])
    assert (one.interval, one.p) == (None, None)
    many = PairedDifference.of([0.1, 0.2, 0.1, 0.3, 0.2, 0.15])
    assert many.p == pytest.approx(0.03125)
    assert many.interval is not None
    assert many.interval[0] > 0
