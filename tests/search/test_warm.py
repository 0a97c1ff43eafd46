"""Warm start: what earlier studies tell a sampler, what they don't, and that it changes nothing
else."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from trial_world import make_trial

from va_search.data.simulate import simulate
from va_search.data.store import Store
from va_search.errors import InputError
from va_search.files import read_json
from va_search.home import Home
from va_search.predictions.bank import Bank
from va_search.search.configurations import Space
from va_search.search.preview import make_preview
from va_search.search.scheduler import Scheduler, Surroundings
from va_search.search.space import load_space
from va_search.search.study import Study
from va_search.search.warm import warm_start_from
from va_search.trial import Best
from va_search.trial_settings import TrialSettings, trial_id

SPACE = """sampler: {sampler}
objective: {objective}
budget: {{trials: 60}}
settings:
  features: [face]
  encoder: gru
  learning_rate: {{float: [1.0e-5, 1.0e-1], log: true}}
"""


@pytest.fixture
def space(tmp_path: Path, tiny_store: Store) -> Callable[..., Space]:
    def load(sampler: str = "tpe", objective: str = "score") -> Space:
        path = tmp_path / "space.yaml"
        path.write_text(SPACE.format(sampler=sampler, objective=objective))
        return load_space(path, tiny_store)

    return load


@pytest.fixture
def bank(tmp_path: Path) -> Bank:
    return Bank(Home(tmp_path / "home").bank)


def put(bank: Bank, store: Store, study: str, *, scored: bool = True, **settings: Any) -> str:
    """A complete trial, the better the nearer its rate is to 10^-2.5; valence is best at
    10^-3.5."""
    made = TrialSettings(**{"features": ("face",), "encoder": "gru", **settings})
    data_hash = store.data_hash(made.features, made.fold)
    trial = trial_id(made, data_hash)
    rate = math.log10(made.learning_rate)
    valence, arousal = 1 - abs(rate + 3.5) / 4, 1 - abs(rate + 1.5) / 4
    best = {
        "valence": Best(valence),
        "arousal": Best(arousal),
        "score": Best(1 - abs(rate + 2.5) / 4),
    }
    record = make_trial(study, trial, settings=made, data_hash=data_hash)
    bank.write(replace(record, best=best if scored else {}), {})
    return trial


def fill(bank: Bank, store: Store, study: str, count: int = 40) -> None:
    for number in range(count):
        put(bank, store, study, learning_rate=10 ** -(1 + 4 * ((number * 0.618) % 1)))


def scheduler(tmp_path: Path, space: Space, store: Store, *warm: str) -> Scheduler:
    study = Study(Home(tmp_path / "home"), "new")
    found = warm_start_from(study.bank, warm, space, store, study="new")
    study.begin(store, space.document, warm_start=warm)
    return Scheduler(study, space, store, surroundings=Surroundings(warm=found))


def told(of: Scheduler) -> list[list[float]]:
    assert of.proposals._sampler is not None
    return [
        trial.values for trial in of.proposals._sampler.study.trials if trial.state.is_finished()
    ]


def test_tpe_begins_where_an_earlier_study_went_well(
    tmp_path: Path, bank: Bank, tiny_store: Store, space: Callable[..., Space]
) -> None:
    fill(bank, tiny_store, "old")
    warm = scheduler(tmp_path, space(), tiny_store, "old")
    assert len(told(warm)) == 40 and not warm.results.finished
    drawn = [warm.ask() for _ in range(20)]
    good = [
        each for each in drawn if each is not None and -3 < math.log10(each[1].learning_rate) < -2
    ]
    assert len(good) > 10  # 5 would be chance
    assert len({each[0] for each in drawn if each is not None}) == 20


def test_two_objectives_learn_two_values(
    tmp_path: Path, bank: Bank, tiny_store: Store, space: Callable[..., Space]
) -> None:
    put(bank, tiny_store, "old", learning_rate=10**-2.5)
    assert told(scheduler(tmp_path, space(objective="both"), tiny_store, "old")) == [
        pytest.approx([0.75, 0.75])
    ]


def test_what_tells_nothing_is_counted(
    bank: Bank, tiny_store: Store, space: Callable[..., Space], tmp_path: Path
) -> None:
    put(bank, tiny_store, "old", learning_rate=0.001, seed=7)  # seed and fold don't matter
    put(bank, tiny_store, "old", learning_rate=0.002, layers=2)  # unused by gru
    put(bank, tiny_store, "old", learning_rate=0.5)
    put(bank, tiny_store, "old", learning_rate=0.01, epochs=3)
    put(bank, tiny_store, "old", learning_rate=0.01, scored=False)
    bank.write(make_trial("old", "outside-model", source="outside"), {})
    (warm,) = warm_start_from(bank, ["old"], space(), tiny_store, study="new")
    assert warm.counts() == {
        "study": "old",
        "used": 2,
        "outside": 3,
        "unscored": 1,
        "other_data": 0,
    }


def test_other_data_is_told_of(
    bank: Bank, tiny_store: Store, space: Callable[..., Space], tmp_path: Path
) -> None:
    other = simulate(tmp_path / "other", size="tiny", seed=5)
    fill(bank, other, "old", 3)
    (warm,) = warm_start_from(bank, ["old", "old"], space(), tiny_store, study="new")
    assert (len(warm.used), warm.other_data) == (3, 3)


def test_a_trial_in_two_studies_counts_once_and_an_own_one_never(
    tmp_path: Path, bank: Bank, tiny_store: Store, space: Callable[..., Space]
) -> None:
    fill(bank, tiny_store, "one", 5)
    fill(bank, tiny_store, "two", 6)
    fill(bank, tiny_store, "new", 1)
    found = warm_start_from(bank, ["one", "two"], space(), tiny_store, study="new")
    assert [len(one.used) for one in found] == [4, 1]
    assert len(told(scheduler(tmp_path, space(), tiny_store, "one", "two"))) == 6


def test_a_trial_learnt_of_is_linked_in_when_it_is_asked_for(
    tmp_path: Path, bank: Bank, tiny_store: Store, space: Callable[..., Space]
) -> None:
    cold = scheduler(tmp_path, space(), tiny_store)
    drawn = cold.ask()
    assert drawn is not None
    cold.claims.release_all()
    put(bank, tiny_store, "old", learning_rate=drawn[1].learning_rate)
    warm = scheduler(tmp_path, space(), tiny_store, "old")
    again = warm.ask()  # asked before, by the run above: now it is there
    assert again is not None and again[0] != drawn[0]
    assert warm.results.finished == {drawn[0]} and warm.results.adopted == 1


def test_a_study_remembers_what_it_started_from(
    tmp_path: Path, bank: Bank, tiny_store: Store, space: Callable[..., Space]
) -> None:
    study = Study(Home(tmp_path / "home"), "new")
    assert study.warm_start == []
    for names in (["one"], [], ["two", "one"]):
        study.begin(tiny_store, space().document, warm_start=names)
    assert (
        study.warm_start == read_json(study.folder / "study.json")["warm_start"] == ["one", "two"]
    )


def test_what_can_not_be_is_refused_at_once(
    bank: Bank, tiny_store: Store, space: Callable[..., Space]
) -> None:
    fill(bank, tiny_store, "first", 1)
    with pytest.raises(InputError) as caught:
        warm_start_from(bank, ["frist", "new"], space("random"), tiny_store, study="new")
    text = str(caught.value)
    assert (
        "did you mean 'first'" in text
        and "from its own trials" in text
        and "sampler random" in text
    )


def test_a_preview_says_what_is_learnt_first_and_refuses_what_a_search_refuses(
    tmp_path: Path, bank: Bank, tiny_store: Store, space: Callable[..., Space]
) -> None:
    put(bank, tiny_store, "old", learning_rate=0.001)
    put(bank, tiny_store, "old", learning_rate=0.5)
    home = Home(tmp_path / "home")
    preview = make_preview(home, space(), tiny_store, study="new", warm_start=["old"])
    assert [(one["study"], one["used"], one["outside"]) for one in preview.warm_start] == [
        ("old", 1, 1)
    ]
    assert not Study(home, "new").exists()
    with pytest.raises(InputError, match="nowhere"):
        make_preview(home, space(), tiny_store, study="new", warm_start=["nowhere"])
