"""What decided, as a report shows it: a table and a picture for each target."""

from __future__ import annotations

import numpy as np
from trial_world import make_trial

from va_search.report.figures.settings import decisive_figure
from va_search.report.tables.decisive import decisive_table
from va_search.search.importance import decisive_settings
from va_search.trial import Trial
from va_search.trial_settings import TrialSettings

NOISE = 0.03


def trials(number: int) -> list[Trial]:
    """Normalisation decides valence, the voice helps arousal, and dropout does nothing."""
    made = []
    random = np.random.default_rng(0)
    for index in range(number):
        normalise = ("train", "recording")[index % 2]
        features = ("face", "voice") if index // 2 % 2 else ("face",)
        dropout = 0.1 if index // 4 % 2 else 0.3
        settings = TrialSettings(
            features=features, normalise=normalise, encoder_dropout=dropout, width=8 + 8 * index
        )
        valence = (0.5 if normalise == "train" else 0.2) + random.normal(0, NOISE)
        arousal = (0.5 if "voice" in features else 0.3) + random.normal(0, NOISE)
        made.append(make_trial(id=f"t{index}", settings=settings, ccc=(valence, arousal)))
    return made


def test_the_better_value_stands_with_its_gain_and_how_sure_it_is() -> None:
    made = trials(24)
    decisive = {name: decisive_settings(made, name) for name in ("valence", "arousal", "score")}
    table = decisive_table(decisive)
    heads = ["Setting", "Valence", "Arousal", "Score"]
    assert [column.name for column in table.columns] == heads
    rows = {each.cells[0].text: each.cells[1:] for each in table.rows}
    assert list(rows)[:2] == ["Feature sets and model", "features: voice"]
    assert rows["normalise"][0].text.startswith("train +0.") and rows["normalise"][0].best
    assert (
        rows["features: voice"][1].text.startswith("with +0.") and rows["features: voice"][1].best
    )
    assert not any(cell.best for cell in rows["encoder_dropout"])
    figure = decisive_figure(decisive)
    assert len(figure.pictures) == 2, "the score is in the table alone"
    assert figure.pictures[0].alt.startswith("What decided for valence: normalise: train +0.")
    assert figure.pictures[1].alt.startswith("What decided for arousal: features: voice: with +0.")


def test_few_trials_tell_nothing_and_the_report_says_so() -> None:
    decisive = {"valence": decisive_settings(trials(4), "valence")}
    for part in (decisive_table(decisive), decisive_figure(decisive)):
        assert part.missing is not None
        assert part.missing.why.startswith("Too few trials to tell (4 configurations")
    assert decisive_table({"valence": []}).missing is not None
