"""What a report says to do next is run as printed, on the report's own store."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from report_world import World, make_world
from typer.testing import CliRunner, Result

import va_search as va
from va_search.cli.main import app
from va_search.data.simulate import simulate
from va_search.data.store import Store
from va_search.home import Home
from va_search.report.gather import gather
from va_search.report.suggest import fold_space

RUN = CliRunner()


def call(words: list[str]) -> Result:
    return RUN.invoke(app, words)


def filled(folder: Path, store: Store | None = None) -> World:
    """A study of three single configurations on the official fold: no folds, no ablation, no
    ensemble."""
    world = make_world(folder)
    if store is not None:
        world = World(world.home, store)
    names = list(world.store.feature_sets)
    world.begin("one", {"sampler": "grid", "settings": {"features": names[:1]}})
    world.add("one", world.settings(names[0], layers=1))
    world.add("one", world.settings(names[1], encoder="gru"), 0.5)
    world.add("one", world.settings(names[0], names[1], fusion="late", layers=2), 0.6)
    return world


def report_of(world: World, out: Path, studies: Sequence[str] = ("one",)) -> dict[str, str]:
    """Title of what is missing -> the command that fills it."""
    words = ["report", *studies, "--out", str(out), "--home", str(world.home.root), "--json"]
    done = call(words)
    assert done.exit_code == 0, done.output
    tables = json.loads(done.stdout)["tables"]
    commands = {}
    for table in tables:
        if table["missing"] and table["title"].startswith("Table "):
            commands[table["title"].split(":")[0]] = table["command"]
    return commands


def test_every_printed_command_runs_as_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    world = filled(tmp_path)
    commands = report_of(world, Path("out"))
    assert set(commands) == {"Table 2", "Table 3", "Table 4", "Table 5", "Table 6"}
    for title, commands_of_table in commands.items():
        assert commands_of_table is not None, title
        for command in commands_of_table.split(" && "):
            words = shlex.split(command)
            assert words[0] == "va-search" and "STORE" not in command
            more = {"search": ["--dry-run"], "space": []}.get(words[1], ["--no-tracking"])
            done = call([*words[1:], *more])
            assert done.exit_code == 0, (title, command, done.output)
    searches = [commands[table].split(" && ")[-1] for table in ("Table 4", "Table 5")]
    folds, ablation = map(shlex.split, searches)
    planned = json.loads(call([*folds[1:], "--dry-run", "--json"]).stdout)
    assert planned["plan"]["trials"] == 3, "one configuration on each of the store's three folds"
    assert planned["study"] == "one-folds"
    planned = json.loads(call([*ablation[1:], "--dry-run", "--json"]).stdout)
    assert planned["plan"]["trials"] == 9, "four feature sets: together, all but each, each alone"


@pytest.mark.slow
def test_every_table_is_filled_by_its_printed_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = simulate(tmp_path / "mine", size="demo")
    settings = {
        "features": "all",
        "family": "ridge",
        "normalise": {"choice": ["train", "recording"]},
        "frame_step": 25,
    }
    va.run_search({"sampler": "grid", "settings": settings}, store, study="one", progress=False)
    world = World(Home(tmp_path / "va-home"), store)
    tables = report_of(world, Path("out"))
    assert tables.keys() >= {"Table 2", "Table 3", "Table 4", "Table 5", "Table 6"}
    studies = ["one"]
    for title, commands in tables.items():
        if title == "Table 3":
            continue  # its command is that of Table 2
        for command in commands.split(" && "):
            done = subprocess.run(
                [sys.executable, "-m", "va_search.cli.main", *shlex.split(command)[1:]],
                capture_output=True,
                check=False,
                text=True,
            )
            assert done.returncode == 0, (title, command, done.stderr)
            if " --study " in command:
                words = shlex.split(command)
                studies.append(words[words.index("--study") + 1])
    missing = report_of(world, Path("out"), studies)
    assert not missing.keys() & tables.keys(), "each is filled now"


def test_a_store_without_folds_is_told_how_to_get_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    world = filled(tmp_path / "world", simulate(tmp_path / "mine", size="tiny"))
    command = report_of(world, Path("out"))["Table 4"]
    if world.store.fold_numbers:
        assert "data folds" not in command
        return
    make_folds, make_space, search = command.split(" && ")
    assert call(shlex.split(make_folds)[1:]).exit_code == 0
    assert call(shlex.split(make_space)[1:]).exit_code == 0
    done = call([*shlex.split(search)[1:], "--dry-run"])
    assert done.exit_code == 0, done.output


def test_folds_of_a_store_at_a_url_are_made_before_it_is_copied_there(tmp_path: Path) -> None:
    world = filled(tmp_path)
    gathered = gather(world.home, ["one"])
    assert gathered.store is not None
    recordings = tuple(replace(one, fold=None) for one in gathered.store.recordings)
    far = replace(gathered.store, url="s3://bucket/store", recordings=recordings)
    missing = fold_space(replace(gathered, store=far), "The store has no folds.", tmp_path / "out")
    assert missing.command is None and "too few people" not in missing.why
    assert "before it is copied to a URL" in missing.why


def test_a_name_in_use_is_not_advised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    world = filled(tmp_path)
    world.begin("one-folds")
    world.home.ensemble("one-best").parent.mkdir()
    world.home.ensemble("one-best").write_text("{}")
    (tmp_path / "one-submissions").mkdir()
    (tmp_path / "one-ablation.yaml").write_text("sampler: grid\n")
    commands = report_of(world, Path("out"))
    assert "--out one-ablation-2.yaml" in commands["Table 5"]
    assert "--study one-folds-2" in commands["Table 4"]
    assert "--name one-best-2" in commands["Table 2"]
    assert "--out one-submissions-2" in commands["Table 6"]


@pytest.mark.parametrize("name", ["first-report.html", "r.md"])
def test_a_name_that_ends_like_a_page_is_that_one_file(tmp_path: Path, name: str) -> None:
    world = filled(tmp_path)
    out = tmp_path / "new" / name
    words = ["report", "one", "--out", str(out), "--home", str(world.home.root), "--json"]
    for _ in range(2):
        done = call(words)
        assert done.exit_code == 0, done.output
        assert f"wrote {out}\n" in done.stderr
    assert not (tmp_path / "new" / "report.html").exists()
    document = json.loads(done.stdout)
    page, markdown = (str(out), None) if out.suffix == ".html" else (None, str(out))
    assert (document["html"], document["markdown"]) == (page, markdown)
    assert "In short" in out.read_text()
    out.write_text("mine")
    refused = call(words)
    assert refused.exit_code == 2 and "no report that va-search wrote" in refused.output
    assert out.read_text() == "mine"


def test_a_pdf_is_printed_from_the_page(tmp_path: Path) -> None:
    world = filled(tmp_path)
    out = tmp_path / "R.PDF"
    done = call(["report", "one", "--out", str(out), "--home", str(world.home.root)])
    assert done.exit_code == 2 and not out.exists()
    assert f"give --out {out.with_suffix('.html')}, and print that page" in done.output
