"""The contract of all samplers: ask, tell, never twice, the same again, go on where it stopped, and
come to an end."""

from __future__ import annotations

import time
from itertools import islice
from pathlib import Path
from typing import get_args

import pytest

from va_search.data.store import Store
from va_search.search import sampler as sampler_module
from va_search.search.configurations import Space
from va_search.search.proposals import AskedTrial, Proposals
from va_search.search.space import read_space
from va_search.search.space_header import LEARNING, SpaceHeader
from va_search.trial_settings import TrialSettings, trial_id

SAMPLERS = get_args(SpaceHeader.model_fields["sampler"].annotation)
"""Every sampler that a space can name: a new one is judged here without another line."""

CELLS = {
    "features": {"choice": [["face"], ["face", "voice"]]},
    "encoder": {"choice": ["gru", "transformer"], "prior": "transformer"},
    "layers": {"int": [1, 3], "when": {"encoder": "transformer"}},
}
"""2 feature choices × (gru + transformer × 3 layers) = 8 configurations."""

pytestmark = [
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
    pytest.mark.parametrize("sampler", SAMPLERS),
]


def read(store: Store, sampler: str, settings: dict[str, object] = CELLS) -> Space:
    document = {
        "sampler": sampler,
        "sampler_seed": 5,
        "budget": {"trials": 99_999},
        "seeds": [0, 1],
        "settings": settings,
    }
    return read_space(document, store, path=Path("space.yaml"), name="space")


def proposals_of(space: Space) -> Proposals:
    return Proposals(space, lambda settings: trial_id(settings, "data"))


def value_of(settings: TrialSettings) -> float:
    """A score that depends on the settings and nothing else."""
    return int(trial_id(settings, "score")[:6], 16) / 16**6


def draw(proposals: Proposals, most: int) -> list[AskedTrial]:
    drawn = []
    while len(drawn) < most and (trial := proposals.next()) is not None:
        drawn.append(trial)
        proposals.tell(trial.id, (value_of(trial.settings),))
    return drawn


def test_the_same_seed_draws_the_same_nothing_twice_and_a_finite_space_whole(
    tiny_store: Store, sampler: str
) -> None:
    space = read(tiny_store, sampler)
    first, second = (draw(proposals_of(space), 99) for _ in range(2))
    assert first == second
    assert len(first) == len({trial.id for trial in first}) == 16 == space.number_of_trials()


def test_two_are_asked_for_before_one_is_told(tiny_store: Store, sampler: str) -> None:
    proposals = proposals_of(read(tiny_store, sampler))
    asked = [proposals.next() for _ in range(8)]
    for trial in reversed(asked):
        assert trial is not None
        proposals.tell(trial.id, None if trial.settings.seed else (0.5,))
    assert len(draw(proposals, 99)) == 8


def test_a_resumed_search_goes_on_with_all_that_is_left(tiny_store: Store, sampler: str) -> None:
    space = read(tiny_store, sampler)
    going_on = proposals_of(space)
    before = draw(going_on, 6)
    lost = going_on.next()
    assert lost is not None
    resumed = proposals_of(space)
    resumed.learn([(trial.id, trial.settings, (value_of(trial.settings),)) for trial in before])
    resumed.resume([lost])
    after = draw(resumed, 99)
    assert after[0] == lost
    # One that does not learn goes on in the very order, the others with all that is left.
    rest = [lost, *draw(going_on, 99)]
    if sampler in LEARNING:
        after, rest = sorted(after), sorted(rest)
    assert after == rest and len(before) + len(rest) == 16


def test_thousands_of_finished_trials_resume_in_seconds(
    tiny_store: Store, sampler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells: dict[str, object] = {
        "features": ["face"],
        "encoder": "gru",
        "hidden_size": {"int": [1, 400]},
        "epochs": {"int": [1, 300]},
    }
    space = read(tiny_store, sampler, cells)
    number = 5_000 if sampler == "grid" else 2_500
    finished = []
    for cell in islice(space.combinations(), number):
        for settings in space.trials(cell):
            finished.append((trial_id(settings, "data"), settings, (value_of(settings),)))
    # a Gaussian process of a hundred configurations takes a second; a few tell the same here
    monkeypatch.setattr(sampler_module, "GP_KEPT", 30)
    monkeypatch.setattr(sampler_module, "GP_BEST", 15)
    resumed = proposals_of(space)
    began = time.process_time()
    resumed.learn(finished)
    trial = resumed.next()
    assert time.process_time() - began < 20
    assert trial is not None and trial.id not in {name for name, _, _ in finished}
