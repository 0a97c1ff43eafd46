"""The paper's five submissions: Table 6 filled, scored on what was written, and blind to test
annotations."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from folds_world import FoldsWorld, make_folds_world, make_store

from va_search.data.store import Store
from va_search.ensemble.saved import read_ensemble
from va_search.errors import InputError
from va_search.home import Home
from va_search.submission import predict
from va_search.submission.scoring import read_submission, scores_of
from va_search.submission.strategies import STRATEGIES, write_submissions

STUDIES = ["first", "mix"]


@pytest.fixture
def world(tmp_path: Path) -> FoldsWorld:
    return make_folds_world(tmp_path, complete=9)


def write_labels(folder: Path, store: Store) -> np.ndarray:
    folder.mkdir()
    rng, parts = np.random.default_rng(3), []
    for recording in store.split("test"):
        values = np.clip(5 + rng.normal(size=(recording.frames, 2)), 0.5, 9.5).round(5)
        text = [f"{valence:.5f},{arousal:.5f}" for valence, arousal in values]
        (folder / f"{recording.name}.csv").write_text("\n".join(["valence,arousal", *text]) + "\n")
        parts.append(values)
    return np.concatenate(parts)


def test_all_five_are_written_and_scored(world: FoldsWorld, tmp_path: Path) -> None:
    labels = write_labels(tmp_path / "labels", world.store)
    made = write_submissions(world.home, STUDIES, out=tmp_path / "out", labels=tmp_path / "labels")
    assert [(row.submission, row.strategy, row.recipe) for row in made.rows] == [
        (n, title, recipe) for n, (recipe, title) in enumerate(STRATEGIES.items(), start=1)
    ]
    by_recipe = {row.recipe: row for row in made.rows}
    assert all(row.problem is None for row in made.rows)
    assert {name: row.members for name, row in by_recipe.items() if name != "ensemble_2"} == {
        "ensemble_1": {"valence": 7, "arousal": 9},  # nine there are
        "train_val_mix": {"valence": 2, "arousal": 2},
        "ensemble_3": {"valence": 9, "arousal": 11},
        "six_fold": {"valence": 9, "arousal": 9},
    }
    second = read_ensemble(world.home, "first-ensemble_2").dimensions
    first = read_ensemble(world.home, "first-ensemble_1").dimensions
    for dimension in ("valence", "arousal"):  # a subset, and better on validation
        names = [{member.trial for member in one[dimension].members} for one in (first, second)]
        assert names[1] <= names[0]
        scores = [one[dimension].scores.in_sample or 0.0 for one in (first, second)]
        assert scores[1] >= scores[0]
    for name in ("train_val_mix", "ensemble_3"):
        assert by_recipe[name].in_sample is None and by_recipe[name].out_of_fold is None
    assert by_recipe["six_fold"].measured_on == {"fold": "all", "recordings": 10, "reason": None}
    for row in made.rows:
        written = read_submission(tmp_path / "out" / row.recipe, world.store)
        assert row.test == scores_of(written, labels)
        ensemble = read_ensemble(world.home, str(row.ensemble))
        expected = np.clip(
            predict(ensemble, world.bank, "test", world.store.split("test")), 0.5, 9.5
        )
        np.testing.assert_allclose(written, expected, atol=1e-6)
    saved = json.loads((world.home.study("first") / "submissions.json").read_text())
    assert saved == made.document() and saved["studies"] == STUDIES
    assert saved["labels"] == str((tmp_path / "labels").resolve())


def test_the_same_call_again_replaces_all(world: FoldsWorld, tmp_path: Path) -> None:
    first = write_submissions(world.home, STUDIES, out=tmp_path / "out")
    assert all(row.test is None for row in first.rows) and first.labels is None
    write_labels(tmp_path / "labels", world.store)
    world.train("first", 0, again=1)
    again = write_submissions(world.home, STUDIES, out=tmp_path / "out", labels=tmp_path / "labels")
    assert again.rows[0].in_sample != first.rows[0].in_sample and again.rows[0].test is not None


def test_a_strategy_without_trials_is_a_row_with_its_problem(
    world: FoldsWorld, tmp_path: Path
) -> None:
    world.train("official", 0, ("official",))
    made = write_submissions(world.home, ["official"], out=tmp_path / "out", prefix="p")
    problems = {row.recipe: row.problem for row in made.rows}
    assert problems["ensemble_1"] is None and problems["ensemble_2"] is None
    assert "no trial of fold train_val_mix in official" in str(problems["train_val_mix"])
    assert "no trial of fold train_val_mix in official" in str(problems["ensemble_3"])
    assert "configuration not trained on folds 0, 1 and 2 (use folds: all)" in str(
        problems["six_fold"]
    )
    assert {row.ensemble for row in made.rows} == {"p-ensemble_1", "p-ensemble_2", None}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "ensemble_1",
        "ensemble_2",
    ]
    assert {one.name for one in made.ensembles} == {"p-ensemble_1", "p-ensemble_2"}


def test_wrong_input_is_refused_before_anything_is_written(
    world: FoldsWorld, tmp_path: Path
) -> None:
    (tmp_path / "out" / "six_fold").mkdir(parents=True)
    (tmp_path / "out" / "six_fold" / "mine.txt").write_text("mine")
    world.home.ensemble("first-ensemble_2").parent.mkdir(parents=True)
    made = write_submissions(world.home, STUDIES, out=tmp_path / "other", prefix="a")
    path = world.home.ensemble("first-ensemble_2")
    renamed = {"name": path.stem, "recipe": "greedy"}
    path.write_text(json.dumps({**made.ensembles[0].model_dump(mode="json"), **renamed}))
    with pytest.raises(InputError) as error:
        write_submissions(world.home, STUDIES, out=tmp_path / "out", labels=tmp_path / "nowhere")
    found = "\n".join(error.value.problems)
    assert "six_fold: not empty and no earlier submission" in found
    assert "'first-ensemble_2' exists, of recipe greedy; choose another --prefix" in found
    assert f"{tmp_path / 'nowhere'}: no such folder" in found
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["six_fold"]
    with pytest.raises(InputError, match="unknown study 'frist'"):
        write_submissions(world.home, ["frist"], out=tmp_path / "out")
    with pytest.raises(InputError, match="can't be used as a file name"):
        write_submissions(world.home, STUDIES, out=tmp_path / "out", prefix="../x")


def test_annotations_of_test_recordings_are_never_seen(tmp_path: Path) -> None:
    """Poison: the same trials, said to be of a store whose test recordings carry wild labels,
    judged on that store."""
    world = make_folds_world(tmp_path, complete=4)
    poisoned = make_store(tmp_path / "poisoned", test_labels=1e3)
    test = poisoned.split("test")
    assert np.isfinite(poisoned.annotations[test[0].start : test[-1].stop]).all()
    found = []
    for name, store in (("clean", world.store), ("poisoned", poisoned)):
        home = Home(tmp_path / f"home-{name}")
        shutil.copytree(world.home.bank, home.bank)
        for path in home.bank.glob("*/*/trial.json"):
            record = json.loads(path.read_text())
            del record["seal"]  # as a record from before there were seals
            settings = record["settings"]
            path.write_text(
                json.dumps(
                    {**record, "data_hash": store.data_hash(settings["features"], settings["fold"])}
                )
            )
        made = write_submissions(
            home, STUDIES, out=tmp_path / f"out-{name}", store=store, prefix="e"
        )
        documents = [
            one.model_dump(mode="json", exclude={"created_at", "store"}) for one in made.ensembles
        ]
        for document in documents:
            for part in document["parts"]:
                del part["ensemble"]["created_at"], part["ensemble"]["store"]
        files = {
            f"{path.parent.name}/{path.name}": path.read_bytes()
            for path in sorted((tmp_path / f"out-{name}").glob("*/*.csv"))
        }
        found.append((documents, files, [(row.in_sample, row.out_of_fold) for row in made.rows]))
    assert len(found[0][1]) == 10
    assert found[0] == found[1]
