"""Ensembles as runs of their own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from va_search.tracking.door import Place, open_client
from va_search.tracking.ensembles import TrackedEnsemble, TrackedVerdict, log_ensemble


def ensemble(valence: float = 0.6, recipe: str = "greedy") -> dict[str, Any]:
    """The parts of an ensemble's document that tracking reads; out-of-fold scores were impossible
    for the single."""
    member = {"study": "night", "trial": "0" * 16, "weight": 1.0}
    return {
        "name": "best-of-night",
        "recipe": recipe,
        "studies": ["night", "day"],
        "dimensions": {"valence": {"members": [member] * 3}, "arousal": {"members": [member]}},
        "scores": {
            "in_sample": {"valence": valence, "arousal": 0.7, "score": (valence + 0.7) / 2},
            "out_of_fold": {"valence": valence - 0.1, "arousal": 0.6, "score": (valence + 0.5) / 2},
        },
        "best_single": {
            "in_sample": {"valence": 0.5, "arousal": 0.6, "score": 0.55},
            "out_of_fold": None,
        },
    }


def test_every_score_says_what_it_was_measured_on() -> None:
    assert dict(TrackedEnsemble.from_json(ensemble()).metrics()) == pytest.approx({
        "in_sample_ccc_valence": 0.6,
        "in_sample_ccc_arousal": 0.7,
        "in_sample_score": 0.65,
        "out_of_fold_ccc_valence": 0.5,
        "out_of_fold_ccc_arousal": 0.6,
        "out_of_fold_score": 0.55,
        "best_single_in_sample_ccc_valence": 0.5,
        "best_single_in_sample_ccc_arousal": 0.6,
        "best_single_in_sample_score": 0.55,
        "members_valence": 3,
        "members_arousal": 1,
    })  # fmt: skip


def test_each_target_of_any_ensemble_has_its_metrics() -> None:
    member = {"study": "night", "trial": "0" * 16, "weight": 1.0}
    scores = {"in_sample": {"engagement": 0.5, "score": 0.5}, "out_of_fold": None}
    one = {
        **ensemble(),
        "dimensions": {"engagement": {"members": [member] * 2}},
        "scores": scores,
        "best_single": {},
    }
    wanted = {"in_sample_ccc_engagement": 0.5, "in_sample_score": 0.5, "members_engagement": 2}
    assert dict(TrackedEnsemble.from_json(one).metrics()) == wanted
    # A blend has no members of its own, and counts those of its parts once.
    blend = {**one, "dimensions": {}, "parts": [{"ensemble": one}, {"ensemble": one}]}
    assert dict(TrackedEnsemble.from_json(blend).metrics())["members_engagement"] == 1


def test_an_ensemble_is_a_run_in_its_first_studys_experiment(
    tmp_path: Path, empty_store: Path
) -> None:
    shutil.copyfile(empty_store, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    place = Place(uri, tmp_path / "artifacts")
    first = log_ensemble(place, ensemble())
    again = log_ensemble(place, ensemble(valence=0.8, recipe="mean"))
    other = log_ensemble(place, {**ensemble(), "name": "another"})
    assert first == again != other
    client = open_client(uri)
    run = client.get_run(first)
    assert client.get_experiment(run.info.experiment_id).name == "night"
    assert run.info.status == "FINISHED"
    assert run.data.metrics["in_sample_ccc_valence"] == pytest.approx(0.8)
    assert run.data.tags["va_search.ensemble"] == "best-of-night"
    assert run.data.tags["va_search.recipe"] == "mean"
    assert run.data.tags["va_search.studies"] == "night+day"
    (document,) = (tmp_path / "artifacts").glob(f"night/{first}/artifacts/ensemble.json")
    assert json.loads(document.read_text())["recipe"] == "mean"


def test_an_explanation_is_logged_with_the_ensemble(tmp_path: Path, empty_store: Path) -> None:
    shutil.copyfile(empty_store, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    place = Place(uri, tmp_path / "artifacts")
    folder = tmp_path / "explained"
    folder.mkdir()
    (folder / "adds.csv").write_text("dimension,gain\n")
    run = log_ensemble(place, ensemble(), folder)
    (logged,) = (tmp_path / "artifacts").glob(f"night/{run}/artifacts/explanation/*")
    assert (logged.name, logged.read_text()) == ("adds.csv", "dimension,gain\n")
    assert open_client(uri).get_run(run).info.status == "FINISHED"


def test_the_verdict_is_the_runs_description_and_a_file(tmp_path: Path, empty_store: Path) -> None:
    shutil.copyfile(empty_store, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    place = Place(uri, tmp_path / "artifacts")
    verdict = TrackedVerdict("verdict on ensemble best-of-night", "### Verdict")
    run = log_ensemble(place, ensemble(), verdict=verdict)
    assert open_client(uri).get_run(run).data.tags["mlflow.note.content"] == "### Verdict"
    (file,) = (tmp_path / "artifacts").glob(f"night/{run}/artifacts/verdict.txt")
    assert file.read_text() == "verdict on ensemble best-of-night\n"
    newer = TrackedVerdict("another", "### Another")
    assert log_ensemble(place, ensemble(), verdict=newer) == run
    assert open_client(uri).get_run(run).data.tags["mlflow.note.content"] == "### Another"
    assert file.read_text() == "another\n"


def test_a_place_that_takes_no_artifacts_costs_the_artifacts_alone(
    tmp_path: Path, empty_store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copyfile(empty_store, tmp_path / "mlflow.db")
    (tmp_path / "artifacts").write_text("a file where a folder should be made")
    place = Place(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path / "artifacts")
    run = open_client(place.uri).get_run(log_ensemble(place, ensemble()))
    assert run.info.status == "FINISHED"
    assert run.data.metrics["out_of_fold_score"] == pytest.approx(0.55)
    assert "has the scores of ensemble best-of-night, but no artifacts: " in caplog.text
