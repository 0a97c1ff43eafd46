"""Ensembles of one target and of three with ranges of their own: each by its own labelled frames."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from folds_world import make_folds_world
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from target_trials import TargetWorld, make_target_world
from target_world import ONE, THREE
from trial_world import make_trial

from va_search.data.store import MIX, Recording, frames_hash
from va_search.ensemble import compare
from va_search.ensemble.build import build
from va_search.ensemble.credit import Credits
from va_search.ensemble.explain import explain_ensemble
from va_search.ensemble.folds import make_folds
from va_search.ensemble.fresh import content_id
from va_search.ensemble.material import gather
from va_search.ensemble.pictures import draw
from va_search.ensemble.recipe import load_recipe, read_recipe
from va_search.ensemble.saved import Ensemble, predict, read_ensemble
from va_search.ensemble.verdict import verdict_of
from va_search.errors import InputError
from va_search.metrics import ccc
from va_search.predictions.bank import Predictions
from va_search.targets import Target, names
from va_search.trial_settings import TrialSettings

MEAN = read_recipe("mean", {"method": "mean"})
Targets = tuple[Target, ...]
WORLDS = pytest.mark.parametrize("targets", [ONE, THREE], ids=["one", "three"])


@WORLDS
def test_each_target_is_scored_on_its_own_labelled_frames(tmp_path: Path, targets: Targets) -> None:
    world = make_target_world(tmp_path, targets)
    built = build(world.home, ["first"], MEAN, "e")
    members = [world.predictions(f"a{number}").astype(np.float64) for number in range(5)]
    mean, labels = np.mean(members, axis=0), world.labels
    expected = {t.name: ccc(mean[:, i], labels[:, i]) for i, t in enumerate(targets)}
    in_sample = built.scores["in_sample"]
    assert in_sample is not None and list(in_sample) == [*expected, "score"]
    assert_allclose([in_sample[name] for name in expected], list(expected.values()), atol=1e-12)
    assert in_sample["score"] == pytest.approx(np.mean(list(expected.values())))
    assert list(built.dimensions) == list(expected) == list(built.target_names)
    # of every recording 5 frames have no label at all, and 5 others none of one target
    assert built.measured_on.labelled_frames == 3 * (50 if len(targets) == 1 else 55)
    if len(targets) == 3:
        assert built.measured_on.labelled_by_target == dict.fromkeys(expected, 3 * 50)


@WORLDS
def test_the_best_trial_is_chosen_again_in_every_fold(tmp_path: Path, targets: Targets) -> None:
    world = make_target_world(tmp_path, targets)
    built = build(world.home, ["first"], read_recipe("best", {"method": "best"}), "e")
    out_of_fold = built.scores["out_of_fold"]
    assert out_of_fold is not None and built.measured_on.folds == 3
    for index, target in enumerate(targets):
        stitched = _stitched(world, index, [0, 1, 2])
        expected = ccc(stitched, world.labels[:, index])
        assert out_of_fold[target.name] == pytest.approx(expected, abs=1e-12)
    assert built.intervals is not None
    intervals = built.intervals["ensemble"]
    assert intervals is not None and list(intervals) == [*names(targets), "score"]
    for name, interval in intervals.items():
        assert interval is not None and interval[0] <= out_of_fold[name] <= interval[1]
    assert (built.best_for_both is None) == (len(targets) == 1)
    assert verdict_of(built).outcome == "same"


def _stitched(world: TargetWorld, index: int, parts: list[int]) -> NDArray[np.float64]:
    """(frames,) of one target: each recording by the trial that is best on the others of `parts`."""
    recordings, labels = world.store.split("validation"), world.labels[:, index]
    rows = _rows(recordings)
    columns = [world.predictions(f"a{number}")[:, index] for number in range(5)]
    stitched = np.zeros(len(labels))
    for part in parts:
        others = np.concatenate([rows[other] for other in parts if other != part])
        best = max(columns, key=lambda column: ccc(column[others], labels[others]))
        stitched[rows[part]] = best[rows[part]]
    return stitched


def _rows(recordings: tuple[Recording, ...]) -> list[NDArray[np.intp]]:
    ends = np.cumsum([recording.frames for recording in recordings])
    return np.split(np.arange(ends[-1]), ends[:-1])


def test_recordings_without_labels_of_a_target_are_in_none_of_its_folds(tmp_path: Path) -> None:
    world = make_target_world(tmp_path, THREE, unlabelled={"stress": [5]})
    built = build(world.home, ["first"], read_recipe("best", {"method": "best"}), "e")
    out_of_fold, labels = built.scores["out_of_fold"], world.labels
    assert out_of_fold is not None and built.measured_on.labelled_by_target is not None
    assert built.measured_on.labelled_by_target["stress"] == 2 * 50
    expected = ccc(_stitched(world, 2, [0, 2]), labels[:, 2])
    assert out_of_fold["stress"] == pytest.approx(expected, abs=1e-12)
    assert built.best_for_both is not None
    assert built.best_for_both.scores["out_of_fold"] is not None


def test_a_target_labelled_in_one_recording_has_no_out_of_fold_score(tmp_path: Path) -> None:
    world = make_target_world(tmp_path, THREE, unlabelled={"stress": [5, 6]})
    built = build(world.home, ["first"], load_recipe("bagged_greedy"), "e")
    assert built.scores["out_of_fold"] is None and built.scores["in_sample"] is not None
    assert built.dimensions["stress"].scores.out_of_fold is None
    assert built.dimensions["valence"].scores.out_of_fold is not None
    verdict = verdict_of(built)
    assert verdict.outcome == "unknown"
    assert "stress: its labelled recordings are all in one fold" in verdict.text


def test_folds_spread_every_target() -> None:
    recordings = [
        Recording(f"r{n}", f"s{n}", f"r{n}", "validation", None, 0, 10, 10.0, ()) for n in range(4)
    ]
    # the second target is labelled in the two small recordings only
    labelled = np.array([[90, 0], [50, 0], [10, 10], [9, 9]])
    assert make_folds(recordings, labelled, at_most=2).parts == ((0, 3), (1, 2))


@WORLDS
@pytest.mark.parametrize("name", ["greedy", "bagged_greedy", "exact", "nnls_matched", "auto"])
def test_every_recipe_works_on_any_targets(tmp_path: Path, targets: Targets, name: str) -> None:
    world = make_target_world(tmp_path, targets)
    built = build(world.home, ["first"], load_recipe(name), "e")
    values = predict(built, world.bank, "test", world.store.split("test"))
    assert values.shape == (2 * 60, len(targets)) and np.isfinite(values).all()
    # each column on its own target's scale
    middles = [(target.low + target.high) / 2 for target in targets]
    halves = np.array([(target.high - target.low) / 2 for target in targets])
    assert (np.abs(values.mean(axis=0) - middles) < 0.5 * halves).all()


def test_the_file_names_any_targets_and_valence_and_arousal_as_ever(tmp_path: Path) -> None:
    three = make_target_world(tmp_path / "three", THREE)
    built = build(three.home, ["first"], MEAN, "e")
    document = json.loads(three.home.ensemble("e").read_text())
    assert "label_range" not in document
    assert document["targets"][1] == {"name": "arousal", "low": 0.0, "high": 1000.0}
    assert read_ensemble(three.home, "e") == built and built.targets == THREE
    affect = make_target_world(tmp_path / "two", THREE[:1])
    renamed = build(affect.home, ["first"], MEAN, "e")
    classic = renamed.model_dump(mode="json") | {"label_range": [-1, 1]}
    del classic["targets"]
    again = Ensemble.model_validate(classic)
    assert again.target_names == ("valence", "arousal")
    dumped = again.model_dump(mode="json")
    assert dumped["label_range"] == [-1.0, 1.0] and "targets" not in dumped
    assert list(dumped)[8:10] == ["label_range", "frames_hash"]
    assert content_id(again) != content_id(renamed)
    with pytest.raises(InputError, match="label_range"):
        three.home.ensemble("e").write_text(json.dumps(classic | {"label_range": 3}))
        read_ensemble(three.home, "e")


def test_a_trial_is_a_member_for_the_targets_that_it_predicts(tmp_path: Path) -> None:
    world = make_target_world(tmp_path, THREE, trials=2)
    world.add("half", 9, 0.2, only=("stress",))
    built = build(world.home, ["first"], MEAN, "e")
    members = {
        target: {member.trial for member in weighted.members}
        for target, weighted in built.dimensions.items()
    }
    assert members["stress"] == {"a0", "a1", "half"}
    assert members["valence"] == members["arousal"] == {"a0", "a1"}
    assert "left out of arousal, which they don't predict: first/half" in built.notes
    assert built.best_for_both is not None and built.best_for_both.trial in ("a0", "a1")


def test_a_trial_of_other_targets_is_left_out_and_counted(tmp_path: Path) -> None:
    world = make_target_world(tmp_path, ONE, trials=2)
    other = world.bank.trial("first", "a0")
    predictions = {split: world.predictions("a0", split) for split in ("validation", "test")}
    world.bank.write(
        replace(other, id="other", targets=("liking",)),
        {
            split: Predictions(values, frames_hash(world.store.split(split)))
            for split, values in predictions.items()
        },
    )
    built = build(world.home, ["first"], MEAN, "e")
    assert built.left_out == {"predicts none of this store's targets": 1}
    assert built.candidates == 2


def test_a_target_that_nobody_predicts_is_refused(tmp_path: Path) -> None:
    world = make_target_world(tmp_path, THREE, trials=0)
    world.add("half", 9, 0.2, only=("valence", "stress"))
    with pytest.raises(InputError, match="no candidate predicts arousal, of 1 in all"):
        build(world.home, ["first"], MEAN, "e")


def test_a_recipes_settings_for_one_target(tmp_path: Path) -> None:
    world = make_target_world(tmp_path, THREE)
    recipe = read_recipe("r", {"method": "mean", "stress": {"method": "top_k", "k": 2}})
    built = build(world.home, ["first"], recipe, "e")
    counts = [len(weighted.members) for weighted in built.dimensions.values()]
    assert counts == [5, 5, 2]
    alone = read_recipe("r", {"stress": {"method": "mean"}})
    with pytest.raises(InputError, match="recipe r: it has no method for target valence"):
        build(world.home, ["first"], alone, "f")
    wrong = read_recipe("r", {"method": "mean", "stres": {"method": "best"}})
    with pytest.raises(InputError, match=r"unknown target 'stres'; did you mean 'stress'\?"):
        build(world.home, ["first"], wrong, "f")
    # what is nearly a key of a recipe is one
    with pytest.raises(InputError, match=r"unknown key 'smoth'; did you mean 'smooth'\?"):
        read_recipe("r", {"method": "mean", "smoth": {"seconds": 1}})


def test_settings_for_valence_and_arousal_on_a_store_without_them(tmp_path: Path) -> None:
    world = make_target_world(tmp_path, ONE)
    # a shipped recipe has a default, which is used
    shipped = build(world.home, ["first"], load_recipe("paper/ensemble_1"), "shipped")
    assert [len(weighted.members) for weighted in shipped.dimensions.values()] == [5]
    assert any(
        "its settings for valence and arousal are not used" in note for note in shipped.notes
    )
    # one's own says something that can't be meant
    own = read_recipe("own", {"method": "top_k", "valence": {"k": 2}})
    with pytest.raises(InputError, match="recipe own: valence: unknown target 'valence'"):
        build(world.home, ["first"], own, "own")


def test_statistics_of_targets_with_hyphens_are_kept_apart(tmp_path: Path) -> None:
    targets = (replace(THREE[0], name="skin"), replace(THREE[1], name="skin-heat"))
    world = make_target_world(tmp_path, targets, trials=1)
    for number in range(1, 7):
        world.add(f"a{number}", number, 0.5)
        build(world.home, ["first"], MEAN, "e", force=True)
    files = [path.name for path in world.home.study("first").glob("statistics/*.members.npz")]
    assert sorted(name.rpartition("-")[0] for name in files) == ["skin", "skin-heat"]


@WORLDS
def test_credits_count_every_target(tmp_path: Path, targets: Targets) -> None:
    world = make_target_world(tmp_path, targets, trials=4)
    trials = [("first", f"a{number}") for number in range(4)]
    credits = Credits(world.home, world.store)(trials)
    assert set(credits) == set(trials) and credits["first", "a0"] > credits["first", "a3"]
    if len(targets) == 3:
        world.add("half", 9, 0.2, only=("stress",))
        assert not Credits(world.home, world.store)([("first", "half"), *trials]).keys() - set(
            trials
        )


@WORLDS
def test_explained_and_drawn(tmp_path: Path, targets: Targets) -> None:
    world = make_target_world(tmp_path, targets)
    built = build(world.home, ["first"], load_recipe("greedy"), "e")
    explained = explain_ensemble(built, gather(world.home, ["first"], None, outside=True))
    assert tuple(explained) == names(targets)
    assert all(path.is_file() for path in draw(explained, tmp_path / "pictures"))


def test_recipes_are_compared_by_the_mean_over_targets(tmp_path: Path) -> None:
    world = make_target_world(tmp_path, THREE)
    materials = gather(world.home, ["first"], None, outside=True)
    rows = compare.compare([load_recipe("best"), load_recipe("mean")], materials)
    for row in rows:
        assert row.out_of_fold is not None
        scores = [row.out_of_fold[target.name] for target in THREE]
        assert row.out_of_fold["score"] == pytest.approx(np.mean(scores))


@WORLDS
def test_trials_without_validation_are_averaged_for_each_target(
    tmp_path: Path, targets: Targets
) -> None:
    world = make_target_world(tmp_path, targets, trials=2)
    lines_up = frames_hash(world.store.split("test"))
    for trial in ("a0", "a1"):
        settings = TrialSettings(features=("face",), fold=MIX)
        record = make_trial("mix", trial, settings=settings, on=world.store)
        test = {"test": Predictions(world.predictions(trial, "test"), lines_up)}
        world.bank.write(replace(record, targets=names(targets)), test)
    built = build(world.home, ["mix"], load_recipe("paper/train_val_mix"), "e")
    assert list(built.dimensions) == list(names(targets)) and built.candidates == 2
    values = predict(built, world.bank, "test", world.store.split("test"))
    members = [world.predictions(trial, "test").astype(np.float64) for trial in ("a0", "a1")]
    assert_allclose(values, np.mean(members, axis=0), rtol=1e-12)


def test_configurations_of_other_targets_are_left_out(tmp_path: Path) -> None:
    world = make_folds_world(tmp_path, complete=2, mixed=0)
    trials = world.bank.trials("first")
    recorded = world.bank.trial("first", trials[0])
    predictions = {}
    for split, noted in recorded.predictions.items():
        values = world.bank.read("first", trials[0], split, frames_hash=noted.frames_hash)
        predictions[split] = Predictions(values, noted.frames_hash)
    world.bank.write(replace(recorded, targets=("valence", "stress")), predictions)
    built = build(world.home, ["first"], load_recipe("paper/six_fold"), "e")
    assert built.candidates == 1
    assert built.left_out["predicts other targets than this store's"] == 1
