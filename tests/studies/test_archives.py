"""A study as one file: exported, checked, taken in elsewhere."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from ensemble_world import World
from killing import killed_before_change
from study_world import TRIALS, check_whole, make_studies

from va_search.api.archives import import_study
from va_search.api.contents import list_studies
from va_search.api.exporting import CONTENTS, export_study
from va_search.ensemble.saved import predict, read_ensemble
from va_search.errors import InputError
from va_search.home import Home
from va_search.predictions.bank import Bank
from va_search.seals import FileSeal, sealed
from va_search.search.housekeeping import pending
from va_search.search.spending import Ledger, Run, Spent, spent_by
from va_search.search.study import Study


@pytest.fixture(scope="module", autouse=True)
def _quick_disk() -> Iterator[None]:
    """Don't wait for the disk: a killed process loses nothing that it wrote."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = make_studies(tmp_path_factory.mktemp("made"))
    study = Study(world.home, "first")
    Ledger(study.folder / "spent").note(Run(0.0, 60.0, gpu_seconds=30.0))
    study.spend(60.0)
    return world


@pytest.fixture(scope="module")
def archive(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("archive") / "first.zip"
    export_study("first", path, ensembles=True, home=world.home.root)
    return path


def changed(archive: Path, to: Path, **contents: bytes) -> Path:
    """A copy of the archive with other contents of some files, or with files more."""
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(to, "w") as target:
        names = [*source.namelist(), *(name for name in contents if name not in source.namelist())]
        for name in names:
            target.writestr(name, contents[name] if name in contents else source.read(name))
    return to


@pytest.mark.parametrize("weights", [True, False])
@pytest.mark.parametrize("name", [None, "theirs"])
def test_what_is_taken_in_is_what_was_exported(
    world: World, tmp_path: Path, weights: bool, name: str | None
) -> None:
    path = tmp_path / "first.zip"
    exported = export_study("first", path, weights=weights, ensembles=True, home=world.home.root)
    assert (exported.trials, exported.ensembles) == (3, ("best",))
    home = Home(tmp_path / "home")
    imported = import_study(path, name=name, home=home.root)
    study = name or "first"
    assert (imported.study, imported.trials) == (study, 3)
    check_whole(home)
    bank = Bank(home.bank)
    assert bank.trials(study) == TRIALS
    assert [trial.study for trial in Study(home, study).failures()] == [study]
    assert Study(home, study).check(world.store) is not None
    assert spent_by(Study(home, study)) == Spent(60.0, gpu_seconds=30.0)
    kept = (bank.folder(study, "a0") / "valence.safetensors").is_file()
    assert kept == weights
    before, after = (
        predict(read_ensemble(of, "best"), Bank(of.bank), "validation", world.validation)
        for of in (world.home, home)
    )
    np.testing.assert_array_equal(before, after)


def test_the_same_study_gives_the_same_bytes(world: World, archive: Path, tmp_path: Path) -> None:
    export_study("first", tmp_path / "again.zip", ensembles=True, home=world.home.root)
    assert (tmp_path / "again.zip").read_bytes() == archive.read_bytes()
    with pytest.raises(InputError, match="expected a new file that ends in"):
        export_study("first", tmp_path / "again.zip", home=world.home.root)


def test_nothing_in_a_home_is_replaced(world: World, archive: Path) -> None:
    with pytest.raises(InputError, match="study 'first' exists in this home"):
        import_study(archive, home=world.home.root)
    with pytest.raises(InputError, match="ensemble 'best' exists in this home and is another one"):
        import_study(archive, name="theirs", home=world.home.root)


@pytest.mark.parametrize(
    ("contents", "problem"),
    [
        ({"../evil.json": b"{}"}, "'../evil.json' is no file of an exported study"),
        ({"trials/a0/../../x.arrow": b""}, "is no file of an exported study"),
        ({"/etc/x.arrow": b""}, "is no file of an exported study"),
        ({"trials/a0/more.arrow": b""}, "trials/a0/more.arrow: not as its contents say"),
        ({"trials/a0/.hidden.arrow": b""}, "is no file of an exported study"),
        ({"trials/a0/run.py": b""}, "is no file of an exported study"),
        ({"trials/a0/valence.safetensors": b"weights of a1"}, "valence.safetensors is damaged"),
        ({"trials/a0/valence.safetensors": b"short"}, "not as its contents say"),
        ({"va-search-study.json": b"{}"}, "expected format 1 of va-search-study.json"),
        ({"va-search-study.json": b"["}, "va-search-study.json is no JSON"),
    ],
)
def test_a_changed_archive_is_refused_and_nothing_is_written(
    archive: Path, tmp_path: Path, contents: dict[str, bytes], problem: str
) -> None:
    path = changed(archive, tmp_path / "bad.zip", **contents)
    with pytest.raises(InputError, match=problem):
        import_study(path, home=tmp_path / "home")
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_archive_that_cannot_be_unpacked_is_refused(
    archive: Path, tmp_path: Path, method: int
) -> None:
    path = tmp_path / "bad.zip"
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(path, "w", method) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
        last = target.getinfo(CONTENTS)
    content = bytearray(path.read_bytes())
    begin = last.header_offset + 30 + len(CONTENTS)
    content[begin : begin + 40] = b"\xff" * 40
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"can't be unpacked|not a whole zip file"):
        import_study(path, home=tmp_path / "home")
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("failures/bad.json", b"[1]", "failures/bad.json is no JSON document"),
        (
            "study.json",
            b'{"began_at": "x", "seconds": "1", "hashes": {}, "space": {}}',
            "not a study's file",
        ),
        (
            "study.json",
            b'{"began_at": "x", "seconds": 1, "hashes": {}, "space": {}, "store_path": 3}',
            "not a study's file",
        ),
    ],
)
def test_documents_that_are_none_of_a_study_are_refused_before_anything_is_written(
    archive: Path, tmp_path: Path, name: str, content: bytes, problem: str
) -> None:
    contents = {f"study/{name}": content}
    with zipfile.ZipFile(archive) as source:
        document = json.loads(source.read(CONTENTS))
    seals = {file: FileSeal.from_json(seal) for file, seal in document.pop("seal")["files"].items()}
    seals[f"study/{name}"] = FileSeal(len(content), hashlib.sha256(content).hexdigest())
    contents[CONTENTS] = json.dumps(sealed(document, seals)).encode()
    with pytest.raises(InputError, match=problem):
        import_study(changed(archive, tmp_path / "bad.zip", **contents), home=tmp_path / "home")
    assert not (tmp_path / "home").exists()


def test_an_archive_that_unpacks_to_far_more_than_its_size_is_refused(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("va_search.api.archives.ALWAYS_ALLOWED", 1000)
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as to:
        for name in source.namelist():
            to.writestr(
                name, bytes(8_000_000) if name.endswith("a0/test.arrow") else source.read(name)
            )
    with pytest.raises(InputError, match="more than a study of this size ever does"):
        import_study(path, home=tmp_path / "home")
    assert not (tmp_path / "home").exists()


def test_the_command_that_ends_an_import_runs_in_any_folder(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path / "home")
    monkeypatch.chdir(archive.parent)
    killed_before_change(15, partial(import_study, archive.name, home=home.root))
    (deed,) = pending(home)
    assert deed.file == str(archive)


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(b"PK no zip")
    with pytest.raises(InputError, match="not a whole zip file"):
        import_study(tmp_path / "x.zip", home=tmp_path / "home")
    with zipfile.ZipFile(tmp_path / "y.zip", "w"):
        pass
    with pytest.raises(InputError, match="not a study that va-search exported"):
        import_study(tmp_path / "y.zip", home=tmp_path / "home")


@pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.slow), 17])
def test_an_import_killed_at_any_moment_is_ended_by_the_same_call(
    archive: Path, tmp_path: Path, every: int
) -> None:
    number, killed = 1, True
    while killed:
        home = Home(tmp_path / f"home{number}")
        killed = killed_before_change(
            number, partial(import_study, archive, name="theirs", home=home.root)
        )
        check_whole(home)
        if list(pending(home)) or not (home.bank / "theirs").is_dir():
            import_study(archive, name="theirs", home=home.root)
        check_whole(home)
        assert [entry.study for entry in list_studies(home=home.root)] == ["theirs"]
        assert Bank(home.bank).trials("theirs") == TRIALS
        assert read_ensemble(home, "best").studies == ["theirs"]
        number += every
    assert number > 20
