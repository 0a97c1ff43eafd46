"""Plan, preview and run a search.

Conventions: `space` is a YAML file, the name of one that comes with va-search (`any`), a dict of the
same content, or a space that is loaded. `home` is a folder, a URL or an open home; by default the
one of VA_SEARCH_HOME, or ./va-home. `options` say on what to run, and change no result."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from va_search.api.data import open_store
from va_search.api.home import OpenHome, open_home
from va_search.api.notify import Notifier, notifying, watched
from va_search.api.progress import Note, search_progress, silent, to_standard_error
from va_search.files import written_or_shipped

if TYPE_CHECKING:
    from va_search.api.study import OpenStudy
    from va_search.data.store import Store
    from va_search.ensemble.credit import Credits
    from va_search.home import Home
    from va_search.search.configurations import Space
    from va_search.search.machine import Options
    from va_search.search.plan import Plan
    from va_search.search.preview import Preview
    from va_search.search.summary import Progress
    from va_search.search.worth import Gain
    from va_search.tracking.delivery import Pictures
    from va_search.trial import Trial

    AnySpace = Space | Mapping[str, Any] | str | Path
    AnyStore = Store | str | Path
    AnyHome = OpenHome | str | Path | None


def load_space(space: AnySpace, store: AnyStore) -> Space:
    """The search space, checked against the store; InputError with every problem and its line."""
    from va_search.search import space as spaces

    # a command loads its space first, so that a wrong one is refused before a home is named
    if isinstance(space, spaces.Space):
        return space
    store = open_store(store)
    if isinstance(space, Mapping):
        return spaces.read_space(dict(space), store, path=Path("the space"), name="space")
    return spaces.load_space(written_or_shipped(Path(space), "search_spaces"), store)


def with_budget(space: Space, store: Store, budget: Mapping[str, float | None] | None) -> Space:
    """The space with another budget, for those of its keys that are given; None leaves one as it
    is."""
    changed = {key: value for key, value in (budget or {}).items() if value is not None}
    if not changed:
        return space
    document = {**space.document}
    document["budget"] = {**(document.get("budget") or {}), **changed}
    return load_space(document, store)


def make_plan(
    space: AnySpace, store: AnyStore, *, home: AnyHome = None, options: Options | None = None
) -> Plan:
    """Count the trials of a space and estimate their time from a few trained batches or finished
    trials.

    Nothing is written. InputError with everything that would keep the search from running."""
    from va_search.search import plan

    store = open_store(store)
    with open_home(home).using() as opened:
        return plan.make_plan(opened.files, load_space(space, store), store, options)


def preview_search(
    space: AnySpace,
    store: AnyStore,
    *,
    study: str,
    home: AnyHome = None,
    options: Options | None = None,
    warm_start: Sequence[str] = (),
) -> Preview:
    """The trials that `run_search` would train if it began now; nothing is trained or written.

    InputError where `run_search` would refuse."""
    from va_search.search.preview import make_preview

    store = open_store(store)
    space = load_space(space, store)
    with open_home(home).using() as opened:
        return make_preview(
            opened.files, space, store, study=study, options=options, warm_start=warm_start
        )


def run_search(
    space: AnySpace,
    store: AnyStore,
    *,
    study: str,
    home: AnyHome = None,
    options: Options | None = None,
    budget: Mapping[str, float | None] | None = None,
    warm_start: Sequence[str] = (),
    stop_after: float | None = None,
    join: bool = False,
    only: Literal["failed", "begun"] | None = None,
    progress: bool | Callable[[Progress], None] = True,
    note: Note | None = None,
    notify: str | Notifier | None = None,
) -> OpenStudy:
    """Train the space's trials under a study's name; the same call again goes on from what is
    finished.

    `budget`: takes the place of the space's, key by key, such as {"hours": 2, "worth": 0.01}.
    `warm_start`: earlier studies whose trials TPE learns first. `stop_after`: seconds of wall time
    after which the search ends, whatever runs then. `join`: search together with other processes
    that search the study already, on any machine that has this home. `only`: train again nothing but what `failed`,
    or what was `begun` too. `progress`: a line in the terminal or notebook, or a function that is
    called about once a second; False shows nothing. `note` takes each sentence to know beforehand;
    by default it goes to standard error, or nowhere without progress. `notify`: a command that is
    run at a new best trial and at the end (api/notify.py), or a notifier of a larger job.

    Ctrl-C, the stop button of a notebook and SIGTERM end the search with everything finished saved
    and raise Interrupted; TimeIsUp after `stop_after`. JobError when trials are missing for no
    reason of the budget's (`.summary` says what there is). InputError with all `.problems` before
    anything is trained."""
    from va_search.api.study import OpenStudy
    from va_search.search import run
    from va_search.search.machine import Options as Machine

    store = open_store(store)
    space = with_budget(load_space(space, store), store, budget)
    opened = open_home(home)
    if note is None:
        note = to_standard_error if progress else silent

    def search(watch: Callable[[Progress], None]) -> OpenStudy:
        request = run.Request(study, options or Machine(), warm_start, only, stop_after, join)
        estimates = Estimates(opened.files, store)
        callbacks = run.Callbacks(
            watch=watch,
            note=note,
            credit=estimates if space.objective == "ensemble" else None,
            prospect=estimates.gain,
            pictures=pictures_for(opened.files, space, store, study),
            load_pictures=load_study_page,
        )
        summary = run.run_search(opened.files, space, store, request, callbacks)
        return OpenStudy(opened, study, summary)

    # Of a larger job a search is a part, whose end is none of the job's.
    if isinstance(notify, Notifier):
        return _shown(search, progress, notify)
    with notifying(notify, study, note) as notifier:
        searched = _shown(search, progress, notifier)
        if notifier is not None and searched.summary is not None:
            notifier.finish(searched.summary)
    return searched


def _shown(
    search: Callable[[Callable[[Progress], None]], OpenStudy],
    progress: bool | Callable[[Progress], None],
    notifier: Notifier | None,
) -> OpenStudy:
    """Search with its progress shown; the line of progress ends before the study is returned, and
    with it shown."""
    if progress is True:
        with search_progress() as watch:
            return search(watched(watch, notifier))
    return search(watched(progress or silent, notifier))


class Estimates:
    """The ensemble as a search asks for it: what trials add to it, and what it may gain by more.

    Predictions are read once for both; the ensemble's code is imported when it is first asked."""

    def __init__(self, home: Home, store: Store) -> None:
        self._home, self._store = home, store

    @cached_property
    def _credits(self) -> Credits:
        from va_search.ensemble.credit import Credits

        return Credits(self._home, self._store)

    def __call__(self, trials: Sequence[tuple[str, str]]) -> Mapping[tuple[str, str], float]:
        """Credits of trials, given as (study, trial)."""
        return self._credits(trials)

    def gain(self, trials: Sequence[tuple[str, str]], more: float) -> Gain | None:
        """The gain of the ensemble of these trials by so many more."""
        from va_search.ensemble.growth import growth_of
        from va_search.search.worth import Gain

        growth = growth_of(self._credits, trials)
        if growth is None:
            return None
        return Gain(*growth.gain(more), growth.score, len(trials))


def load_study_page() -> None:
    """Import what draws a study."""
    import va_search.report.study_page  # noqa: F401


def pictures_for(home: Home, space: Space, store: Store, study: str) -> Pictures:
    """The callable that draws a study for its parent run in MLflow; imported when it first
    draws."""

    def pictures(trials: Sequence[Trial]) -> Mapping[str, Any]:
        from va_search.report.study_page import study_page

        return study_page(home, study, space.objective, store, trials)

    return pictures
