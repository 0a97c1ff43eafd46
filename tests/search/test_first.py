"""Configurations that are trained before the sampler proposes any."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from va_search.data.store import Store
from va_search.errors import InputError
from va_search.search.configurations import Space
from va_search.search.proposals import Proposals
from va_search.search.space import load_space
from va_search.trial_settings import TrialSettings, trial_id

HEADER = "sampler: {sampler}\nbudget: {{trials: 50}}\n"
SETTINGS = """settings:
  features: {subset: all, min: 1}
  encoder: {choice: [gru, transformer, lstm]}
  layers: {int: [1, 3], when: {encoder: [transformer]}}
  frame_step: {steps_per_second: [1, 5]}
"""
FIRST = """first:
- {encoder: lstm, frame_step: {steps_per_second: 5}}
- {encoder: transformer, layers: 2, features: [face], frame_step: {steps_per_second: 1}}
- {encoder: lstm, features: all, frame_step: {steps_per_second: 5}}
- {encoder: gru}
"""
Load = Callable[..., Space]


@pytest.fixture
def load(tmp_path: Path, tiny_store: Store) -> Load:
    def load(first: str = FIRST, sampler: str = "tpe", settings: str = SETTINGS) -> Space:
        path = tmp_path / "space.yaml"
        path.write_text(HEADER.format(sampler=sampler) + settings + first)
        return load_space(path, tiny_store)

    return load


def ident(settings: TrialSettings) -> str:
    return trial_id(settings, "data")


@pytest.mark.parametrize("sampler", ["tpe", "random", "grid"])
def test_they_are_asked_for_in_their_order_each_once_and_then_the_sampler_proposes(
    load: Load, tiny_store: Store, sampler: str
) -> None:
    proposals = Proposals(load(sampler=sampler), ident)
    asked = [proposals.next() for _ in range(6)]
    settings = [trial.settings for trial in asked if trial is not None]
    assert [entry.encoder for entry in settings[:3]] == ["lstm", "transformer", "gru"]
    assert settings[0].features == tuple(sorted(tiny_store.feature_sets))
    assert settings[1].features == ("face",)
    assert settings[1].layers == 2
    assert settings[0].frame_step < settings[1].frame_step
    assert len({entry.model_dump_json() for entry in settings}) == 6


def test_what_an_entry_leaves_open_is_drawn_alike_at_each_reading(load: Load) -> None:
    space = load()
    assert space.first == load().first
    assert space.first[3]["frame_step"] in space.declared("frame_step")


def test_a_resumed_study_asks_for_those_that_are_left(load: Load) -> None:
    proposals = Proposals(load(), ident)
    finished = proposals.next()
    assert finished is not None
    resumed = Proposals(load(), ident)
    resumed.learn([(*finished, (0.5,))])
    following = resumed.next()
    assert following is not None
    assert following.settings.encoder == "transformer"


def test_the_sampler_learns_from_them(load: Load) -> None:
    proposals = Proposals(load(), ident)
    for value in (0.1, 0.2, 0.3):
        trial = proposals.next()
        assert trial is not None
        proposals.tell(trial.id, (value,))
    assert proposals._sampler is not None
    told = proposals._sampler.study.get_trials(deepcopy=False)
    assert [trial.value for trial in told] == [0.1, 0.2, 0.3]


@pytest.mark.parametrize(
    ("first", "message"),
    [
        ("first:\n- {encodr: lstm}\n", "9: first[0].encodr: unknown setting of this space"),
        ("first:\n- {encoder: tcn}\n", "9: first[0].encoder: expected one of the values"),
        ("first:\n- {encoder: gru, layers: 2}\n", "9: first[0]: `layers` has no effect beside"),
        ("first: {encoder: lstm}\n", "expected a list"),
    ],
)
def test_wrong_entries_are_refused_with_their_line(load: Load, first: str, message: str) -> None:
    with pytest.raises(InputError) as refused:
        load(first)
    assert message in str(refused.value)


def test_listed_trials_have_no_first(load: Load) -> None:
    trials = "trials:\n- {features: [face]}\n"
    with pytest.raises(InputError, match="`first` must not be given"):
        load(trials + FIRST, sampler="grid", settings="")


def test_a_change_of_them_is_told_in_plain_words(load: Load) -> None:
    before = load().document
    assert load("").changes(before) == ["it lists 0 first configurations, 4 before"]
