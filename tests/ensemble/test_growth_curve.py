"""What more trials would add to an ensemble: a curve through random parts of those there are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ensemble_world import make_world

from va_search.ensemble.credit import Credits
from va_search.ensemble.growth import FEWEST, SHARES, Growth, growth_of


@pytest.mark.parametrize("power", [0.5, 1.0])
def test_a_curve_that_is_known_is_extrapolated(power: float) -> None:
    sizes = np.array([14, 20, 28, 40.0])
    curve = 0.7 - 0.8 * sizes**-power
    noise = np.random.default_rng(0).normal(0, 0.004, (16, 4)) * [1, 1, 1, 0]
    growth = Growth(sizes, curve + noise)
    expected, low, high = growth.gain(40)
    true = 0.8 * (40**-power - 80**-power)
    assert expected == pytest.approx(true, rel=0.5) and 0 <= low <= expected <= high
    assert growth.score == pytest.approx(curve[-1])
    # the more trials, the more they bring, and never more than the curve has left
    gains = [growth.gain(more)[0] for more in (1, 10, 100, 1e6)]
    assert gains == sorted(gains)


def test_where_nothing_grows_nothing_is_gained() -> None:
    growth = Growth(np.array([14, 20, 28, 40.0]), np.full((16, 4), 0.6))
    assert growth.gain(100) == (0.0, 0.0, 0.0)
    falling = Growth(np.array([14, 20, 28, 40.0]), np.tile([0.6, 0.59, 0.58, 0.57], (16, 1)))
    assert falling.gain(100)[0] == 0.0


def test_random_parts_of_a_studys_trials_make_the_curve(tmp_path: Path) -> None:
    world = make_world(tmp_path, trials=0)
    names = [("s", f"t{number:02}") for number in range(FEWEST + 4)]
    for number, (study, trial) in enumerate(names):
        world.add(study, trial, number, 1.5)
    credits = Credits(world.home, world.store)
    assert growth_of(credits, names[: FEWEST - 1]) is None
    growth = growth_of(credits, names)
    assert growth is not None and growth.scores.shape[1] == len(SHARES)
    assert growth.sizes[-1] == len(names)
    # noise that is each trial's own averages out: more of them are better, and would be
    means = growth.scores.mean(axis=0)
    assert (np.diff(means) > 0).all() and growth.gain(16)[0] > 0
    again = growth_of(Credits(world.home, world.store), names)
    assert again is not None and np.allclose(again.scores, growth.scores)
