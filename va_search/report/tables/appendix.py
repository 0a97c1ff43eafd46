"""How it was made: settings that all trials share, those that vary, package version and command."""

from __future__ import annotations

import json

from va_search.report.gather import Gathered
from va_search.report.model import Missing, Table, columns, row
from va_search.report.words import value_text
from va_search.trial_settings import TrialSettings, unused

MOST = 8
"""Values of one setting that are listed."""


def settings_table(gathered: Gathered) -> Table:
    """Every setting with the values it took over the complete trials, those that vary first."""
    title = "Settings of the complete trials"
    everyone = [trial.settings for trial in gathered.trials if trial.settings is not None]
    if not everyone:
        return Table(title, missing=Missing("No trained trial is complete."))
    documents = [settings.model_dump(mode="json") for settings in everyone]
    rows = []
    options = {name for document in documents for name in document} - set(
        TrialSettings.model_fields
    )
    for name in (*TrialSettings.model_fields, *sorted(options)):
        used = [
            document[name]
            for document in documents
            if name in document and name not in unused(document)
        ]
        counts: dict[str, int] = {}
        for value in used:
            counts[json.dumps(value)] = counts.get(json.dumps(value), 0) + 1
        if counts:
            rows.append((len(counts) == 1, row(name, _values(counts), str(len(used)))))
    rows.sort(key=lambda entry: entry[0])
    return Table(
        title,
        columns("Setting", "Values (trials)", numbers=("Trials with it",)),
        tuple(one for _, one in rows),
        notes=(
            "A setting without effect in a trial (such as attention heads of an LSTM) is not counted there.",
        ),
    )


def _values(counts: dict[str, int]) -> str:
    values = {text: json.loads(text) for text in counts}
    if len(counts) == 1:
        return value_text(next(iter(values.values())))
    if len(counts) > MOST and all(isinstance(value, int | float) for value in values.values()):
        return f"{len(counts)} values from {value_text(min(values.values()))} to {value_text(max(values.values()))}"
    ranked = sorted(counts, key=lambda text: -counts[text])
    listed = ", ".join(f"{value_text(values[text])} ({counts[text]})" for text in ranked[:MOST])
    return listed + (f", … {len(counts) - MOST} more" if len(counts) > MOST else "")
