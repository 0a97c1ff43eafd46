"""The best trials of a study and what decided, as tables."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from va_search.table import DASH, Table, TableCell, columns, number, row

if TYPE_CHECKING:
    from va_search.api.ranking import Ranking
    from va_search.search.importance import Decisive

MOST_COLUMNS = 4
"""Settings that vary get a column each; more of them share one."""
MOST_DOUBTFUL = 4
"""Settings that may matter or not, which are shown one by one."""


def ranking_tables(ranking: Ranking, most: int) -> list[Table]:
    """The best trials, and what decided; nothing where no trial has the measure, or no setting
    varies."""
    tables = []
    if ranking.trials:
        tables.append(_best_table(ranking, most))
    if ranking.decisive:
        tables.append(_decisive_table(ranking))
    return tables


def _best_table(ranking: Ranking, most: int) -> Table:
    """The best trials with all settings that vary among the study's trials, but no others."""
    from va_search.api.ranking import SECONDS
    from va_search.report.words import ELSEWHERE, kept_epochs
    from va_search.trial import SCORE

    best = ranking.trials[:most]
    names = ranking.names
    apart = names if len(names) <= MOST_COLUMNS else []
    times = [SECONDS] if ranking.measure == SECONDS else []
    rows = []
    for trial in best:
        texts = ranking.settings.get(trial.id, {})
        cells = [number(trial.ccc(name)) for name in (SCORE, *ranking.targets)]
        cells += [number(trial.seconds, 1) for _ in times]
        cells += [texts.get(name, DASH) for name in apart]
        if names and not apart:
            pairs = [f"{name} {text}" for name, text in texts.items()]
            cells.append(", ".join(pairs) or DASH)
        seed, fold = DASH, str(trial.fold or ELSEWHERE)
        if trial.settings is not None:
            seed = str(trial.settings.seed)
        rows.append(row(TableCell(trial.id, code=True), *cells, seed, fold))
    title = "Fastest trials" if times else f"Best trials by {ranking.measure}"
    heads = [*columns("trial"), *columns(SCORE, *ranking.targets, *times, kind="number")]
    heads += columns(*apart)
    if names and not apart:
        heads += columns("settings that vary in the study", kind="long")
    heads += columns("seed", "fold")
    lead = kept_epochs(trial.keep for trial in best)
    return Table(title, tuple(heads), tuple(rows), lead=lead)


def _decisive_table(ranking: Ranking) -> Table:
    """What decided the measure, the largest share first."""
    shown: list[Decisive] = []
    silent: list[Decisive] = []
    doubtful = 0
    for setting in ranking.decisive:
        is_shown = setting.best is not None and setting.share > 0
        if is_shown and not setting.is_certain:
            doubtful += 1
            is_shown = doubtful <= MOST_DOUBTFUL
        (shown if is_shown else silent).append(setting)
    notes = []
    if silent:
        names = ", ".join(setting.setting for setting in silent)
        notes.append(f"No difference seen, or too few trials to tell: {names}.")
    title = f"What decided {ranking.measure}"
    if not shown:
        reason = ranking.decisive[0].sentence.partition(": ")[2]
        return Table(title, columns("Setting"), (), lead=f"{reason}.", notes=tuple(notes))
    rows = [row(f"{setting.share:.0%}", setting.sentence) for setting in shown]
    heads = (*columns("Share", kind="number"), *columns("Setting: the better value", kind="long"))
    notes.insert(
        0,
        "Share of the differences between configurations that goes with the setting, the others held "
        "equal as far as these trials allow; seeds and folds are repeats, no further evidence.",
    )
    return Table(title, heads, tuple(rows), notes=tuple(notes))


def ranking_document(ranking: Ranking, most: int) -> dict[str, object]:
    """Plain data for JSON."""
    from va_search.trial import SCORE

    best = []
    for trial in ranking.trials[:most]:
        best.append(
            {
                "trial": trial.id,
                "ccc": {name: trial.ccc(name) for name in (SCORE, *ranking.targets)},
                "seconds": trial.seconds,
                "fold": trial.fold,
                "seed": None if trial.settings is None else trial.settings.seed,
                "settings": dict(ranking.settings.get(trial.id, {})),
            }
        )
    decisive = [asdict(setting) for setting in ranking.decisive]
    return {"by": ranking.measure, "best_trials": best, "decisive": decisive}
