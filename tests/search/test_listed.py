"""A space that lists its trials one by one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from va_search.data.store import Store
from va_search.errors import InputError
from va_search.search.configurations import Space
from va_search.search.listed import space_of
from va_search.search.plan import make_plan
from va_search.search.proposals import Proposals
from va_search.search.space import read_space
from va_search.trial_settings import TrialSettings, trial_id

LISTED: dict[str, Any] = {
    "sampler": "grid",
    "trials": [
        {"features": ["face"], "encoder": "lstm", "hidden_size": 8, "seed": 3},
        {"features": ["face"], "encoder": "gru", "hidden_size": 8},
        # what an LSTM does not take makes no other trial
        {"features": ["face"], "encoder": "lstm", "hidden_size": 8, "layers": 2, "seed": 3},
        {"features": ["face"], "encoder": "lstm", "hidden_size": 8, "seed": 4},
    ],
}
OWN = """
from torch import nn


class Own(nn.Module):
    def __init__(self, width, *, gain: float = 1.0):
        super().__init__()
        self.gain, self.size = gain, width

    def forward(self, x, mask, state):
        return self.gain * x, ()
"""
Read = Callable[[dict[str, Any]], Space]


@pytest.fixture
def opened(store: Path) -> Store:
    return Store.open(store)


@pytest.fixture
def read(opened: Store) -> Read:
    return lambda document: read_space(document, opened, path=Path("listed.yaml"), name="listed")


def test_the_listed_trials_are_asked_for_in_their_order_each_once(
    read: Read, opened: Store
) -> None:
    space = read(LISTED)

    def id_of(settings: TrialSettings) -> str:
        return trial_id(settings, opened.data_hash(settings.features, settings.fold))

    proposals = Proposals(space, id_of)
    asked: list[tuple[str, int]] = []
    while (proposal := proposals.next()) is not None:
        asked.append((proposal.settings.encoder, proposal.settings.seed))
    assert asked == [("lstm", 3), ("gru", 0), ("lstm", 4)]
    assert space.size() == 3
    assert space.size_is_exact


def test_a_trial_is_recognised_by_what_it_computes(read: Read) -> None:
    space = read(LISTED)
    trained = TrialSettings(features=("face",), encoder="lstm", hidden_size=8, seed=4)
    assert space.configuration(trained) == LISTED["trials"][3]
    assert space.contains(trained)
    assert not space.contains(trained.model_copy(update={"seed": 5}))
    assert not space.contains(trained.model_copy(update={"fold": "train_val_mix"}))


def test_trials_of_a_study_make_a_space_that_has_them_and_no_others(read: Read) -> None:
    trials = [
        TrialSettings(features=("face",), fold="train_val_mix", seed=seed, width=16)
        for seed in (1, 2, 1)
    ]
    space = read(space_of(trials))
    again = [settings for chosen in space.configurations() for settings in space.trials(chosen)]
    assert again == trials[:2]


def test_a_seed_is_a_number_however_it_is_written(read: Read) -> None:
    space = read({**LISTED, "trials": [{"features": ["face"], "seed": "3"}]})
    (configuration,) = space.configurations()
    assert [settings.seed for settings in space.trials(configuration)] == [3]


def test_trials_that_mean_the_same_on_the_store_keep_their_ids(read: Read) -> None:
    # one batch either way, so that another kind of space would train one of them
    trials = [TrialSettings(features=("face",), batch_size=size) for size in (1000, 2000)]
    space = read(space_of(trials))
    again = [settings for chosen in space.configurations() for settings in space.trials(chosen)]
    assert again == trials
    assert space.alternatives(trials[0]) == []


def test_a_listed_trial_may_name_a_class_of_a_file_and_its_options(
    opened: Store, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(OWN)
    document = {
        "sampler": "grid",
        "trials": [
            {"features": ["face"], "encoder": "mine.py:Own", "encoder_options": {"gain": 0.5}},
            {"features": ["face"], "encoder": "tcn", "encoder_options": {"kernel": 3}},
        ],
    }
    space = read_space(document, opened, path=tmp_path / "listed.yaml", name="listed")
    own, tcn = [space.trials(chosen)[0] for chosen in space.configurations()]
    assert own.encoder.startswith("mine.py:Own@")
    assert (own.model_extra or {})["encoder.gain"] == 0.5
    assert (tcn.model_extra or {})["encoder.kernel"] == 3


def test_a_plan_counts_the_listed_trials(read: Read, opened: Store, tmp_path: Path) -> None:
    from va_search.home import Home

    plan = make_plan(Home(tmp_path / "home"), read(LISTED), opened, None)
    assert plan.trials == 3


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"trials": []}, "trials: expected"),
        ({"trials": [3]}, "trials[0]: expected settings of a trial, found 3"),
        ({"trials": [{"features": ["fase"]}]}, "trials[0]: unknown feature set 'fase'"),
        ({"trials": [{"features": ["face"], "epoch": 3}]}, "did you mean 'epochs'"),
        ({"trials": [{"features": ["face"], "fold": 1}]}, "trials[0].fold: "),
        ({"trials": [{"features": ["face"], 3: 4}]}, "expected the name of a setting, found 3"),
        ({"seeds": [1]}, "each of the `trials` has its own `seed`"),
        ({"sampler": "random", "budget": {"trials": 2}}, "expected sampler grid, found random"),
        ({"settings": {"width": 8}}, "`settings` or `trials` must be given, not both"),
    ],
)
def test_what_can_not_be_a_list_of_trials_is_refused(
    read: Read, changes: dict[str, Any], expected: str
) -> None:
    with pytest.raises(InputError) as raised:
        read({**LISTED, **changes})
    assert expected in str(raised.value)
