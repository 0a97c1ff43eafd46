"""`status` and `bank list` of studies over several folds, with failed and missing ones, and trials
without scores."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from trial_world import make_trial
from typer.testing import CliRunner

from va_search.cli.main import app
from va_search.data.draft import Description, Draft, Part, Source
from va_search.data.store import Store, frames_hash
from va_search.home import Home
from va_search.predictions.bank import Predictions
from va_search.search.study import Study
from va_search.targets import affect
from va_search.trial_settings import TrialSettings, trial_id

ROWS = (("train", 1), ("train", 2), ("train", 3), ("validation", 4), ("test", None))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Five recordings; fold 4 is the official split."""
    sources = [
        Source(f"r{i}", f"s{i}", f"r{i}", split, fold, 25.0, ())
        for i, (split, fold) in enumerate(ROWS)
    ]
    draft = Draft(
        tmp_path / "store",
        Description("tiny", affect(-1.0, 1.0), {"face": ("visual", ("a",))}),
        sources,
    )
    for index in range(len(sources)):
        draft.add(index, Part({"face": np.zeros((4, 1))}))
    return draft.finish()


@pytest.fixture
def study(tmp_path: Path, store: Store) -> Study:
    found = Study(Home(tmp_path / "home"), "s")
    found.begin(store, {"sampler": "grid", "folds": "all", "settings": {"features": ["face"]}})
    return found


Add = Callable[..., str]


@pytest.fixture
def add(study: Study, store: Store) -> Add:
    """A trial of the study: complete with this valence (arousal .1 more), or failed without."""

    def put(fold: str | int, value: float | None, seed: int = 0) -> str:
        settings = TrialSettings(features=("face",), encoder="gru", fold=fold, seed=seed)
        trial = trial_id(settings, store.data_hash(("face",), fold))
        document = settings.model_dump(mode="json")
        if value is None:
            study.record_failure(trial, document, "Traceback\nOutOfMemoryError: no")
            return trial
        ccc = (value, value + 0.1) if fold != "train_val_mix" else None
        test = Predictions(np.zeros((4, 2), np.float32), frames_hash(store.split("test")))
        study.bank.write(make_trial("s", trial, settings=settings, ccc=ccc), {"test": test})
        return trial

    return put


def run(*command: str) -> str:
    result = CliRunner().invoke(app, [*command])
    assert result.exit_code == 0, result.output
    return " ".join(result.stdout.split())


def status(study: Study, *more: str) -> str:
    return run("status", "s", "--home", str(study.home.root), *more)


def test_folds_are_told_like_the_papers_table_with_what_is_missing_or_failed(
    study: Study, add: Add
) -> None:
    for fold, value in ((1, 0.2), ("official", 0.4)):
        add(fold, value)
    add(2, None)
    text = status(study)
    assert "│ 4 (official) │ 1 │ 0.400 │ 0.500 │ 0.450 │ complete │" in text
    assert "│ 2 │ 1 │ – │ – │ – │ failed │" in text and "│ 3 │ 1 │ – │ – │ – │ missing │" in text
    assert "│ Average │ │ 0.300 │ 0.400 │ 0.350 │ 2 of 4 folds │" in text
    assert "│ Spread over folds │ │ 0.141 │" in text
    assert "Failed: the training failed there; the same search tries it again alone." in text
    assert "Missing: not trained on that fold yet; the same search goes on with it." in text
    (row,) = json.loads(status(study, "--json"))["folds"]
    assert row["complete"] is False and row["cells"]["2"] == {"state": "failed", "values": {}}
    assert row["average"]["valence"]["n"] == 2


def test_seeds_of_a_fold_are_mean_and_deviation(study: Study, add: Add) -> None:
    for fold in (1, 2, 3, "official"):
        for seed in (0, 1):
            add(fold, 0.2 + seed / 10, seed)
    text = status(study)
    assert "2 seeds, mean ± sd" in text and "│ 1 │ 1 │ 0.250 ± 0.071 │ 0.350 ± 0.071 │" in text
    assert "Failed:" not in text and "Missing:" not in text


def test_without_the_store_folds_are_told_as_the_trials_have_them(
    study: Study, add: Add, store: Store
) -> None:
    add(1, 0.2)
    add("official", 0.4)
    store.path.rename(store.path.with_name("moved"))
    text = status(study)
    assert "│ official │ – │ 0.400 │" in text and "2 of 2 folds" in text


def test_one_fold_makes_no_fold_table(tmp_path: Path, store: Store, add: Add, study: Study) -> None:
    study.begin(store, {"sampler": "grid", "folds": ["official"], "settings": {}})
    add("official", 0.4)
    text = status(study)
    assert "Best trials" in text and "over folds" not in text
    assert json.loads(status(study, "--json"))["folds"] == []


def test_trials_without_validation_are_counted_and_not_ranked(
    study: Study, add: Add, store: Store
) -> None:
    study.begin(store, {"sampler": "grid", "folds": ["train_val_mix"], "settings": {}})
    mixed = add("train_val_mix", 0.0)
    text = status(study)
    assert "1 trial complete, 0 failed" in text
    assert "1 trial has no validation (train_val_mix): test predictions only" in text
    assert "Best trials" not in text and mixed not in text
    listed = run("bank", "list", "s", "--home", str(study.home.root))
    assert "│ train_val_mix │ none │ none │" in listed
    assert "none: no validation (train_val_mix), only test predictions" in listed
    assert json.loads(status(study, "--json"))["complete"][0]["best"] == {}


def test_scored_and_unscored_trials_beside_one_another(study: Study, add: Add) -> None:
    add("train_val_mix", 0.0)
    add("official", 0.4)
    text = status(study)
    assert "Best trials" in text and "1 trial has no validation" in text


def test_a_search_for_both_shows_its_pareto_set(study: Study, add: Add, store: Store) -> None:
    study.begin(store, {"sampler": "tpe", "objective": "both", "settings": {"features": ["face"]}})
    add("official", 0.3)
    best = add("official", 0.5, seed=1)
    document = json.loads(status(study, "--json"))
    assert document["pareto"] == [{"trial": best, "valence": 0.5, "arousal": 0.6}]
    assert "Pareto set (validation CCC of each target's best epoch) ┏" in status(study)


def test_folders_whose_names_are_none_are_told_and_stop_nothing(study: Study, add: Add) -> None:
    add(1, 0.2)
    home = study.home.root
    for path in ("bank/my study/t/trial.json", "bank/s/t 1/trial.json", "studies/a b/study.json"):
        (home / path).parent.mkdir(parents=True)
        (home / path).write_text("{}")
    for arguments, folders in (
        ((), ("bank/my study", "studies/a b")),
        (("s",), ("bank/s/t 1",)),
        (("unknown",), ("bank/my study", "studies/a b")),
    ):
        command_line = [sys.executable, "-m", "va_search.cli.main", "status", *arguments]
        done = subprocess.run(
            [*command_line, "--home", str(home)], capture_output=True, text=True, check=False
        )
        assert done.returncode == (2 if arguments == ("unknown",) else 0), done.stderr
        for folder in folders:
            assert f"{home / folder}: passed over, since its name can't be" in " ".join(
                done.stderr.split()
            )


def test_trials_are_ranked_by_any_measure_with_the_settings_that_vary(
    study: Study, store: Store
) -> None:
    best: dict[str, str] = {}
    for index in range(12):
        settings = TrialSettings(
            features=("face",),
            encoder="gru",
            normalise=("train", "recording", "subject")[index % 3],
            width=32 * (1 + index // 3),
        )
        trial = trial_id(settings, store.data_hash(("face",), "official"))
        high = index % 3 == 0
        ccc = (0.1 + 0.01 * index + 0.4 * high, 0.5 - 0.01 * index)
        test = Predictions(np.zeros((4, 2), np.float32), frames_hash(store.split("test")))
        seconds = 100.0 - index
        complete = make_trial("s", trial, settings=settings, ccc=ccc, seconds=seconds)
        study.bank.write(complete, {"test": test})
        best.setdefault("arousal", trial)
        best["seconds"] = trial
        if high:
            best["valence"] = trial
    for measure, trial in best.items():
        document = json.loads(status(study, "--by", measure, "--best", "1", "--json"))
        assert document["by"] == measure
        (first,) = document["best_trials"]
        # The encoder is the same everywhere; each recording is of its own subject.
        assert first["trial"] == trial and first["settings"].keys() == {"normalise", "width"}
        assert first["settings"]["normalise"] in ("train", "recording or subject")
    document = json.loads(status(study, "--by", "valence", "--json"))
    decisive = document["decisive"][0]
    assert (decisive["setting"], decisive["best"]) == ("normalise", "train")
    assert 0.3 < decisive["difference"] < 0.5 and decisive["interval"][0] > 0
    text = status(study, "--by", "valence")
    assert "Best trials by valence" in text and "What decided valence" in text
    sentence = decisive["sentence"]
    assert sentence.startswith("normalise: train +0.") and sentence.split(" (")[0] in text
    assert "over recording or subject (95 %" in sentence
    assert "What decided" not in status(study, "--by", "seconds")
    wrong = CliRunner().invoke(
        app, ["status", "s", "--by", "valense", "--home", str(study.home.root)]
    )
    assert wrong.exit_code == 2 and "did you mean 'valence'?" in wrong.stderr


def test_few_trials_decide_nothing(study: Study, add: Add) -> None:
    add(1, 0.2)
    add("official", 0.4, seed=1)
    assert "What decided" not in status(study), "nothing varies but seed and fold"
    assert status(study, "--by", "valence")
    settings = TrialSettings(features=("face",), encoder="mlp")
    study.bank.write(make_trial("s", "t3", settings=settings, ccc=0.1), {})
    assert "too few trials to tell (2 configurations, 6 are needed)." in status(study)
