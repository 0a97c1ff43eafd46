"""Settings that mean the same on a store: what is said to be the same trains the same, and counts
once."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trial_world import make_trial

from va_search.data.draft import Description, Draft, Part, Source
from va_search.data.store import Store, frames_hash
from va_search.home import Home
from va_search.predictions.bank import Predictions
from va_search.search.configurations import Space
from va_search.search.events import Done
from va_search.search.preview import make_preview
from va_search.search.sameness import sameness_of
from va_search.search.scheduler import Scheduler
from va_search.search.space import load_space
from va_search.search.study import Study, now
from va_search.targets import affect
from va_search.training.fit import Fit
from va_search.trial_settings import TrialSettings

FRAMES = (23, 17, 9, 21, 12)
SMALL: dict[str, Any] = {
    "features": ("face",), "encoder": "gru", "width": 8, "hidden_size": 6, "head_sizes": (5,), "layers": 1,
    "attention_heads": 2, "feed_forward": 8, "learning_rate": 0.01, "epochs": 3,
}  # fmt: skip


def make_store(folder: Path, subjects: tuple[str, ...]) -> Store:
    """Three recordings to train on, one to validate and one to test, shorter than 24 frames, the
    first with a gap."""
    splits = ("train", "train", "train", "validation", "test")
    sources = [
        Source(f"r{k}", subject, f"r{k}", split, None, 25.0, ())
        for k, (subject, split) in enumerate(zip(subjects, splits, strict=True))
    ]
    draft = Draft(
        folder,
        Description("x", affect(-1.0, 1.0), {"face": ("visual", ()), "voice": ("audio", ())}),
        sources,
    )
    generator = np.random.default_rng(7)
    for index, frames in enumerate(FRAMES):
        values = {
            name: generator.normal(index, 1 + index, (frames, 2)) for name in ("face", "voice")
        }
        labels = np.clip(np.cumsum(generator.normal(0, 0.2, (frames, 2)), axis=0), -1, 1)
        draft.add(
            index, Part({name: part.astype(np.float32) for name, part in values.items()}, labels)
        )
    return draft.finish()


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return make_store(tmp_path_factory.mktemp("own") / "store", ("a", "b", "c", "d", "e"))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return make_store(tmp_path_factory.mktemp("shared") / "store", ("a", "a", "c", "d", "e"))


def trained(store: Store, **changes: Any) -> np.ndarray[Any, Any]:
    """Test predictions (frames, 2) after all epochs."""
    fit = Fit(TrialSettings(**{**SMALL, **changes}), store)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", UserWarning
        )  # torch's, of epochs in which no batch had two labelled steps
        while not fit.finished:
            fit.run_epoch()
    return np.asarray(fit.predictions()["test"].values)


SAME: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"normalise": "recording"}, {"normalise": "subject"}),
    ({"segment_length": 23}, {"segment_length": 1000}),
    ({"segment_length": 8, "frame_step": 3}, {"segment_length": 50, "frame_step": 3}),
    ({"encoder": "transformer", "segment_length": 40}, {"encoder": "transformer", "segment_length": 90}),
    ({"encoder": "transformer", "segment_length": 30, "stride": 9},
     {"encoder": "transformer", "segment_length": 60, "stride": 9}),
    ({"encoder": "transformer_lstm", "segment_length": 25}, {"encoder": "transformer_lstm", "segment_length": 150}),
    ({"frame_step": 30}, {"frame_step": 300}),
    ({"batch_size": 4, "segment_length": 30}, {"batch_size": 64, "segment_length": 30}),
    ({"encoder": "transformer", "segment_length": 10, "batch_size": 9},
     {"encoder": "transformer", "segment_length": 10, "batch_size": 32}),
    ({"patience": 2}, {"patience": 50}),
    ({"patience": None}, {"patience": 2}),
    ({"schedule": "constant"}, {"schedule": "step", "schedule_epochs": 3}),
    ({"schedule": "step", "schedule_epochs": 5, "schedule_factor": 0.5}, {"schedule": "plateau", "schedule_epochs": 1}),
    ({"schedule": "cosine", "epochs": 1}, {"schedule": "linear", "epochs": 1}),
    ({"schedule": "exponential", "epochs": 1}, {"epochs": 1}),
    ({"optimiser": "adam", "weight_decay": 0}, {"optimiser": "adamw", "weight_decay": 0}),
]  # fmt: skip

OTHER: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"normalise": "recording"}, {"normalise": "train"}),
    ({"segment_length": 22}, {"segment_length": 10}),
    ({"encoder": "transformer", "segment_length": 30, "stride": 9},
     {"encoder": "transformer", "segment_length": 30, "stride": 11}),
    ({"frame_step": 2}, {"frame_step": 3}),
    ({"batch_size": 1}, {"batch_size": 3}),
    ({"schedule": "constant", "keep": "last"},
     {"schedule": "step", "schedule_epochs": 2, "keep": "last"}),
    ({"schedule": "cosine"}, {"schedule": "linear"}),
    ({"optimiser": "adam"}, {"optimiser": "adamw", "weight_decay": 0.1}),
    ({"encoder_dropout": 0.1}, {"encoder_dropout": 0.4}),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), SAME)
def test_what_means_the_same_trains_the_same(
    own: Store, one: dict[str, Any], other: dict[str, Any]
) -> None:
    meaning = sameness_of(own, ["official"]).meaning
    assert meaning(TrialSettings(**{**SMALL, **one})) == meaning(
        TrialSettings(**{**SMALL, **other})
    )
    np.testing.assert_allclose(trained(own, **one), trained(own, **other), atol=1e-6)


@pytest.mark.parametrize(("one", "other"), OTHER)
def test_what_trains_otherwise_is_another_trial(
    own: Store, one: dict[str, Any], other: dict[str, Any]
) -> None:
    meaning = sameness_of(own, ["official"]).meaning
    assert meaning(TrialSettings(**{**SMALL, **one})) != meaning(
        TrialSettings(**{**SMALL, **other})
    )
    assert not np.allclose(trained(own, **one), trained(own, **other), atol=1e-6)


def test_where_a_person_has_two_recordings_recording_and_subject_are_two(shared: Store) -> None:
    sameness = sameness_of(shared, ["official"])
    recording, subject = (
        TrialSettings(**{**SMALL, "normalise": name}) for name in ("recording", "subject")
    )
    assert not sameness.own_subjects and sameness.meaning(recording) != sameness.meaning(subject)
    assert not np.allclose(
        trained(shared, normalise="recording"), trained(shared, normalise="subject"), atol=1e-6
    )


CHOICES: dict[str, list[Any]] = {
    "normalise": ["recording", "subject", "train", "none"],
    "segment_length": [7, 23, 24, 60],
    "stride": [None, 5, 7],
    "frame_step": [1, 2, 23, 40],
    "batch_size": [1, 3, 12, 40],
    "patience": [None, 1, 2, 3],
    "schedule": ["constant", "step", "plateau", "linear"],
    "schedule_epochs": [1, 2, 3, 9],
    "optimiser": ["adam", "adamw"],
    "weight_decay": [0.0, 0.1],
    "encoder": ["gru", "transformer"],
}


@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    start=st.fixed_dictionaries(
        {name: st.sampled_from(values) for name, values in CHOICES.items()}
    ),
    changed=st.lists(st.sampled_from(sorted(CHOICES)), min_size=1, max_size=2, unique=True),
    data=st.data(),
)
def test_random_settings_of_one_meaning_train_the_same(
    own: Store, start: dict[str, Any], changed: list[str], data: Any
) -> None:
    """The reference is the training itself; only pairs of one meaning are trained, for others may
    agree by chance."""
    other = start | {name: data.draw(st.sampled_from(CHOICES[name])) for name in changed}
    try:
        pair = [TrialSettings(**{**SMALL, **values, "epochs": 2}) for values in (start, other)]
    except ValueError:
        return
    meaning = sameness_of(own, ["official"]).meaning
    assert meaning(meaning(pair[0])) == meaning(pair[0])
    if pair[0] != pair[1] and meaning(pair[0]) == meaning(pair[1]):
        one, two = (trained(own, **each.model_dump()) for each in pair)
        np.testing.assert_allclose(one, two, atol=1e-6)


SPACE = """sampler: {sampler}
{header}settings:
  features: [face]
  encoder: gru
  learning_rate: {{choice: [0.1, 0.2]}}
  {settings}
"""


def space_of(
    tmp_path: Path, store: Store, settings_text: str, sampler: str = "grid", header: str = ""
) -> Space:
    path = tmp_path / "space.yaml"
    path.write_text(SPACE.format(sampler=sampler, settings=settings_text, header=header))
    return load_space(path, store)


def test_a_space_counts_each_meaning_once(tmp_path: Path, own: Store, shared: Store) -> None:
    text = (
        "normalise: {choice: [recording, subject, train]}\n  segment_length: {choice: [30, 60, 10]}"
    )
    assert space_of(tmp_path, own, text).size() == 2 * 2 * 2
    assert space_of(tmp_path, shared, text).size() == 2 * 3 * 2


def test_a_trial_under_either_name_lies_in_the_space(tmp_path: Path, own: Store) -> None:
    space = space_of(tmp_path, own, "normalise: subject\n  segment_length: 30")
    for name, length in (("subject", 30), ("recording", 30), ("recording", 99)):
        trial = TrialSettings(
            features=("face",),
            encoder="gru",
            learning_rate=0.1,
            normalise=name,
            segment_length=length,
        )
        assert space.contains(trial), (name, length)
    train = trial.model_copy(update={"normalise": "train"})
    assert not space.contains(train)


def test_alternatives_are_the_same_trial_under_other_settings(tmp_path: Path, own: Store) -> None:
    space = space_of(
        tmp_path,
        own,
        "normalise: {choice: [recording, subject]}\n  segment_length: {choice: [30, 60]}",
    )
    [first, *_] = (space.trials(configuration)[0] for configuration in space.configurations())
    found = {(other.normalise, other.segment_length) for other in space.alternatives(first)}
    assert found == {("subject", 30), ("recording", 60), ("subject", 60)}


def scheduler_of(
    tmp_path: Path, store: Store, settings_text: str, study: str = "s", sampler: str = "grid"
) -> Scheduler:
    header = "" if sampler == "grid" else "budget: {trials: 8}\n"
    space = space_of(tmp_path, store, settings_text, sampler, header)
    named = Study(Home(tmp_path / "home"), study)
    named.begin(store, space.document)
    return Scheduler(named, space, store)


def finish(scheduler: Scheduler, trial: str, trial_settings: TrialSettings) -> None:
    """What an actor does at the end of a training, whoever asked for it."""
    store = scheduler.store
    record = make_trial(
        scheduler.study.name,
        trial,
        settings=trial_settings,
        ccc=0.5,
        seconds=1.0,
        device="cpu",
        on=store,
        finished_at=now(),
    )
    predictions = {}
    for split in ("validation", "test"):
        values = np.zeros((sum(one.frames for one in store.split(split)), 2), dtype=np.float32)
        predictions[split] = Predictions(values, frames_hash(store.split(split)))
    scheduler.study.bank.write(record, predictions)


def drain(scheduler: Scheduler) -> list[TrialSettings]:
    """Train all that the scheduler hands out; their settings."""
    trained_now = []
    while (drawn := scheduler.ask()) is not None:
        finish(scheduler, *drawn)
        scheduler.tell(Done(drawn[0]))
        trained_now.append(drawn[1])
    scheduler.claims.release_all()
    return trained_now


BOTH = "normalise: {choice: [recording, subject]}"


@pytest.mark.parametrize("sampler", ["grid", "random", "tpe"])
def test_one_trial_of_each_meaning_is_trained(tmp_path: Path, own: Store, sampler: str) -> None:
    scheduler = scheduler_of(tmp_path, own, BOTH, sampler=sampler)
    assert sorted(each.learning_rate for each in drain(scheduler)) == [0.1, 0.2]
    again = scheduler_of(tmp_path, own, BOTH, sampler=sampler)
    assert len(again.results.finished) == 2 and not drain(again)


def test_a_bank_from_before_keeps_its_ids_and_each_pair_counts_once(
    tmp_path: Path, own: Store
) -> None:
    scheduler = scheduler_of(tmp_path, own, BOTH)
    for name in ("recording", "subject"):
        old = TrialSettings(features=("face",), encoder="gru", learning_rate=0.1, normalise=name)
        finish(scheduler, scheduler.trial_id(old), old)
    resumed = scheduler_of(tmp_path, own, BOTH)
    assert len(resumed.results.finished) == 1 and resumed.results.beside == {
        "the same as another one": 1
    }
    assert [each.learning_rate for each in drain(resumed)] == [0.2]
    assert len(resumed.results.records) == 3


@pytest.mark.parametrize("sampler", ["grid", "tpe"])
def test_another_study_s_trial_under_the_other_name_counts(
    tmp_path: Path, own: Store, sampler: str
) -> None:
    first = scheduler_of(tmp_path, own, "normalise: subject", study="first")
    assert [each.normalise for each in drain(first)] == ["subject"] * 2
    second = scheduler_of(tmp_path, own, "normalise: recording", study="second", sampler=sampler)
    preview = make_preview(second.study.home, second.space, own, study="second")
    if sampler == "grid":
        assert (preview.elsewhere, preview.to_train) == (2, 0)
    assert drain(second) == [] and second.results.adopted == 2 and len(second.results.finished) == 2


def test_trials_outside_a_changed_space_are_named(tmp_path: Path, own: Store) -> None:
    drain(scheduler_of(tmp_path, own, "normalise: {choice: [recording, train, none]}"))
    narrower = scheduler_of(tmp_path, own, "normalise: train")
    assert len(narrower.results.finished) == 2 and narrower.results.beside == {
        "outside this space": 4
    }


def test_a_model_of_one_solution_is_the_same_whatever_the_batches(store: Path) -> None:
    sameness = sameness_of(Store.open(store), ["official"])
    sizes = [TrialSettings(features=("face",), family="ridge", batch_size=size) for size in (1, 2)]
    assert sizes[0] != sizes[1]
    assert sameness.meaning(sizes[0]) == sameness.meaning(sizes[1])


def test_seeds_of_a_model_that_draws_nothing_are_the_same(store: Path) -> None:
    sameness = sameness_of(Store.open(store), ["official"])

    def same_for_two_seeds(**changes: Any) -> bool:
        both = [TrialSettings(features=("face",), seed=seed, **changes) for seed in (0, 1)]
        return sameness.meaning(both[0]) == sameness.meaning(both[1])

    assert same_for_two_seeds(family="ridge")
    # wide inputs go through a random matrix
    wide = replace(sameness, dims={"face": 100})
    both = [TrialSettings(features=("face",), family="ridge", seed=seed) for seed in (0, 1)]
    assert wide.meaning(both[0]) != wide.meaning(both[1])
    assert not same_for_two_seeds(family="boosting")
    assert not same_for_two_seeds()


def test_one_modality_can_not_be_dropped(store: Path) -> None:
    sameness = sameness_of(Store.open(store), ["official"])
    for features, same in ((("face",), True), (("face", "voice"), False)):
        rates = [TrialSettings(features=features, modality_dropout=rate) for rate in (0.0, 0.5)]
        assert rates[0] != rates[1]
        assert (sameness.meaning(rates[0]) == sameness.meaning(rates[1])) == same
