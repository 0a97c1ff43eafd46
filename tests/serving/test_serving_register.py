"""An ensemble in MLflow's registry, really served: `mlflow models predict` gives the submission's
numbers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from serving_world import TRIALS, read_folder, train
from typer.testing import CliRunner

from va_search.cli.main import app
from va_search.data.simulate import simulate
from va_search.data.store import Store
from va_search.files import read_json
from va_search.home import Home
from va_search.predictions.bank import Bank

BIN = Path(sys.executable).parent
REPOSITORY = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def call(home: Home, *arguments: str) -> str:
    result = CliRunner().invoke(app, [*arguments, "--home", str(home.root), "--json"])
    assert result.exit_code == 0, result.output
    return result.stdout


def recipe(name: str) -> str:
    return str(REPOSITORY / "ensembles" / f"{name}.yaml")


def table_of(store: Store, names: list[str]) -> pd.DataFrame:
    """The test recordings, with the columns a user has: names of the source."""
    tables = []
    for one in store.split("test"):
        gap = np.zeros(one.frames, dtype=bool)
        gap[list(one.gaps)] = True
        table = {
            "recording": one.name,
            "subject": one.subject,
            "frames_per_second": one.frames_per_second,
            "gap": gap,
        }
        for name in names:
            values = store.features(name)[one.start : one.stop].astype(np.float32)
            columns = store.feature_sets[name].columns
            table |= {f"{name}.{column}": values[:, index] for index, column in enumerate(columns)}
        tables.append(pd.DataFrame(table))
    return pd.concat(tables, ignore_index=True)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A simulated challenge, trained trials, an ensemble `mix`, its submission, and the registered
    model."""
    folder = tmp_path_factory.mktemp("registered")
    home, store = Home(folder / "home"), simulate(folder / "store", size="tiny")
    for trial, settings in TRIALS.items():
        train(Bank(home.bank), store, "first", trial, settings)
    call(home, "ensemble", "first", "--recipe", recipe("mean"), "--name", "mix", "--no-tracking")
    call(home, "submit", "mix", "--out", str(folder / "submission"))
    call(
        home,
        "predict",
        "mix",
        "--data",
        str(store.path),
        "--out",
        str(folder / "predicted"),
        "--device",
        "cpu",
    )
    return home


@pytest.fixture(scope="module")
def registered(home: Home) -> dict[str, object]:
    return dict(json.loads(call(home, "register", "mix")))


def environment(home: Home) -> dict[str, str]:
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}
    quiet["PYTHONDONTWRITEBYTECODE"] = (
        "1"  # lest what loads the model leave .pyc files beside its code
    )
    return {**os.environ, **quiet, "MLFLOW_TRACKING_URI": home.tracking_uri, "OMP_NUM_THREADS": "1"}


def test_mlflow_predicts_what_is_submitted(
    home: Home, registered: dict[str, object], tmp_path: Path
) -> None:
    store = Store.open(home.root.parent / "store")
    table = table_of(store, ["face", "voice"])
    table.to_csv(tmp_path / "features.csv", index=False)
    command = [
        str(BIN / "mlflow"),
        "models",
        "predict",
        "-m",
        str(registered["uri"]),
        "--env-manager",
        "local",
    ]
    command += ["-t", "csv", "-i", "features.csv", "-o", "out.json"]
    subprocess.run(command, cwd=tmp_path, env=environment(home), check=True, capture_output=True)
    found = pd.DataFrame(read_json(tmp_path / "out.json")["predictions"])
    assert found["recording"].tolist() == table["recording"].tolist()
    for folder in ("submission", "predicted"):
        expected = read_folder(home.root.parent / folder, store)
        assert np.ptp(expected, axis=0).min() > 0.01
        assert np.abs(found[["valence", "arousal"]].to_numpy() - expected).max() <= 1e-5, folder
    assert not (tmp_path / "mlflow.db").exists() and not (tmp_path / "mlruns").exists()


def test_the_model_brings_its_code_and_no_pickle(
    home: Home, registered: dict[str, object], tmp_path: Path
) -> None:
    files = [path for path in home.artifacts.rglob("*") if path.is_file()]
    assert not [
        path for path in files if path.suffix in (".pkl", ".pickle", ".pt", ".pyc", ".joblib")
    ]
    assert len([path for path in files if path.suffix == ".safetensors"]) >= 3
    program = f"""
import mlflow, pandas
model = mlflow.pyfunc.load_model({str(registered["uri"])!r})
found = model.predict(model.input_example)
import va_search
print(va_search.__file__, len(found), list(found.columns), model.metadata.signature.inputs.input_names()[:4])
try:
    model.predict(model.input_example.drop(columns="face.face_1"))
except Exception as error:
    print(error)
"""
    run = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment(home),
        check=True,
        capture_output=True,
        text=True,
    )
    assert (
        str(home.artifacts) in run.stdout
    )  # the model's copy of the package, not the installed one
    said = "12 ['recording', 'valence', 'arousal'] ['recording', 'subject', 'frames_per_second', 'gap']"
    assert said in run.stdout and "Model is missing inputs ['face.face_1']" in run.stdout


def test_the_same_content_keeps_its_version(home: Home, registered: dict[str, object]) -> None:
    from mlflow import MlflowClient

    assert registered["version"] == 1 and registered["new"] is True
    again = json.loads(call(home, "register", "mix"))
    assert again["version"] == 1 and again["new"] is False
    given = [
        "ensemble",
        "first",
        "--recipe",
        recipe("best"),
        "--name",
        "mix",
        "--force",
        "--home",
        str(home.root),
    ]
    rebuilt = CliRunner().invoke(app, [*given, "--no-tracking"])
    assert "models:/mix/1 is of an earlier build of ensemble mix" in rebuilt.stdout
    (
        home.ensemble("mix").with_suffix("") / "registered.json"
    ).unlink()  # as another machine, or version, left it
    rebuilt = CliRunner().invoke(app, given)
    assert "models:/mix/1 is of an earlier build of ensemble mix" in rebuilt.stderr
    newer = json.loads(call(home, "register", "mix"))
    assert newer["version"] == 2 and newer["new"] is True and newer["run"] == registered["run"]
    client = MlflowClient(home.tracking_uri)
    assert [one.version for one in client.search_model_versions("name = 'mix'")] == [2, 1]
    page = client.get_model_version("mix", "2")
    assert "recipe `best`" in str(page.description) and page.run_id == newer["run"]
    assert client.get_run(newer["run"]).info.status == "FINISHED"
