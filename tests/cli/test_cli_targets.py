"""`status` of studies with one target, and with three."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from target_study import STUDY, make_target_study
from target_world import ONE, THREE
from typer.testing import CliRunner

from va_search.cli.main import app
from va_search.table import number
from va_search.targets import Target, names


@pytest.mark.parametrize("targets", [ONE, THREE], ids=["one", "three"])
def test_status_has_a_column_and_a_best_for_each_target(
    tmp_path: Path, targets: tuple[Target, ...]
) -> None:
    study = make_target_study(tmp_path, targets)
    command = ["status", STUDY, "--home", str(study.home.root)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    heads = next(line for line in done.stdout.splitlines() if "┃ trial" in line)
    assert heads.replace("┃", " ").split()[: 2 + len(targets)] == [
        "trial",
        "score",
        *names(targets),
    ]
    best = study.best("score")
    row = next(line for line in done.stdout.splitlines() if best.id in line)
    wanted = [number(best.ccc(name)) for name in ("score", *names(targets))]
    assert row.replace("│", " ").split()[1 : 2 + len(targets)] == wanted
    done = CliRunner().invoke(app, [*command, "--json"])
    complete = {trial["trial"]: trial for trial in json.loads(done.stdout)["complete"]}
    for trial in study.trials:
        measured = complete[trial.id]["best"]
        assert set(measured) == {*names(targets), "score"}
        for target in names(targets):
            assert measured[target]["ccc"] == pytest.approx(trial.ccc(target))
