"""Fused seeds in a search: which trials can be trained as one model, and where a search may ask for
it.

Conventions: the trials of a group are of one configuration and fold and differ in their seeds. See
fused_trial.py."""

from __future__ import annotations

from collections.abc import Callable

from va_search.errors import InputError
from va_search.models.menu import ENCODERS
from va_search.search.configurations import Space
from va_search.trial_settings import TrialSettings, configuration_id


def check_fusing(space: Space, trials: int) -> None:
    """Refuse `--fuse-seeds` where it can't work or would do nothing."""
    where, problems = f"--fuse-seeds {trials}", []
    if trials == 1:
        return
    if space.early_stopping is not None:
        problems.append(
            f"{where}: trials trained as one can't be stopped one by one; leave out `early_stopping`"
        )
    if len(space.seeds) == 1:
        problems.append(
            f"{where}: the space has one seed, {space.seeds[0]}; give it several, such as seeds: [0, 1, 2]"
        )
    encoders = space.declared("encoder")
    if not any(ENCODERS[name].stackable for name in encoders):
        stackable = [entry.name for entry in ENCODERS.values() if entry.stackable]
        problems.append(
            f"{where}: encoder {' and '.join(encoders)} can't be trained as one model, only "
            f"{' and '.join(stackable)} can"
        )
    if problems:
        raise InputError(*problems)


def partners(settings: TrialSettings) -> Callable[[TrialSettings], bool]:
    """Return a test for trials that can be trained as one model with this one: other seeds of its
    configuration, none where its parts can't be stacked."""
    if not settings.stackable:
        return lambda _: False
    of = configuration_id(settings, but=("seed",))
    return lambda other: configuration_id(other, but=("seed",)) == of
