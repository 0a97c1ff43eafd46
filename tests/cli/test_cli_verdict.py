"""What is said of an ensemble that is not better than its best single trial, and of what is older
than an ensemble."""

from __future__ import annotations

import json
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from ensemble_world import World, make_store, write_outside
from typer.testing import CliRunner, Result

from va_search.cli.main import app
from va_search.ensemble.compare import compare
from va_search.ensemble.fresh import content_id, note_registered, stale_models
from va_search.ensemble.material import gather
from va_search.ensemble.recipe import load_recipe
from va_search.ensemble.saved import read_ensemble
from va_search.ensemble.verdict import verdict_of
from va_search.files import read_json, write_json
from va_search.home import Home
from va_search.verdict.next_command import next_step
from va_search.verdict.recipes import advised_recipe


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """One good trial and five bad ones, so that the plain mean is worse than the good one alone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VA_SEARCH_HOME", raising=False)
    made = World(Home(Path("va-home")), make_store(tmp_path / "store"))
    made.add("first", "good", seed=1, noise=0.2)
    for index in range(5):
        made.add("first", f"bad{index}", seed=10 + index, noise=6.0)
    return made


def call(*words: str) -> Result:
    return CliRunner().invoke(app, list(words), env={"COLUMNS": "160"})


def right(*words: str) -> Result:
    done = call(*words)
    assert done.exit_code == 0, done.output
    return done


def advised(done: Result) -> list[str]:
    """The words of the command after `next: `, without `va-search`."""
    line = next(line for line in done.stdout.splitlines() if line.startswith("next: "))
    words = shlex.split(line.removeprefix("next: "))
    assert words[0] == "va-search"
    return words[1:]


def sentence_of(done: Result, label: str, stream: str = "stdout") -> str:
    """The sentence of the verdict's row with this label."""
    lines = getattr(done, stream).splitlines()
    (line,) = [line for line in lines if line.startswith(f"  {label}  ")]
    return str(line.removeprefix(f"  {label}").strip())


def build(name: str, *more: str, recipe: str = "mean") -> Result:
    return right("ensemble", "first", "--recipe", recipe, "--name", name, "--no-tracking", *more)


def test_an_ensemble_that_loses_says_so_and_advises_the_best_single_trial(world: World) -> None:
    done = build("first-mean")
    assert "verdict on ensemble first-mean" in done.stdout.splitlines()
    reason = "the best single trial per target is better by more than chance"
    assert sentence_of(done, "submit") == f"first-single (recipe best), not first-mean: {reason}"
    single = sentence_of(done, "best single trial")
    assert "is worse than the best single trial per target: score 0." in single
    assert "per target: valence first/good (out-of-fold 0." in single
    words = advised(done)
    assert words == ["ensemble", "first", "--recipe", "best", "--name", "first-single"]
    single = right(*words, "--no-tracking")
    assert "as good as the best single trial per target" in single.stdout
    assert advised(single)[:2] == ["submit", "first-single"]
    right(*advised(single))
    again = build("first-mean")
    assert advised(again)[:2] == ["submit", "first-single"], "it is there already"
    right(*advised(again))


def test_submit_and_report_say_the_same(world: World) -> None:
    built = build("first-mean", "--json")
    document = json.loads(built.stdout)["verdict"]
    assert document["use_best"] is True
    submitted = right("submit", "first-mean", "--out", "s")
    assert document["rows"] and document["submit"] == "first-single"
    for label, sentence in document["rows"]:
        assert sentence_of(built, label, stream="stderr") == sentence
        assert sentence_of(submitted, label) == sentence
    assert advised(submitted) == ["ensemble", "first", "--recipe", "best", "--name", "first-single"]
    reported = right("report", "first", "--ensemble", "first-mean", "--out", "r")
    for label, sentence in document["rows"]:
        assert sentence_of(reported, label) == sentence
    page = Path("r/report.md").read_text()
    assert page.index("## In short") < page.index("## How it was made")
    for dimension, outcome in document["dimensions"].items():
        row = next(
            line
            for line in page.splitlines()
            if line.startswith(f"| Best single trial for {dimension} ")
        )
        ensemble = page[page.index(f"members and ensemble for {dimension}") :]
        total = next(line for line in ensemble.splitlines() if line.startswith("| Ensemble "))
        assert ("**" in row) == (outcome == "worse")
        assert ("**" in total) == (outcome == "better")


def test_what_compare_advises_works_whatever_names_are_taken(world: World) -> None:
    build("first-best")  # of recipe mean: what --compare would call its own
    build("first-best-2", recipe="greedy")
    for _ in range(2):
        compared = right("ensemble", "first", "--compare")
        assert sentence_of(compared, "take").startswith("recipe bagged_greedy: the default, ")
        right(*advised(compared), "--no-tracking")


def test_compare_names_the_best_single_trial(world: World) -> None:
    document = json.loads(right("ensemble", "first", "--compare", "--json").stdout)
    single = json.loads(build("e", "--json").stdout)["best_single"]["out_of_fold"]
    (row,) = [row for row in document["recipes"] if row["recipe"] == "best"]
    assert row["out_of_fold"] == pytest.approx(single)
    assert document["advised"] in {one["recipe"] for one in document["recipes"]}
    assert "the best single" in right("ensemble", "first", "--compare").stdout


def test_a_rebuilt_ensemble_loses_its_old_explanation_and_says_so(world: World) -> None:
    build("e", "--explain")
    folder = world.home.ensemble("e").with_suffix("")
    (folder / "notes.txt").write_text("mine")
    same = build("e")
    assert (folder / "explain.json").is_file() and "earlier build" not in same.output, (
        "nothing changed"
    )
    world.add("first", "newer", seed=77, noise=0.3)
    rebuilt = build("e")
    assert "Removed the explanation of the earlier build" in rebuilt.output
    assert sorted(path.name for path in folder.iterdir()) == ["notes.txt"]
    build("e", "--explain")
    assert read_json(folder / "explain.json")["content"] == content_id(
        read_ensemble(world.home, "e")
    )


def test_an_old_explanation_at_a_url_stays_and_is_reported(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VA_SEARCH_CACHE", str(tmp_path / "cache"))
    home = ["--home", f"file://{tmp_path}/va-home"]
    build("e", "--explain", *home)
    world.add("first", "newer", seed=77, noise=0.3)
    rebuilt = build("e", *home)
    assert "Removed the explanation" not in rebuilt.output
    assert (
        "the explanation of ensemble e is of an earlier build; --explain makes it again"
        in rebuilt.stdout
    )


def test_an_explanation_of_an_earlier_version_is_known_by_its_time(world: World) -> None:
    build("e", "--explain")
    path = world.home.ensemble("e").with_suffix("") / "explain.json"
    document = read_json(path)
    write_json(path, {key: value for key, value in document.items() if key != "content"})
    assert "earlier build" not in right("submit", "e", "--out", "s").stdout
    write_json(path, {"ensemble": "e", "created_at": "2020-01-01T00:00:00+00:00", "dimensions": {}})
    assert (
        "the explanation of ensemble e is of an earlier build"
        in right("submit", "e", "--out", "s").stdout
    )


def test_newer_trials_are_said(world: World) -> None:
    build("e")
    assert "completed after" not in right("submit", "e", "--out", "s").stdout
    world.add("first", "n0", seed=77, noise=0.3)
    assert (
        "1 trial was completed after ensemble e was built"
        in right("submit", "e", "--out", "s").stdout
    )
    world.add("first", "n1", seed=78, noise=0.3)
    said = "2 trials were completed after ensemble e was built"
    assert said in right("submit", "e", "--out", "s").stdout
    right("report", "first", "--out", "r")
    assert said in Path("r/report.md").read_text()
    build("e")
    assert "completed after" not in right("submit", "e", "--out", "s").stdout


def test_an_older_registered_version_is_said_with_the_command(world: World) -> None:
    build("e")
    ensemble = read_ensemble(world.home, "e")
    note_registered(world.home, ensemble, model="e", version=1, tracking_uri="sqlite:///x")
    note_registered(world.home, ensemble, model="other", version=4, tracking_uri="sqlite:///x")
    assert stale_models(world.home, ensemble) == []
    assert "earlier build" not in build("e").output
    world.add("first", "newer", seed=77, noise=0.3)
    for done in (
        build("e"),
        right("submit", "e", "--out", "s"),
        right("report", "first", "--out", "r"),
    ):
        assert (
            "odels:/e/1 is of an earlier build of ensemble e; to register this one: va-search register e"
            in done.stdout
        )
        assert "va-search register e --name other" in done.stdout


def test_another_ensembles_submission_is_replaced_only_when_asked(world: World) -> None:
    build("a")
    build("b", recipe="greedy")
    right("submit", "a", "--out", "s")
    before = (Path("s") / "x1.csv").read_bytes()
    assert right("submit", "a", "--out", "s").stdout.startswith("replaced ")
    refused = call("submit", "b", "--out", "s")
    assert refused.exit_code == 2 and (Path("s") / "x1.csv").read_bytes() == before
    assert (
        "holds the submission of ensemble 'a', and this is the submission of 'b'" in refused.stderr
    )
    assert "--replace" in refused.stderr and "remove" not in refused.stderr
    assert right("submit", "b", "--out", "s", "--replace").stdout.startswith("replaced ")
    assert read_json(Path("s/.submission.json"))["ensemble"] == "b"
    foreign = Path("mine")
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("years")
    assert call("submit", "a", "--out", "mine", "--replace").exit_code == 2, (
        "never what is not ours"
    )
    assert (foreign / "thesis.txt").read_text() == "years"


def test_a_mark_of_an_earlier_version_is_understood(world: World) -> None:
    build("a")
    right("submit", "a", "--out", "s")
    mark = read_json(Path("s/.submission.json"))
    added = ("kind", "content", "seal", "ensemble_seal")
    old = {key: value for key, value in mark.items() if key not in added}
    write_json(Path("s/.submission.json"), old)
    assert right("submit", "a", "--out", "s").stdout.startswith("replaced ")
    write_json(Path("s/.submission.json"), {**old, "split": "validation", "store": "world"})
    refused = call("submit", "a", "--out", "s")
    assert refused.exit_code == 2 and "holds the predictions of ensemble 'a'" in refused.stderr


def test_the_next_submission_goes_where_it_is_not_refused(world: World) -> None:
    first = build("good", recipe="best")
    words = advised(first)
    assert words[-2:] == ["--out", "good-submission"]
    Path("good-submission").mkdir()
    (Path("good-submission") / "notes.txt").write_text("mine")
    words = advised(build("good", recipe="best"))
    assert words[-2:] == ["--out", "good-submission-2"]
    right(*words)


def test_commands_are_printed_for_the_home_they_were_called_on(
    world: World, tmp_path: Path
) -> None:
    shutil.move("va-home", tmp_path / "else where")
    home = ["--home", str(tmp_path / "else where")]
    done = right("ensemble", "first", "--recipe", "mean", "--name", "e", "--no-tracking", *home)
    assert advised(done)[-2:] == home
    right(*advised(done), "--no-tracking")


def test_without_test_recordings_the_report_is_advised(world: World) -> None:
    build("e", recipe="best")
    built = read_ensemble(world.home, "e").model_copy(update={"test_frames_hash": None})
    words = shlex.split(next_step(world.home, built, verdict_of(built)).command)
    assert words == ["va-search", "report", "first", "--ensemble", "e", "--out", "e-report"]
    right(*words[1:])


def test_a_recipe_with_the_very_scores_of_the_advised_one_is_not_said_to_be_higher(
    world: World,
) -> None:
    materials = gather(world.home, ["first"], world.store, outside=True)
    single, mean = (compare([load_recipe(name)], materials)[0] for name in ("best", "mean"))
    default, auto = replace(mean, recipe="bagged_greedy"), replace(single, recipe="auto")
    advice = advised_recipe([auto, single, default], materials)
    assert advice.recipe == "best" and "recipe bagged_greedy is" in advice.text
    assert "higher than" not in advice.text + advice.reason


def test_other_test_predictions_of_an_outside_model_are_another_content(
    world: World, tmp_path: Path
) -> None:
    write_outside(tmp_path / "teams" / "red", world, seed=4)
    add = (
        "bank",
        "add",
        "first",
        "--from",
        str(tmp_path / "teams"),
        "--data",
        str(world.store.path),
    )
    right(*add)
    build("e")
    before = read_ensemble(world.home, "e")
    build("e")
    assert content_id(read_ensemble(world.home, "e")) == content_id(before)
    file = tmp_path / "teams" / "red" / "x1.csv"
    time, valence, arousal = file.read_text().splitlines()[-1].split(",")
    moved = f"{time},{float(valence) + 0.25:.4f},{arousal}"
    file.write_text("\n".join([*file.read_text().splitlines()[:-1], moved]) + "\n")
    assert "replaced" in right(*add).stdout
    refused = call("submit", "e", "--out", "s")
    assert (
        refused.exit_code == 2
        and "outside-red of study first was replaced since ensemble 'e'" in refused.stderr
    )
    build("e")
    right("submit", "e", "--out", "s")
    after = read_ensemble(world.home, "e")
    assert after.scores.keys() == before.scores.keys()
    for kind, scores in before.scores.items():
        assert after.scores[kind] == pytest.approx(scores, abs=1e-12), kind
    assert content_id(after) != content_id(before)
