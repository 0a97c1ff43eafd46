"""`va-search look` as a user calls it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ensemble_world import World, make_world
from look_world import read_index
from typer.testing import CliRunner, Result

import va_search as va
from va_search.cli.main import app
from va_search.ensemble.build import build
from va_search.ensemble.recipe import load_recipe


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = make_world(tmp_path, trials=3)
    build(world.home, ["first"], load_recipe("mean"), "e", world.store)
    return world


def call(world: World, *arguments: str) -> Result:
    return CliRunner().invoke(
        app, ["look", *arguments, "--home", str(world.home.root)], env={"COLUMNS": "140"}
    )


def test_an_ensemble_a_study_and_a_submission(world: World, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = call(world, "e", "--out", str(out))
    assert result.exit_code == 0, result.output
    assert f"wrote {out}: 8 recordings, 4 curves each" in result.stdout
    assert f"open it: {(out / 'index.html').as_uri()}" in result.stdout
    assert read_index(out)["kind"] == "ensemble"
    assert "expected" in {label for label, _ in read_index(out)["verdict"]}
    result = call(world, "first", "--out", str(out), "--members", "2", "--by", "arousal")
    assert f"replaced {out}: 8 recordings, 2 curves each" in result.stdout
    assert read_index(out)["kind"] == "study"
    va.open_ensemble("e", home=world.home.root).submit(tmp_path / "submission")
    result = call(world, str(tmp_path / "submission"), "--out", str(out), "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["recordings"] == 2
    assert document["replaced"] is True
    assert document["page"] == str(out / "index.html")


def test_from_python(world: World, tmp_path: Path) -> None:
    ensemble = va.open_ensemble("e", home=world.home.root)
    study = va.open_study("first", home=world.home.root)
    assert ensemble.look(tmp_path / "a", members=1, split="test").series == 2
    assert study.look(tmp_path / "b", by="valence").recordings == 8
    assert va.look_at("e", tmp_path / "a", home=world.home.root).replaced


def test_media_are_counted_and_missing_ones_named(world: World, tmp_path: Path) -> None:
    (tmp_path / "media").mkdir()
    (tmp_path / "media" / "v1.mp4").write_bytes(b"")
    result = call(world, "e", "--out", str(tmp_path / "out"), "--media", str(tmp_path / "media"))
    assert "8 recordings, 2 with video or sound" in result.stdout, "v1 and v1_left are of video v1"
    assert "no video or sound of 6 recordings (v2, v3, v4, …)" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["es"], "unknown study or ensemble 'es'; did you mean 'e'?"),
        (["no/such"], "no/such: no such folder"),
        (["e", "--split", "train"], "unknown split 'train'"),
        (["e", "--by", "valence"], "'e' is an ensemble"),
        (["first", "--by", "valnce"], "did you mean 'valence'?"),
        (["e", "--media", "nowhere"], "--media nowhere: no such folder"),
        (["."], "say which store its predictions are of, with --data STORE"),
    ],
)
def test_wrong_input_is_told_and_writes_nothing(
    world: World, tmp_path: Path, arguments: list[str], message: str
) -> None:
    result = call(world, *arguments, "--out", str(tmp_path / "out"))
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_name_of_both_is_the_ensemble(world: World, tmp_path: Path) -> None:
    build(world.home, ["first"], load_recipe("mean"), "first", world.store)
    result = call(world, "first", "--out", str(tmp_path / "out"))
    assert "first is an ensemble and a study; this is the ensemble" in result.stderr
    assert read_index(tmp_path / "out")["kind"] == "ensemble"


def test_a_store_that_moved_is_asked_for(world: World, tmp_path: Path) -> None:
    world.store.path.rename(tmp_path / "moved")
    for subject in ("e", "first"):
        result = call(world, subject, "--out", str(tmp_path / "out"))
        assert result.exit_code == 2
        assert "--data STORE" in result.stderr
        result = call(
            world, subject, "--out", str(tmp_path / "out"), "--data", str(tmp_path / "moved")
        )
        assert result.exit_code == 0, result.output


def test_a_name_that_a_study_and_an_ensemble_have_is_named_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("va_search.api.looking.studies_of", lambda home: ["demo"])
    monkeypatch.setattr("va_search.ensemble.saved.known_ensembles", lambda home: ["demo"])
    words = ["look", "other", "--out", str(tmp_path / "look"), "--home", str(tmp_path / "home")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2 and "(known: demo)" in result.output
