"""`va-search predict` and `register` as a user calls them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from serving_world import WEIGHTS, Served, make_ensemble, make_served, write_store
from typer.testing import CliRunner, Result

from va_search.cli.main import app


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    return make_served(tmp_path_factory.mktemp("cli-served"))


def call(served: Served, *arguments: str) -> Result:
    return CliRunner().invoke(
        app, [*arguments, "--home", str(served.home.root)], env={"COLUMNS": "140"}
    )


def predict(served: Served, out: Path, *more: str, data: Path | None = None) -> Result:
    given = ["mix", "--data", str(data or served.store.path), "--out", str(out), "--device", "cpu"]
    return call(served, "predict", *given, *more)


def test_predict_and_again(served: Served, tmp_path: Path) -> None:
    first = predict(served, tmp_path / "out", "--split", "test")
    assert first.exit_code == 0, first.output
    assert "out: 4 test recordings, 239 rows" in first.stdout and first.stdout.startswith("wrote ")
    assert "predicted by 3 members on cpu, from face, voice; read back" in first.stdout
    assert "the bank has predictions of these recordings: the largest difference is" in first.stdout
    assert (
        first.stderr == f"home {served.home.root}\n"
        and len(list((tmp_path / "out").glob("r*.csv"))) == 4
    )
    again = predict(served, tmp_path / "out", "--split", "validation")
    assert (
        again.stdout.startswith("replaced ")
        and "the study's own, scores on them are too high" in again.stdout
    )


def test_predictions_never_take_a_submissions_place_unasked(served: Served, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert call(served, "submit", "mix", "--out", str(out)).exit_code == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    refused = predict(served, out, "--split", "validation")
    assert refused.exit_code == 2
    assert (
        "holds the submission of ensemble 'mix', and this is the predictions of 'mix'"
        in refused.stderr
    )
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    replaced = predict(served, out, "--split", "validation", "--replace")
    assert replaced.exit_code == 0 and replaced.stdout.startswith("replaced ")
    back = call(served, "submit", "mix", "--out", str(out))
    assert back.exit_code == 2 and "holds the predictions of ensemble 'mix'" in back.stderr
    assert call(served, "submit", "mix", "--out", str(out), "--replace").exit_code == 0


def test_predict_json(served: Served, tmp_path: Path) -> None:
    document = json.loads(predict(served, tmp_path / "out", "--json").stdout)
    assert (document["split"], document["rows"], document["members"], document["device"]) == (
        "test",
        239,
        3,
        "cpu",
    )
    assert (
        document["files"] == ["r07.csv", "r08.csv", "r09.csv", "r10.csv"]
        and document["replaced"] is False
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["--split", "tset"], "unknown split 'tset'; did you mean 'test'"),
        (["--data", "nowhere"], "nowhere: not a store"),
        (["--device", "gpu"], "--device 'gpu' can't be used here"),
        (["--device", "cuda:99"], "--device 'cuda:99' can't be used here"),
    ],
)
def test_wrong_input_ends_with_2(
    served: Served, tmp_path: Path, change: list[str], said: str
) -> None:
    result = predict(served, tmp_path / "out", *change)
    assert result.exit_code == 2 and said in result.stderr and not (tmp_path / "out").exists()
    assert call(served, "predict", "mxi", "--data", "x", "--out", "o").exit_code == 2


def test_every_reason_why_a_store_does_not_fit(served: Served, tmp_path: Path) -> None:
    sets = {"face": ("visual", ("smile", "AU 04", "gaze.y"))}
    other = write_store(tmp_path / "other", sets=sets, splits=["train"] * 11)
    result = predict(served, tmp_path / "out", data=other.path)
    assert result.exit_code == 2
    for said in (
        "no test recordings",
        "column 2 is 'gaze.y', expected 'gaze.x'",
        "feature set 'voice' is missing",
    ):
        assert said in result.stderr


def test_a_name_mlflow_cannot_have_and_members_from_elsewhere(served: Served) -> None:
    result = call(served, "register", "mix", "--name", "a/b")
    assert result.exit_code == 2 and "model name 'a/b'" in result.stderr
    weights = {"valence": {"outside-red": 1.0}, "arousal": WEIGHTS["arousal"]}
    make_ensemble(served.home, served.store, weights, "red", outside=("outside-red",))
    result = call(served, "register", "red")
    assert (
        result.exit_code == 2
        and "first/outside-red" in result.stderr
        and "Traceback" not in result.stderr
    )


def test_what_register_tells_has_no_password(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("va_search.serving.register.log_ensemble", lambda *given: "run")
    monkeypatch.setattr("va_search.serving.register.log_version", lambda *given: (1, True))
    monkeypatch.setattr("va_search.tracking.ensembles.renew_verdict", lambda *given: None)
    result = call(
        served, "register", "mix", "--tracking-uri", "http://user:secret@host:5000", "--json"
    )
    assert result.exit_code == 0 and "secret" not in result.output
    assert json.loads(result.stdout)["tracking_uri"] == "http://host:5000"
    assert (
        "export MLFLOW_TRACKING_URI=http://host:5000  # with your user and password"
        in result.stderr
    )
    result = call(served, "register", "mix", "--tracking-uri", "http://host:5000")
    assert "export MLFLOW_TRACKING_URI=http://host:5000\n" in result.stdout


def test_what_is_registered_is_noted_at_the_url_of_a_home(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VA_SEARCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("va_search.serving.register.log_ensemble", lambda *given: "run")
    monkeypatch.setattr("va_search.serving.register.log_version", lambda *given: (3, True))
    monkeypatch.setattr("va_search.tracking.ensembles.renew_verdict", lambda *given: None)
    shutil.copytree(
        served.home.root, tmp_path / "far", ignore=shutil.ignore_patterns("registered.json")
    )
    given = [
        "register",
        "mix",
        "--tracking-uri",
        "http://host:5000",
        "--home",
        f"file://{tmp_path}/far",
    ]
    result = CliRunner().invoke(app, given)
    assert result.exit_code == 0, result.output
    noted = json.loads((tmp_path / "far" / "ensembles" / "mix" / "registered.json").read_text())
    assert noted["models"]["mix"]["version"] == 3


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_server_out_of_reach_is_said(served: Served) -> None:
    program = "from va_search.cli.main import app; app()"
    given = [
        "register",
        "mix",
        "--home",
        str(served.home.root),
        "--tracking-uri",
        "http://user:secret@127.0.0.1:9",
    ]
    done = subprocess.run(
        [sys.executable, "-c", program, *given], check=False, capture_output=True, text=True
    )
    assert done.returncode == 1 and "error: MLflow at http://127.0.0.1:9" in done.stderr
    assert "Traceback" not in done.stderr and "secret" not in done.stderr
