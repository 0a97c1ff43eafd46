"""`va-search demo`: the whole job on a simulated challenge, scored on the labels that a challenge
would withhold."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from va_search.cli.ensemble import DEFAULT_RECIPE, log
from va_search.cli.output import DEFAULT_HOME, HomeOption, JsonOption, Output, command, duration
from va_search.cli.places import opened
from va_search.cli.search import run
from va_search.errors import counted
from va_search.table import number

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from rich.table import Table

    from va_search.data.store import Store
    from va_search.ensemble.saved import Ensemble
    from va_search.files import Home

EXAMPLE = "Example: va-search demo"
NAME = "demo"


def demo(
    home: HomeOption = DEFAULT_HOME,
    folder: Annotated[
        Path, typer.Option(help="Where the simulated challenge and the submission go.")
    ] = Path("demo"),
    as_json: JsonOption = False,
) -> None:
    """Simulate a challenge, audit it, search it, build an ensemble per dimension and score its
    submission."""
    with command(as_json) as output, opened(home, "predictions", writes=True) as where:
        from va_search.data.simulate import simulate

        started = time.monotonic()
        hidden = folder / "hidden-labels"
        store = simulate(folder / "store", size="demo", hidden=hidden)
        _audit(output, store)
        _search(output, where, store)
        ensemble = _ensemble(output, where, store)
        _submit(output, where, store, ensemble, folder / "submission")
        scores = _scores(where, store, ensemble, folder / "submission", hidden)
        output.show(_table(scores))
        output.show(f"the whole job took {duration(time.monotonic() - started)}")
        _next(output, where, folder)
        output.done(scores)


def _audit(output: Output, store: Store) -> None:
    from va_search.data.audit import check

    report = check(store)
    counts = " · ".join(
        f"{len(store.split(name))} {name}" for name in ("train", "validation", "test")
    )
    sets = ", ".join(
        f"{name} ({entry.modality}, {entry.dim})" for name, entry in store.feature_sets.items()
    )
    output.show(f"1 data      {store.path}: {counts} recordings, {store.frames:,} frames; {sets}")
    levels = [finding.level for finding in report.findings]
    found = ", ".join(counted(levels.count(level), level) for level in ("error", "warning", "note"))
    output.show(f"2 audit     {found} (va-search data check {store.path})")


def _search(output: Output, home: Home, store: Store) -> None:
    from va_search.files import shipped
    from va_search.search.machine import Options
    from va_search.search.space import load_space

    space = load_space(shipped("search_spaces/demo.yaml"), store)
    output.show(
        f"3 search    search_spaces/demo.yaml, {space.budget.trials} trials with Ray on this machine"
    )
    run(output, home, space, store, study=NAME, options=Options())


def _ensemble(output: Output, home: Home, store: Store) -> Ensemble:
    from va_search.ensemble.build import build
    from va_search.ensemble.recipe import load_recipe
    from va_search.files import shipped

    recipe = load_recipe(str(shipped(f"ensembles/{DEFAULT_RECIPE}.yaml")))
    ensemble = build(home, [NAME], recipe, NAME, store, force=True)
    log(output, home, ensemble, None)
    members = ", ".join(
        f"{name} {len(chosen.members)}" for name, chosen in ensemble.dimensions.items()
    )
    output.show(
        f"4 ensemble  recipe {recipe.name}, members: {members}, chosen on validation, of {ensemble.candidates} trials"
    )
    return ensemble


def _submit(output: Output, home: Home, store: Store, ensemble: Ensemble, out: Path) -> None:
    from va_search.predictions.bank import Bank
    from va_search.submission import submit

    submit(ensemble, store, Bank(home.bank), format="recordings", out=out)
    output.show(
        f"5 submit    {out}: {len(store.split('test'))} test recordings, complete, finite, read back"
    )


def _scores(
    home: Home, store: Store, ensemble: Ensemble, submission: Path, hidden: Path
) -> dict[str, Any]:
    """Best single and ensemble: in-sample, out-of-fold and test CCC, per dimension and their
    mean."""
    from va_search.submission.scoring import read_labels, read_submission, scores_of

    labels = read_labels(hidden, store)
    single, submitted = (
        _best_single_on_test(home, store, ensemble),
        read_submission(submission, store),
    )
    return {
        "best single": {**ensemble.best_single, "test": scores_of(single, labels)},
        "ensemble": {**ensemble.scores, "test": scores_of(submitted, labels)},
    }


def _best_single_on_test(home: Home, store: Store, ensemble: Ensemble) -> NDArray[np.float32]:
    import numpy as np

    from va_search.data.store import frames_hash
    from va_search.predictions.bank import Bank

    columns = []
    for index, name in enumerate(("valence", "arousal")):
        best = ensemble.dimensions[name].best_single
        assert best is not None  # members have validation here
        values = Bank(home.bank).read(
            best.study, best.trial, "test", frames_hash=frames_hash(store.split("test"))
        )
        columns.append(values[:, index])
    return np.stack(columns, axis=1)


def _table(scores: dict[str, Any]) -> Table:
    from rich.table import Table

    table = Table(title="CCC on the simulated challenge", title_justify="left")
    table.add_column("")
    table.add_column("")
    measures = {
        "in_sample": "validation, in-sample",
        "out_of_fold": "validation, out-of-fold",
        "test": "test, unseen people",
    }
    for title in measures.values():
        table.add_column(title, justify="right")
    for name in ("valence", "arousal", "score"):
        for who, by_measure in scores.items():
            cells = (number((by_measure[measure] or {}).get(name)) for measure in measures)
            table.add_row(
                name if who == "best single" else "", who, *cells, end_section=who == "ensemble"
            )
    return table


def _next(output: Output, home: Home, folder: Path) -> None:
    output.show("next:")
    output.show(
        f"  .venv/bin/mlflow ui --backend-store-uri sqlite:///{home.root}/mlflow.db    every trial, at http://127.0.0.1:5000"
    )
    report = home.command("report", NAME, "--out", str(folder / "report"))
    output.show(f"  .venv/bin/{report}    tables and figures, one HTML page")
    output.show(
        "  .venv/bin/va-search data import table YOUR_FOLDER --to stores/mine    your own recordings (docs/data.md)"
    )
    output.show(
        "  .venv/bin/va-search search search_spaces/any.yaml --data stores/mine --study first"
    )
