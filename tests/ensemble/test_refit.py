"""An ensemble's members trained again on everything labelled, with the weights they have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from folds_world import FoldsWorld, make_folds_world
from trial_world import make_trial

from va_search.api.ensembles import OpenEnsemble
from va_search.api.fitting import plan_fit
from va_search.api.home import open_home
from va_search.api.refitting import train_again
from va_search.data.store import MIX, Store, frames_hash, positions
from va_search.ensemble.build import build
from va_search.ensemble.post_processing import finished
from va_search.ensemble.recipe import load_recipe
from va_search.ensemble.refit import is_stale, matching, on_everything, plan_refit, refit
from va_search.ensemble.saved import Ensemble, predict, read_ensemble
from va_search.ensemble.unscored import member_of
from va_search.errors import InputError
from va_search.files import read_json, write_json
from va_search.predictions.bank import Predictions
from va_search.report.tables.ensemble import scores_tables
from va_search.report.words import encoder_title, model_name
from va_search.trial_settings import TrialSettings, trial_id
from va_search.verdict.stale import stale_of

TEST = "test"


@pytest.fixture
def world(tmp_path: Path) -> FoldsWorld:
    return make_folds_world(tmp_path, mixed=0)


def chosen(world: FoldsWorld, recipe: str = "top_k") -> Ensemble:
    return build(world.home, ["first"], load_recipe(recipe), "chosen")


def put_trained(world: FoldsWorld, ensemble: Ensemble) -> dict[str, np.ndarray]:
    """Put the trials of the plan into the bank; their test predictions by trial."""
    values: dict[str, np.ndarray] = {}
    recordings = world.store.split(TEST)
    for number, settings in enumerate(plan_refit(world.home, ensemble).trials.values()):
        name = trial_id(settings, world.store.data_hash(settings.features, settings.fold))
        frames = sum(recording.frames for recording in recordings)
        random = np.random.default_rng(number)
        values[name] = random.normal(4 + number, 0.5, (frames, 2)).astype(np.float32)
        record = make_trial("again", name, settings=settings, on=world.store)
        predictions = Predictions(values[name], frames_hash(recordings))
        world.bank.write(record, {TEST: predictions})
    return values


def refitted(world: FoldsWorld, ensemble: Ensemble, *, match: bool) -> Ensemble:
    plan = plan_refit(world.home, ensemble)
    return refit(world.home, ensemble, plan, world.store, name="again", match=match)


def test_members_are_replaced_by_their_trials_on_everything_and_keep_their_weights(
    world: FoldsWorld,
) -> None:
    ensemble = chosen(world)
    values = put_trained(world, ensemble)
    again = refitted(world, ensemble, match=False)
    assert read_ensemble(world.home, "again") == again
    recordings = world.store.split(TEST)
    predictions = predict(again, world.bank, TEST, recordings)
    for column, (target, weighted) in enumerate(again.dimensions.items()):
        before = ensemble.dimensions[target]
        assert [member.weight for member in weighted.members] == pytest.approx(
            [member.weight for member in before.members]
        )
        total = sum(
            member.weight * values[member.trial][:, column].astype(np.float64)
            for member in weighted.members
        )
        expected = finished(np.asarray(total), recordings, before.post)
        np.testing.assert_allclose(predictions[:, column], expected, rtol=1e-12)


def test_test_predictions_are_matched_to_the_moments_of_all_labelled_frames(
    world: FoldsWorld,
) -> None:
    ensemble = chosen(world)
    put_trained(world, ensemble)
    again = refitted(world, ensemble, match=True)
    predictions = predict(again, world.bank, TEST, world.store.split(TEST))
    labels = world.store.annotations[positions(world.store.labelled)].astype(np.float64)
    np.testing.assert_allclose(predictions.mean(axis=0), np.nanmean(labels, axis=0))
    np.testing.assert_allclose(predictions.std(axis=0), np.nanstd(labels, axis=0))
    assert "without any test label" in " ".join(again.notes)


def test_a_refitted_ensemble_has_no_score_and_names_the_one_it_was_made_of(
    world: FoldsWorld,
) -> None:
    ensemble = chosen(world)
    put_trained(world, ensemble)
    again = refitted(world, ensemble, match=True)
    assert again.scores["out_of_fold"] is None
    assert again.measured_on.fold == MIX
    assert ensemble.scores["out_of_fold"] is not None
    score = ensemble.scores["out_of_fold"]["score"]
    assert f"scored {score:.3f} out-of-fold" in str(again.measured_on.reason)
    assert again.estimate is not None and again.estimate == ensemble.estimate
    shown = scores_tables(again)[0].missing
    assert shown is not None and shown.why.endswith(again.estimate.text)


def test_configurations_over_folds_become_one_trial_each(world: FoldsWorld) -> None:
    ensemble = build(world.home, ["first"], load_recipe("over_folds"), "folds")
    members = {member.trial for part in ensemble.dimensions.values() for member in part.members}
    plan = plan_refit(world.home, ensemble)
    assert len(plan.trials) == len(members)
    rates = {settings.learning_rate for settings in plan.trials.values()}
    assert len(rates) == len(members)
    assert {settings.fold for settings in plan.trials.values()} == {MIX}


def test_a_trial_is_trained_to_its_last_epoch_and_no_epoch_is_chosen() -> None:
    settings = TrialSettings(features=("face",), epochs=20, patience=3, seed=4, fold=2)
    again, note = on_everything(settings)
    assert note is None
    assert (again.keep, again.averaged_epochs, again.trained_epochs) == ("mean_last_5", None, 20)
    assert (again.patience, again.fold, again.seed) == (None, MIX, 4)
    moving, _ = on_everything(settings.model_copy(update={"keep": "ema"}))
    assert moving.keep == "ema"
    plateau, note = on_everything(settings.model_copy(update={"schedule": "plateau"}))
    assert plateau.schedule == "cosine"
    assert note is not None
    assert "goes by validation scores" in note


def test_what_is_not_trained_again_yet_is_named(world: FoldsWorld) -> None:
    ensemble = chosen(world)
    with pytest.raises(InputError, match="not trained again yet; the same command goes on"):
        refitted(world, ensemble, match=True)


def test_matching_gives_mean_and_spread_and_leaves_constants_alone() -> None:
    labels = np.array([1.0, 3.0, np.nan], dtype=np.float32)
    assert matching(np.array([0.0, 4.0]), labels) == (0.5, 1.0)
    assert matching(np.array([2.0, 2.0]), labels) == (1.0, 0.0)


def open_as(world: FoldsWorld, ensemble: Ensemble) -> OpenEnsemble:
    return OpenEnsemble(open_home(world.home.root), ensemble)


def test_a_study_of_another_space_is_not_replaced(world: FoldsWorld) -> None:
    ensemble = chosen(world)
    space = {"sampler": "grid", "folds": [0], "settings": {"features": ["face"]}}
    document = {"began_at": "2026-11-30", "seconds": 0.0, "hashes": {}, "space": space}
    for name in ("first", "other"):
        write_json(world.home.study(name) / "study.json", document)
        with pytest.raises(InputError, match=f"study '{name}' exists and has trials of another"):
            train_again(open_as(world, ensemble), name)
        assert read_json(world.home.study(name) / "study.json") == document


def test_a_store_without_test_recordings_is_refused_with_what_to_do_instead(
    world: FoldsWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensemble = chosen(world)
    monkeypatch.setattr(Store, "split", lambda store, split: ())
    with pytest.raises(InputError, match=r"no test recordings.*va-search predict"):
        train_again(open_as(world, ensemble), "again")


def test_an_ensemble_of_another_kind_is_not_replaced(world: FoldsWorld) -> None:
    ensemble = chosen(world)
    with pytest.raises(InputError, match="'chosen' exists and is none of 'chosen' trained again"):
        train_again(open_as(world, ensemble), "chosen")
    # `fit` says so before its search
    fitting = plan_fit(
        {"sampler": "grid", "folds": ["official"], "settings": {"features": ["face"]}},
        world.store,
        name="chosen",
        home=world.home.root,
    )
    with pytest.raises(InputError, match="'chosen' exists and is none of 'chosen-chosen'"):
        fitting.search()


def test_a_member_without_an_encoder_is_called_by_its_family() -> None:
    settings = TrialSettings(features=("face",), family="ridge")
    member = member_of(make_trial(settings=settings), 1.0, None, None)
    assert member.encoder == "ridge"
    assert encoder_title("ridge") == model_name(settings) == "ridge on windows"


def test_a_refit_of_an_earlier_build_is_told(world: FoldsWorld) -> None:
    ensemble = chosen(world)
    put_trained(world, ensemble)
    again = refitted(world, ensemble, match=True)
    assert not is_stale(world.home, again)
    build(world.home, ["first"], load_recipe("best"), "chosen", force=True)
    assert is_stale(world.home, again)
    assert "refit chosen --name again" in stale_of(world.home, again)[0]
