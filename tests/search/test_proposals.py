"""What to train next: unique, repeatable, resumable, whatever the sampler."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from va_search.data.store import Store
from va_search.search import proposals as proposals_module
from va_search.search.configurations import Space
from va_search.search.proposals import Proposals
from va_search.search.space import load_space
from va_search.trial_settings import TrialSettings, trial_id

HEADER = "sampler: {sampler}\nobjective: {objective}\nbudget: {{trials: 500}}\nseeds: [0, 1]\n"
CELLS = """settings:
  features: {choice: [[face], [face, voice]]}
  encoder: {choice: [gru, transformer]}
  layers: {int: [1, 3], when: {encoder: [transformer]}}
"""
"""2 feature choices × (gru + transformer × 3 layers) = 8 configurations, 16 trials with two
seeds."""


@pytest.fixture
def space(tmp_path: Path, tiny_store: Store) -> Callable[..., Space]:
    def load(sampler: str, settings: str = CELLS, objective: str = "score") -> Space:
        path = tmp_path / "space.yaml"
        path.write_text(HEADER.format(sampler=sampler, objective=objective) + settings)
        return load_space(path, tiny_store)

    return load


def ident(settings: TrialSettings) -> str:
    return trial_id(settings, "data")


def draw(proposals: Proposals, most: int = 100) -> list[tuple[str, TrialSettings]]:
    drawn = []
    for _ in range(most):
        entry = proposals.next()
        if entry is None:
            break
        drawn.append(entry)
    return drawn


@pytest.mark.parametrize("sampler", ["grid", "random", "tpe"])
def test_a_finite_space_is_drawn_whole_and_nothing_twice(
    space: Callable[..., Space], sampler: str
) -> None:
    proposals = Proposals(space(sampler), ident)
    drawn = []
    for _ in range(100):
        entry = proposals.next()
        if entry is None:
            break
        drawn.append(entry)
        proposals.tell(entry[0], (0.5,))  # TPE, told that all are alike, repeats itself
    assert len(drawn) == len({trial for trial, _ in drawn}) == 16
    assert {(s.encoder, s.layers, s.seed, len(s.features)) for _, s in drawn} >= {
        ("transformer", 3, 1, 2),
        ("gru", 4, 0, 1),
    }


@pytest.mark.parametrize("sampler", ["grid", "random"])
def test_the_order_repeats(space: Callable[..., Space], sampler: str) -> None:
    first, second = (draw(Proposals(space(sampler), ident)) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("sampler", ["grid", "random", "tpe"])
def test_resuming_brings_the_unfinished_first_and_the_finished_never(
    space: Callable[..., Space], sampler: str
) -> None:
    before = draw(Proposals(space(sampler), ident), 6)
    proposals = Proposals(space(sampler), ident)
    proposals.learn([(trial, settings, (0.1,)) for trial, settings in before[:4]])
    proposals.resume(before[4:])
    drawn = draw(proposals)
    assert drawn[:2] == before[4:]
    assert {trial for trial, _ in before[:4]}.isdisjoint(trial for trial, _ in drawn)
    assert len(drawn) == 12


def test_tpe_looks_where_it_went_well(space: Callable[..., Space]) -> None:
    floats = "settings:\n  features: [face]\n  encoder: gru\n  learning_rate: {float: [1.0e-5, 1.0e-1], log: true}\n"
    proposals = Proposals(space("tpe", floats), ident)
    rates = []
    for _ in range(80):
        entry = proposals.next()
        assert entry is not None
        trial, settings = entry
        rates.append(settings.learning_rate)
        proposals.tell(trial, (-abs(math.log10(settings.learning_rate) + 2.5),))
    late = [1e-3 < rate < 1e-2 for rate in rates[40:]]
    assert sum(late) > 25  # a quarter of them would be chance


def test_tpe_learns_from_finished_trials_of_an_earlier_run(space: Callable[..., Space]) -> None:
    floats = "settings:\n  features: [face]\n  encoder: gru\n  learning_rate: {float: [1.0e-5, 1.0e-1], log: true}\n"
    earlier = [
        TrialSettings(features=("face",), encoder="gru", learning_rate=10 ** -(1 + k / 10))
        for k in range(41)
    ]
    finished = [(ident(s), s, (1.0 if 1e-3 < s.learning_rate < 1e-2 else 0.0,)) for s in earlier]
    proposals = Proposals(space("tpe", floats), ident)
    proposals.learn(finished)
    rates = [settings.learning_rate for _, settings in draw(proposals, 40)]
    assert sum(1e-3 < rate < 1e-2 for rate in rates) > 20


def test_a_failed_configuration_does_not_stop_the_sampler(space: Callable[..., Space]) -> None:
    proposals = Proposals(space("tpe"), ident)
    for _ in range(16):
        entry = proposals.next()
        assert entry is not None
        proposals.tell(entry[0], None)
    assert proposals.next() is None


RATES = "settings:\n  features: [face]\n  encoder: gru\n  learning_rate: {float: [1.0e-5, 1.0e-1], log: true}\n"


@pytest.mark.parametrize("unfinished", [0, 60])
def test_a_random_search_goes_on_past_what_it_had(
    space: Callable[..., Space], unfinished: int
) -> None:
    whole = draw(Proposals(space("random", RATES), ident), 300)
    proposals = Proposals(space("random", RATES), ident)
    done = len(whole) - 50 - unfinished
    proposals.learn([(trial, settings, (0.1,)) for trial, settings in whole[:done]])
    proposals.resume(whole[done : done + unfinished])
    assert draw(proposals, 50 + unfinished) == whole[done:]


@pytest.mark.parametrize(
    "rate", ["{choice: [0.1, 0.2, 0.3, 0.4]}", "{float: [1.0e-5, 1.0e-1], log: true}"]
)
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_sampler_that_is_stuck_in_a_large_space_is_helped_out(
    space: Callable[..., Space], monkeypatch: pytest.MonkeyPatch, rate: str
) -> None:
    cells = "settings:\n  features: [face]\n  encoder: gru\n  hidden_size: {int: [1, 30000]}\n"
    large = space("tpe", f"{cells}  learning_rate: {rate}\n")
    proposals = Proposals(large, ident)
    first = proposals.next()
    assert first is not None and proposals._sampler is not None
    monkeypatch.setattr(
        Space, "configurations", lambda self: pytest.fail("a large space is never listed whole")
    )
    always_the_same = proposals._sampler.study.trials[0].params
    rest = optuna.samplers.RandomSampler(seed=0)
    monkeypatch.setattr(
        proposals._sampler.study,
        "sampler",
        optuna.samplers.PartialFixedSampler(always_the_same, rest),
    )
    drawn = draw(proposals, 5)
    assert len({trial for trial, _ in drawn}) == 5 and first not in drawn


def two_peaks(settings: TrialSettings) -> tuple[float, float]:
    """Valence is best at a rate of 10^-4, arousal at 10^-2."""
    rate = math.log10(settings.learning_rate)
    return -abs(rate + 4), -abs(rate + 2)


@pytest.mark.filterwarnings("error")
def test_both_looks_between_the_two_peaks(space: Callable[..., Space]) -> None:
    both = space("tpe", RATES, "both")
    proposals = Proposals(both, ident)
    proposals.learn([(ident(one), one, two_peaks(one)) for one in RANDOM_RATES[:15]])
    rates = []
    for _ in range(120):
        entry = proposals.next()
        assert entry is not None
        rates.append(math.log10(entry[1].learning_rate))
        proposals.tell(entry[0], two_peaks(entry[1]))
    assert sum(-4.1 < rate < -1.9 for rate in rates[40:]) >= 60  # 44 of 80 would be chance
    assert min(rates) < -3 and max(rates) > -3


RANDOM_RATES = [
    TrialSettings(
        features=("face",), encoder="gru", learning_rate=10 ** -(1 + 4 * ((k * 0.618) % 1))
    )
    for k in range(40)
]


def test_both_learns_both_values_of_an_earlier_run(space: Callable[..., Space]) -> None:
    proposals = Proposals(space("tpe", RATES, "both"), ident)
    proposals.learn([(ident(one), one, two_peaks(one)) for one in RANDOM_RATES])
    assert proposals._sampler is not None
    assert [trial.values for trial in proposals._sampler.study.trials] == [
        list(two_peaks(one)) for one in RANDOM_RATES
    ]
    rates = [settings.learning_rate for _, settings in draw(proposals, 80)]
    assert sum(1e-4 / 1.3 < rate < 1e-2 * 1.3 for rate in rates) > 56  # 44 would be chance


@pytest.mark.parametrize("sampler", ["grid", "random", "tpe"])
def test_both_draws_a_finite_space_whole_and_nothing_twice(
    space: Callable[..., Space], sampler: str
) -> None:
    proposals = Proposals(space(sampler, CELLS, "both"), ident)
    drawn = []
    while (entry := proposals.next()) is not None:
        drawn.append(entry[0])
        proposals.tell(entry[0], None if len(drawn) % 5 == 0 else (0.5, 0.4))
    assert len(drawn) == len(set(drawn)) == 16


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_what_was_told_can_be_told_anew_while_trials_run(space: Callable[..., Space]) -> None:
    """First rates around 10^-1.5 are said to be good, then those around 10^-4.5."""
    proposals = Proposals(space("tpe", RATES), ident)
    proposals.learn(
        [(ident(one), one, (-abs(math.log10(one.learning_rate) + 1.5),)) for one in RANDOM_RATES]
    )
    settings = {ident(one): one for one in RANDOM_RATES}
    running = draw(proposals, 5)  # two and a half configurations
    proposals.tell(running[0][0], (0.0,))
    late = [
        (trial, one)
        for trial, one in draw(proposals, 20)
        if -2 < math.log10(one.learning_rate) < -1
    ]
    assert len(late) > 10  # 5 would be chance
    settings |= dict(running[:1])
    proposals.retell(
        {trial: (-abs(math.log10(one.learning_rate) + 4.5),) for trial, one in settings.items()}
    )
    assert proposals._sampler is not None
    states = [trial.state.name for trial in proposals._sampler.study.trials]
    assert (states.count("COMPLETE"), states.count("RUNNING")) == (40, 13)
    drawn = draw(proposals, 20)
    assert sum(-5 <= math.log10(one.learning_rate) < -4 for _, one in drawn) > 10
    for trial, one in running[1:]:
        proposals.tell(trial, (-abs(math.log10(one.learning_rate) + 4.5),))
    finished = [trial for trial in proposals._sampler.study.trials if trial.values]
    assert len(finished) == 40 + 2
    for trial in finished:
        expected = -abs(math.log10(trial.params["learning_rate"]) + 4.5)
        assert trial.value == pytest.approx(expected, abs=1e-3)  # settings have four digits
    assert len(set(dict(draw(proposals, 40))) & (set(dict(drawn)) | set(settings))) == 0


def grid_of(configurations: int) -> str:
    """A finite space of so many configurations."""
    return f"settings:\n  features: [face]\n  encoder: gru\n  hidden_size: {{int: [1, {configurations}]}}\n"


SIZES = [0, 1, 99, 100, 101, 5000]


@pytest.mark.parametrize("sampler", ["grid", "random", "tpe"])
@pytest.mark.parametrize("finished", SIZES)
def test_what_is_left_of_a_space_is_found_however_much_is_finished(
    space: Callable[..., Space], sampler: str, finished: int
) -> None:
    left = 7
    searched = space(sampler, grid_of(finished + left))
    every = [
        (ident(one), one) for cell in searched.configurations() for one in searched.trials(cell)
    ]
    open_still = set(random.Random(finished).sample(range(finished + left), left))
    done = [(trial, one, (0.1,)) for trial, one in every if one.hidden_size - 1 not in open_still]
    proposals = Proposals(searched, ident)
    proposals.learn(done)
    drawn = []
    while (entry := proposals.next()) is not None:
        drawn.append(entry)
        proposals.tell(entry[0], (0.2,))
    assert {trial for trial, _ in drawn} == {trial for trial, _ in every} - {
        trial for trial, _, _ in done
    }
    assert len(drawn) == 2 * left and proposals.exhausted


@pytest.mark.parametrize("sampler", ["grid", "random", "tpe"])
def test_a_wider_space_goes_on_with_what_is_new_in_it(
    space: Callable[..., Space], sampler: str
) -> None:
    narrow = space(sampler, grid_of(300))
    done = [
        (ident(one), one, (0.1,)) for cell in narrow.configurations() for one in narrow.trials(cell)
    ]
    wide = space(sampler, grid_of(305))
    proposals = Proposals(wide, ident)
    proposals.learn(done)
    drawn = draw(proposals)
    assert sorted(one.hidden_size for _, one in drawn) == [
        one for one in range(301, 306) for _ in (0, 1)
    ]


def test_a_grid_goes_on_past_thousands_that_it_had_in_a_moment(space: Callable[..., Space]) -> None:
    """Each configuration is looked at once, not once for each trial that is drawn."""
    searched = space("grid", grid_of(5001))
    looked_at = 0

    def counted(settings: TrialSettings) -> str:
        nonlocal looked_at
        looked_at += 1
        return ident(settings)

    proposals = Proposals(searched, counted)
    done = [
        (ident(one), one, (0.1,))
        for cell in searched.configurations()
        for one in searched.trials(cell)
    ][:-2]
    proposals.learn(done)
    assert len(draw(proposals)) == 2
    assert looked_at == 2 * 5001


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_an_endless_space_always_has_one_more(space: Callable[..., Space], sampler: str) -> None:
    """Most of these can't be put together: four of five widths are no multiple of the attention
    heads."""
    endless = """settings:
  features: [face]
  encoder: transformer
  attention_heads: 5
  width: {int: [5, 200]}
  learning_rate: {float: [1.0e-5, 1.0e-1], log: true}
"""
    proposals = Proposals(space(sampler, endless), ident)
    drawn = draw(proposals, 120)
    assert len({trial for trial, _ in drawn}) == 120 and not proposals.exhausted
    assert {one.width % 5 for _, one in drawn} == {0}


def test_the_last_of_a_large_space_is_found(
    space: Callable[..., Space], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proposals_module, "OTHERS", 50)
    searched = space("random", grid_of(400))
    every = {ident(one): one for cell in searched.configurations() for one in searched.trials(cell)}
    proposals = Proposals(searched, ident)
    proposals.learn([(trial, one, None) for trial, one in every.items() if one.hidden_size != 287])
    assert [one.hidden_size for _, one in draw(proposals)] == [287, 287] and proposals.exhausted
