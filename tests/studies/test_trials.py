"""All trials of a study as one table, and one trial with its curve, files and weights."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ensemble_world import World, make_world
from serving_world import TRIALS, make_ensemble, train, write_store
from trial_world import make_trial
from typer.testing import CliRunner

from va_search.api.study import OpenStudy, open_study
from va_search.cli.main import app
from va_search.cli.trials import chart
from va_search.errors import InputError
from va_search.home import Home
from va_search.predictions.bank import Bank
from va_search.search.study import Study
from va_search.trial import Epoch

HISTORY = [Epoch(number, loss=1.0 / number, score=number / 10) for number in range(1, 6)]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Study `first` of trials a0, a1, a2, a failed one and one that was never finished."""
    world = make_world(tmp_path_factory.mktemp("trials"), trials=2)
    world.add("first", "b2", seed=2, noise=0.3, history=HISTORY, device="cpu", seconds=12.5)
    study = Study(world.home, "first")
    study.begin(world.store, {"settings": {"features": ["face"]}})
    settings = make_trial("first", settings=world.bank.trial("first", "a0").settings)
    noted = dict(settings.noted_settings or {})
    study.record_failure("bad", {**noted, "seed": 9}, "Traceback\nValueError: no\n")
    study.ask("open", {**noted, "seed": 10})
    return world


@pytest.fixture
def study(world: World) -> OpenStudy:
    return open_study("first", home=world.home.root)


def run(world: World, *words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, [*words, "--home", str(world.home.root)])
    return result.exit_code, result.stdout


def test_the_table_has_every_trial_and_first_the_settings_that_differ(study: OpenStudy) -> None:
    table = study.trials(every=True)
    assert list(table.index) == ["b2", "a0", "a1", "bad", "open"]
    assert list(table["state"]) == ["complete", "complete", "complete", "failed", "unfinished"]
    begin = ["state", "score", "valence", "arousal", "encoder", "fold", "seed", "epochs_trained"]
    assert list(table.columns[:8]) == begin
    assert table.columns.is_unique
    assert table.loc["bad", "failure"] == "ValueError: no"
    assert table.loc["b2", "device"] == "cpu"
    assert table.loc["b2", "head_sizes"] == "512+256"
    # What was there before is what it was.
    assert list(study.trials().index) == ["b2", "a0", "a1"]


def test_the_table_is_written_as_csv(world: World, tmp_path: Path, study: OpenStudy) -> None:
    file = tmp_path / "first.csv"
    code, text = run(world, "trials", "first", "--csv", str(file))
    assert (code, text) == (0, f"wrote 5 trials of study first to {file}\n")
    with file.open() as lines:
        rows = list(csv.DictReader(lines))
    assert [row["trial"] for row in rows] == list(study.trials(every=True).index)
    assert float(rows[0]["score"]) == study.trials().loc["b2", "score"]
    assert run(world, "trials", "first", "--csv", str(tmp_path / "none" / "x.csv"))[0] == 2


def test_a_trial_is_shown_with_its_curve_and_lines_of_python_that_run(world: World) -> None:
    code, text = run(world, "trial", "first/b")
    assert code == 0
    assert "trial first/b2: valence" in text
    assert "5 epochs of 30; best epoch: valence 1" in text
    assert "score by epoch:" in text
    assert "in no ensemble of this home" in text
    assert "0.500 |    *" in text
    code, text = run(world, "trial", "first/b2", "--json")
    document = json.loads(text)
    assert set(document["files"]) == {"test.arrow", "trial.json", "validation.arrow"}
    names: dict[str, object] = {}
    exec("\n".join(document["python"]), names)
    assert list(names["trial"].curves["score"]) == [0.1, 0.2, 0.3, 0.4, 0.5]  # type: ignore[attr-defined]


@pytest.mark.parametrize("is_at_url", [False, True], ids=["folder", "url"])
def test_the_lines_of_python_load_the_weights_wherever_the_home_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_at_url: bool
) -> None:
    store = write_store(tmp_path / "store")
    home = Home(tmp_path / "home")
    train(Bank(home.bank), store, "first", "c", TRIALS["c"])
    make_ensemble(home, store, {"valence": {"c": 1.0}, "arousal": {"c": 0.25}})
    # Of a home at a URL this machine has nothing yet.
    monkeypatch.setenv("VA_SEARCH_CACHE", str(tmp_path / "cache"))
    place = f"file://{home.root}" if is_at_url else str(home.root)
    result = CliRunner().invoke(app, ["trial", "first/c", "--home", place])
    assert result.exit_code == 0, result.output
    text = result.stdout
    assert f"Files in {place}/bank/first/c" in text
    for file in (home.bank / "first" / "c").iterdir():
        assert file.name in text
    assert "in ensemble mix, with weight: valence 1.00, arousal 0.25" in text
    assert "│ encoder" in text and "hidden_size" in text and "attention_heads" not in text
    snippet = [line.strip() for line in text.partition("In Python:\n")[2].splitlines()]
    assert snippet[0] == "import va_search as va"
    names: dict[str, Any] = {}
    exec("\n".join(snippet), names)
    recordings = store.recordings[:1]
    predicted = names["valence"].predict(names["store"], recordings)
    assert predicted.shape == (recordings[0].frames, 2) and np.isfinite(predicted).all()
    sizes = names["trial"].files
    assert (
        sizes["valence.safetensors"] == (home.bank / "first/c/valence.safetensors").stat().st_size
    )


def test_a_beginning_of_an_id_must_be_of_one_trial(study: OpenStudy) -> None:
    assert study.trial("b").id == "b2"
    with pytest.raises(InputError, match="2 trials begin with 'a': a0, a1"):
        study.trial("a")
    with pytest.raises(InputError, match="unknown trial 'c'"):
        study.trial("c")


def test_a_trial_that_is_not_complete_is_said_to_be_so(study: OpenStudy) -> None:
    with pytest.raises(
        InputError, match=r"trial bad is not complete: it failed \(ValueError: no\)"
    ):
        study.trial("bad")
    with pytest.raises(InputError, match="trial open is not complete: it runs, or was left unfin"):
        study.trial("op")


def test_a_trial_without_weights_says_so(study: OpenStudy) -> None:
    trial = study.trial("b2")
    assert trial.weights == {}
    with pytest.raises(InputError, match="trial first/b2 keeps no weights"):
        trial.load_model()


def test_a_chart_fits_its_columns() -> None:
    lines = chart([(epoch, float(epoch)) for epoch in range(1, 201)], width=20, height=4)
    assert len(lines) == 6
    assert max(len(line) for line in lines) <= 30
    assert lines[0].startswith("200.000 |")
