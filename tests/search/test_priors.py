"""What the user believes: where samplers begin, and that nothing is ruled out."""

from __future__ import annotations

import math
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from va_search.data.store import Store
from va_search.errors import InputError
from va_search.search.configurations import Space
from va_search.search.domains import Choice, FloatRange, IntRange
from va_search.search.priors import BELIEFS, HALF, Prior, Strength, prior_share, value_at
from va_search.search.proposals import Proposals
from va_search.search.sampler import Sampler
from va_search.search.space import read_space
from va_search.trial_settings import trial_id

RATE = {"float": [1e-4, 1e-1], "log": True}


def space(store: Store, sampler: str, **settings: Any) -> Space:
    document = {
        "sampler": sampler,
        "budget": {"trials": 500},
        "settings": {"features": ["face"], "encoder": "gru", **settings},
    }
    return read_space(document, store, path=Path("space.yaml"), name="space")


@pytest.mark.parametrize("strength", ["strong", "medium", "weak"])
def test_draws_gather_around_the_prior_as_strongly_as_it_is_believed(strength: Strength) -> None:
    generator = Random(0)
    belief = BELIEFS[strength]
    domain = FloatRange(1e-4, 1e-1, log=True)
    drawn = [Prior(1e-2, strength).draw(domain, generator) for _ in range(4000)]
    places = np.log10(drawn) + 4  # 0 to 3; the prior is at 2
    assert all(domain.contains(value) for value in drawn)
    inside = np.mean(np.abs(places - 2) <= 3 * belief.spread)
    uniform = min(1.0, 2 * belief.spread)
    # within one deviation: 68 % of a normal distribution (more where its ends are cut off)
    assert inside == pytest.approx(belief.share * 0.7 + (1 - belief.share) * uniform, abs=0.06)
    far = np.mean(places < 0.75)
    assert far > 0.4 * (1 - belief.share) * 0.25  # nothing is ruled out
    choice = Choice(("lstm", "gru", "tcn", "mlp"))
    chosen = [Prior("tcn", strength).draw(choice, generator) for _ in range(2000)]
    expected = belief.share + (1 - belief.share) / 4
    assert np.mean([value == "tcn" for value in chosen]) == pytest.approx(expected, abs=0.04)
    assert set(chosen) == set(choice.options)


def test_whole_numbers_keep_their_steps_and_every_end_can_be_a_prior() -> None:
    generator = Random(1)
    domain = IntRange(16, 100, step=12)
    for value in (16, 100 - 0):
        prior = min(domain.numbers, key=lambda number: abs(number - value))
        drawn = [Prior(prior, "strong").draw(domain, generator) for _ in range(500)]
        assert set(drawn) <= set(domain.numbers)
        assert np.mean(np.abs(np.array(drawn) - prior) <= 12) > 0.7
    assert value_at(IntRange(1, 1024, log=True), 0.5) == 32
    assert value_at(IntRange(16, 100, step=12), 1.0) == 100
    assert [*Prior(3).outwards(IntRange(1, 5))] == [3, 2, 4, 1, 5]
    assert [*Prior(25).outwards(IntRange(5, 50, step=10))] == [25, 15, 35, 5, 45]
    assert next(Prior(7).outwards(IntRange(1, 10**12))) == 7  # a long range is not walked
    assert [*Prior("b").outwards(Choice(("a", "b", "c")))] == ["b", "a", "c"]


def test_a_random_search_draws_by_the_prior_again_and_again_the_same(tiny_store: Store) -> None:
    believed = space(
        tiny_store, "random", learning_rate={**RATE, "prior": 3e-4, "strength": "strong"}
    )
    samplers = [Sampler(believed, "random", 3) for _ in range(2)]
    rates = [[sampler.ask()[1]["learning_rate"] for _ in range(200)] for sampler in samplers]
    assert rates[0] == rates[1] and rates[0][0] == 3e-4
    near = np.mean([abs(math.log10(rate / 3e-4)) < 0.5 for rate in rates[0]])
    assert near > 0.75  # a third would be chance
    plain = Sampler(space(tiny_store, "random", learning_rate=RATE), "random", 3)
    near = np.mean(
        [abs(math.log10(plain.ask()[1]["learning_rate"] / 3e-4)) < 0.5 for _ in range(200)]
    )
    assert near < 0.5


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_sampler_that_learns_begins_at_the_prior_and_leaves_it_where_it_is_wrong(
    tiny_store: Store,
) -> None:
    believed = space(tiny_store, "tpe", learning_rate={**RATE, "prior": 3e-4, "strength": "strong"})
    sampler = Sampler(believed, "tpe", 0)
    rates = []
    for number in range(60):
        asked, configuration = sampler.ask()
        rates.append(math.log10(configuration["learning_rate"]))
        sampler.tell(asked, {str(number): (-abs(rates[-1] + 1.5),)})  # best at 3e-2
    assert rates[0] == pytest.approx(math.log10(3e-4))
    assert np.mean([abs(rate + 3.52) < 0.5 for rate in rates[:8]]) > 0.5
    assert np.mean([abs(rate + 1.5) < 0.5 for rate in rates[40:]]) > 0.6
    assert prior_share(0) == 1 and prior_share(HALF) == 0.5 and prior_share(9 * HALF) == 0.1


def test_a_grid_begins_with_the_priors_and_misses_nothing(tiny_store: Store) -> None:
    settings = {
        "layers": {"int": [1, 3], "prior": 2},
        "learning_rate": {"choice": [0.1, 0.2, 0.3], "prior": 0.3},
    }
    plain = {
        name: {key: value for key, value in form.items() if key != "prior"}
        for name, form in settings.items()
    }
    believed, unbelieved = (space(tiny_store, "grid", **each) for each in (settings, plain))

    def ids(of: Space) -> list[str]:
        proposals = Proposals(of, lambda trial: trial_id(trial, "data"))
        drawn = []
        while (trial := proposals.next()) is not None:
            drawn.append(trial.id)
        return drawn

    first = next(believed.configurations())
    assert (first["layers"], first["learning_rate"]) == (2, 0.3)
    assert ids(believed) != ids(unbelieved) and sorted(ids(believed)) == sorted(ids(unbelieved))


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({**RATE, "prior": 5}, "never is 5 in this space"),
        ({**RATE, "prior": "fast"}, "prior"),
        ({**RATE, "strength": "strong"}, "`prior`, which is missing"),
        ({**RATE, "prior": 0.01, "strength": "huge"}, "strength"),
        ({"value": 0.01, "prior": 0.01}, "prior"),
        ({"choice": [0.1, 0.2], "prior": 0.3}, "never is 0.3"),
    ],
)
def test_a_wrong_prior_is_named(tiny_store: Store, form: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        space(tiny_store, "random", learning_rate=form)
    assert any(message in problem for problem in error.value.problems), error.value.problems
