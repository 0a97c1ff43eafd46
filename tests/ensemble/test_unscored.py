"""What can't be chosen or judged says so: the mean of Train-Val-Mix trials, and blends of whole
ensembles."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ensemble_world import make_world
from folds_world import FoldsWorld, make_folds_world

from va_search.data.store import frames_hash, positions
from va_search.ensemble.build import build
from va_search.ensemble.material import gather
from va_search.ensemble.post_processing import finished
from va_search.ensemble.recipe import load_recipe, read_recipe
from va_search.ensemble.saved import Ensemble, read_ensemble
from va_search.errors import InputError
from va_search.metrics import ccc
from va_search.submission import predict, submit
from va_search.tracking.ensembles import TrackedEnsemble

STUDIES = ["first", "mix"]


@pytest.fixture
def world(tmp_path: Path) -> FoldsWorld:
    return make_folds_world(tmp_path)


def paper(world: FoldsWorld, name: str) -> Ensemble:
    return build(world.home, STUDIES, load_recipe(f"paper/{name}"), name)


def test_train_val_mix_counts_all_alike_and_has_no_score(world: FoldsWorld) -> None:
    built = paper(world, "train_val_mix")
    assert read_ensemble(world.home, "train_val_mix") == built
    assert built.scores == built.best_single == {"in_sample": None, "out_of_fold": None}
    assert (built.measured_on.fold, built.measured_on.recordings) == ("train_val_mix", 0)
    assert "no validation is left" in str(built.measured_on.reason)
    for part in built.dimensions.values():
        assert [member.weight for member in part.members] == [0.5, 0.5]
        assert (
            part.best_single is None
            and part.scores.in_sample is None
            and part.members[0].ccc is None
        )
    assert built.left_out == {"trained on fold 0": 3, "trained on fold 1": 3, "trained on fold 2": 3,
                              "trained on fold official": 3}  # fmt: skip
    test = world.store.split("test")
    each = [
        world.bank.read("mix", t, "test", frames_hash=frames_hash(test))
        for t in world.bank.trials("mix")
    ]
    np.testing.assert_allclose(
        predict(built, world.bank, "test", test), np.mean(np.array(each, float), axis=0)
    )


def test_train_val_mix_trials_on_data_that_changed_are_left_out(world: FoldsWorld) -> None:
    now = paper(world, "train_val_mix")
    old = world.bank.trial("mix", world.bank.trials("mix")[0])
    for number in range(3):
        stale = replace(old, study="old", id=f"a{number}", data_hash="that of the day before")
        world.bank.write(
            stale,
            {"test": world.predicted(world.store.split("test"), [number], 1.0)},
        )
    recipe = load_recipe("paper/train_val_mix")
    built = build(world.home, [*STUDIES, "old"], recipe, "both")
    assert built.left_out == {**now.left_out, "trained on data that changed since": 3}
    assert built.dimensions == now.dimensions and built.candidates == 2
    with pytest.raises(
        InputError,
        match=r"no trial of fold train_val_mix in old \(3 left out: trained on data that",
    ):
        build(world.home, ["old"], recipe, "none")


def test_train_val_mix_may_be_smoothed_but_nothing_chosen(world: FoldsWorld) -> None:
    document = {"method": "mean", "members": {"folds": "train_val_mix"}, "smooth": {"seconds": 0.5}}
    plain, smooth = (
        paper(world, "train_val_mix"),
        build(world.home, STUDIES, read_recipe("s", document), "s"),
    )
    test = world.store.split("test")
    expected = finished(
        predict(plain, world.bank, "test", test), test, smooth.dimensions["valence"].post
    )
    np.testing.assert_allclose(predict(smooth, world.bank, "test", test), expected)
    assert smooth.dimensions["valence"].post.window_seconds == 0.5
    with pytest.raises(InputError, match="can't be chosen from, compared or explained"):
        gather(world.home, STUDIES, None, outside=True, folds="train_val_mix")


def test_no_trial_of_the_mix_is_said(world: FoldsWorld) -> None:
    with pytest.raises(
        InputError, match=r"no trial of fold train_val_mix in first .*3 left out: trained on fold 0"
    ):
        build(world.home, ["first"], load_recipe("paper/train_val_mix"), "e")


def test_mix_trials_are_no_candidates_of_other_recipes(world: FoldsWorld) -> None:
    built = paper(world, "ensemble_1")
    assert built.left_out["trained on train_val_mix, which leaves nothing to validate on"] == 2
    with pytest.raises(
        InputError, match=r"line up with a validation fold .*leaves nothing to validate on"
    ):
        build(world.home, ["mix"], read_recipe("mean", {"method": "mean"}), "e")


def test_a_blend_is_the_weighted_mean_of_finished_ensembles(
    world: FoldsWorld, tmp_path: Path
) -> None:
    built = paper(world, "ensemble_3")
    assert [(part.share, part.ensemble.recipe) for part in built.parts] == [
        (0.5, "ensemble_1"),
        (0.5, "train_val_mix"),
    ]
    assert built.dimensions == {} and built.scores == {"in_sample": None, "out_of_fold": None}
    assert "train_val_mix has no validation score, so the blend has none" in str(
        built.measured_on.reason
    )
    test = world.store.split("test")
    halves = [
        predict(paper(world, name), world.bank, "test", test)
        for name in ("ensemble_1", "train_val_mix")
    ]
    np.testing.assert_allclose(
        predict(built, world.bank, "test", test), (halves[0] + halves[1]) / 2
    )
    assert (
        submit(built, world.store, world.bank, format="recordings", out=tmp_path / "out").recordings
        == 2
    )
    assert dict(TrackedEnsemble.from_json(built.model_dump(mode="json")).metrics()) == {
        "members_valence": 5.0,
        "members_arousal": 5.0,
    }


def blend(world: FoldsWorld, tmp_path: Path, name: str = "both", **parts: str) -> Ensemble:
    for part, text in parts.items():
        (tmp_path / f"{part}.yaml").write_text(text)
    share = 1 / len(parts)
    (tmp_path / f"{name}.yaml").write_text(
        f"method: blend\nof: {json.dumps(dict.fromkeys(parts, share))}\n"
    )
    return build(world.home, STUDIES, load_recipe(tmp_path / f"{name}.yaml"), name)


def test_a_blend_of_scored_ensembles_is_scored_in_sample(world: FoldsWorld, tmp_path: Path) -> None:
    built = blend(
        world,
        tmp_path,
        one="method: greedy\nmatch: true\n",
        two="method: mean\nsmooth: {seconds: 0.3}\n",
    )
    validation = world.store.split("validation")
    found = predict(built, world.bank, "validation", validation)
    labels = world.store.annotations[positions(validation)]
    assert built.scores["out_of_fold"] is None and built.scores["in_sample"] is not None
    assert built.scores["in_sample"]["arousal"] == pytest.approx(ccc(found[:, 1], labels[:, 1]))
    assert "see its parts' out-of-fold scores" in str(built.measured_on.reason)


def test_a_blend_of_parts_on_other_recordings_is_not_scored(
    world: FoldsWorld, tmp_path: Path
) -> None:
    built = blend(
        world, tmp_path, one="method: mean\n", two="method: mean\nmembers: {folds: all}\n"
    )
    assert built.scores["in_sample"] is None
    assert "one on fold official, two on fold all" in str(built.measured_on.reason)
    test = world.store.split("test")
    halves = [predict(part.ensemble, world.bank, "test", test) for part in built.parts]
    np.testing.assert_allclose(
        predict(built, world.bank, "test", test), (halves[0] + halves[1]) / 2
    )


def test_a_blend_whose_part_changed_is_not_submitted(world: FoldsWorld, tmp_path: Path) -> None:
    built = paper(world, "ensemble_3")
    world.train("first", 0, ("official",), again=1)
    with pytest.raises(
        InputError,
        match=r"'ensemble_1': valence CCC in-sample is .* a member or the annotations changed",
    ):
        submit(built, world.store, world.bank, format="recordings", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_ensemble_of_an_earlier_version_loads(tmp_path: Path) -> None:
    world = make_world(tmp_path, trials=3)
    built = build(world.home, ["first"], read_recipe("mean", {"method": "mean"}), "e")
    path = world.home.ensemble("e")
    document = json.loads(path.read_text())
    del document["seal"], document["parts"]
    for part in document["dimensions"].values():
        for member in part["members"]:
            del member["trials"]
    path.write_text(json.dumps(document))
    assert read_ensemble(world.home, "e") == built and built.pieces == [(1.0, built)]
