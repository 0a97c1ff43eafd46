"""`va-search bank`, `ensemble` and `submit` as a user calls them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ensemble_world import World, make_world, write_outside
from typer.testing import CliRunner, Result

from va_search.cli.main import app

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


def call(world: World, *arguments: str) -> Result:
    return CliRunner().invoke(
        app, [*arguments, "--home", str(world.home.root)], env={"COLUMNS": "140"}
    )


def recipe(name: str = "greedy") -> str:
    return str(REPOSITORY / "ensembles" / f"{name}.yaml")


def test_from_bank_to_submission(world: World, tmp_path: Path) -> None:
    result = call(world, "ensemble", "first", "--recipe", recipe(), "--name", "e", "--no-tracking")
    assert result.exit_code == 0, result.output
    out = result.stdout
    for said in (
        "valence:",
        "arousal:",
        "weight",
        "in-sample",
        "out-of-fold",
        "best single trial",
        "ensemble e",
    ):
        assert said in out
    assert "each trial chose its best epoch on the same recordings" in out
    assert "next: va-search submit e --format recordings --out e-submission" in out
    result = call(world, "submit", "e", "--out", str(tmp_path / "out"))
    assert result.exit_code == 0, result.output
    assert "2 files, 2 test recordings, 81 rows" in result.stdout
    assert "validation, out-of-fold" in result.stdout
    assert (tmp_path / "out" / "x2.csv").is_file()


def test_the_default_recipe_is_found_from_anywhere(world: World) -> None:
    result = call(world, "ensemble", "first", "--name", "e", "--no-tracking")
    assert result.exit_code == 0, result.output
    document = json.loads(world.home.ensemble("e").read_text())
    assert document["recipe"] == "bagged_greedy" and document["intervals"]["ensemble"]["score"]
    for said in (
        "shrunk 0.5 of the way",
        "matched (×",
        "95 % interval over 4 such groups",
        "median CCC",
        "gain",
    ):
        assert said in result.stdout
    headline = result.stdout[result.stdout.index("CCC on validation") :]
    assert headline.index("out-of-fold") < headline.index("in-sample")


def test_compare_ranks_all_recipes_and_saves_nothing(world: World) -> None:
    result = call(world, "ensemble", "first", "--compare")
    assert result.exit_code == 0, result.output
    names = ("best", "mean", "top_k", "greedy", "bagged_greedy", "exact", "nnls_matched", "auto")
    for said in (*names, "(nested; takes", "next: va-search ensemble first --recipe"):
        assert said in result.stdout
    assert not list((world.home.root / "ensembles").glob("*"))
    document = json.loads(call(world, "ensemble", "first", "--compare", "--json").stdout)
    assert {row["recipe"] for row in document["recipes"]} == set(names)
    scores = [row["out_of_fold"]["score"] for row in document["recipes"]]
    assert scores == sorted(scores, reverse=True) and document["measured_on"]["groups"] == 4
    low, high = document["recipes"][0]["intervals"]["score"]
    assert low < scores[0] < high


def test_json_is_one_document_on_standard_output(world: World, tmp_path: Path) -> None:
    given = ("--recipe", recipe(), "--name", "e", "--no-tracking", "--json")
    document = json.loads(call(world, "ensemble", "first", *given).stdout)
    saved = json.loads(world.home.ensemble("e").read_text())
    del saved["seal"]  # of the file
    assert {key: document[key] for key in saved} == saved and set(document) - set(saved) == {
        "verdict",
        "home",
    }
    submitted = json.loads(
        call(world, "submit", "e", "--out", str(tmp_path / "out"), "--json").stdout
    )
    assert submitted["rows"] == 81 and submitted["validation"]["out_of_fold"]["valence"]
    listed = json.loads(call(world, "bank", "list", "first", "--json").stdout)
    assert [one["trial"] for one in listed] == [f"a{i}" for i in range(6)]


def test_bank_add_and_list(world: World, tmp_path: Path) -> None:
    write_outside(tmp_path / "teams" / "red", world, seed=4)
    given = (
        "bank",
        "add",
        "first",
        "--from",
        str(tmp_path / "teams"),
        "--data",
        str(world.store.path),
    )
    first = call(world, *given)
    assert first.exit_code == 0 and "outside-red" in first.stdout and "new" in first.stdout
    home = f"--home {world.home.root}"
    assert (
        f"next: va-search ensemble first --recipe bagged_greedy --name first-best {home}"
        in first.stdout
    )
    assert (
        "1 outside model in study first" in first.stdout and "nearest row's value" in first.stderr
    )
    assert "unchanged" in call(world, *given).stdout
    listed = call(world, "bank", "list", "first")
    assert listed.exit_code == 0 and "outside-red" in listed.stdout and "7 trials" in listed.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("bank", "list", "fist"), "unknown study 'fist'; did you mean 'first'? (known: first)"),
        (
            ("bank", "add", "first", "--from", "nowhere", "--data", "STORE"),
            "nowhere: no such folder",
        ),
        (("bank", "add", "first", "--from", "x", "--data", "nowhere"), "nowhere: not a store"),
        (("ensemble", "fist", "--recipe", "GREEDY", "--name", "e"), "unknown study 'fist'"),
        (
            ("ensemble", "first", "--recipe", "gredy.yaml", "--name", "e"),
            "gredy.yaml: no such recipe file",
        ),
        (("ensemble", "first", "--recipe", "GREEDY", "--name", "a/b"), "ensemble name 'a/b'"),
        (("ensemble", "first"), "--name is missing"),
        (
            ("ensemble", "first", "--compare", "--name", "e"),
            "--compare saves nothing; leave out --name e",
        ),
        (("submit", "f", "--out", "o"), "unknown ensemble 'f' (known: none); build one with"),
    ],
)
def test_wrong_input_ends_with_2_and_says_what_is_known(
    world: World, arguments: tuple[str, ...], said: str
) -> None:
    replaced = {"STORE": str(world.store.path), "GREEDY": recipe()}
    result = call(world, *(replaced.get(argument, argument) for argument in arguments))
    assert result.exit_code == 2
    assert said in result.stderr


def test_a_store_that_moved_is_given_with_data(world: World, tmp_path: Path) -> None:
    call(world, "ensemble", "first", "--recipe", recipe(), "--name", "e", "--no-tracking")
    world.store.path.rename(tmp_path / "moved")
    out = str(tmp_path / "out")
    assert call(world, "submit", "e", "--out", out).exit_code == 2
    assert (
        call(world, "submit", "e", "--out", out, "--data", str(tmp_path / "moved")).exit_code == 0
    )


def test_an_unreachable_tracking_server_is_a_warning(world: World) -> None:
    result = call(
        world,
        "ensemble",
        "first",
        "--recipe",
        recipe(),
        "--name",
        "e",
        "--tracking-uri",
        "http://user:secret@127.0.0.1:9",
    )
    assert result.exit_code == 0 and world.home.ensemble("e").is_file()
    assert "warning: not logged to MLflow" in result.stderr and "Traceback" not in result.stderr
    assert "secret" not in result.output


@pytest.mark.slow
def test_the_ensemble_is_a_run_in_the_embedded_mlflow(world: World) -> None:
    from mlflow import MlflowClient

    for _ in range(2):  # the same name is the same run
        assert call(world, "ensemble", "first", "--recipe", recipe(), "--name", "e").exit_code == 0
    client = MlflowClient(world.home.tracking_uri)
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
    assert [run.info.run_name for run in runs] == ["ensemble e"]
    document = json.loads(world.home.ensemble("e").read_text())
    assert (
        runs[0].data.metrics["out_of_fold_ccc_valence"]
        == document["scores"]["out_of_fold"]["valence"]
    )


def test_nothing_heavy_is_imported(world: World, tmp_path: Path) -> None:
    program = f"""
import sys
from typer.testing import CliRunner
from va_search.cli.main import app
home = ["--home", {str(world.home.root)!r}]
for arguments in (
    ["ensemble", "first", "--recipe", {recipe()!r}, "--name", "e", "--no-tracking"],
    ["submit", "e", "--out", {str(tmp_path / "out")!r}],
    ["bank", "list", "first"],
):
    result = CliRunner().invoke(app, arguments + home)
    assert result.exit_code == 0, result.output
heavy = {{"torch", "ray", "mlflow", "optuna", "pandas", "scipy.stats", "scipy.signal"}}
print(sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_the_ensemble_command_is_quick(world: World) -> None:
    command = [
        str(Path(sys.executable).with_name("va-search")),
        "ensemble",
        "first",
        "--recipe",
        recipe(),
    ]
    command += ["--name", "e", "--no-tracking", "--home", str(world.home.root)]
    took = []
    for _ in range(3):
        before = os.times()
        subprocess.run(
            command, capture_output=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        after = (
            os.times()
        )  # processor time, which others on the machine do not lengthen as they do the clock's
        took.append(
            after.children_user
            - before.children_user
            + after.children_system
            - before.children_system
        )
    assert min(took) < 2.0  # about 0.6 s
