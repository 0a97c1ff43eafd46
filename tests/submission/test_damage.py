"""Damage to any file of a bank, an ensemble or a submission is told, or changes no result."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from ensemble_world import write_outside
from submission_world import UnitWorld, make_unit_world
from trial_world import forget_seal

import va_search
from va_search.ensemble.build import build
from va_search.ensemble.outside import add_outside
from va_search.ensemble.recipe import read_recipe
from va_search.ensemble.saved import Ensemble, read_ensemble
from va_search.errors import InputError
from va_search.files import read_json, write_json
from va_search.home import Home
from va_search.predictions import records
from va_search.predictions.bank import Bank
from va_search.predictions.records import DamagedRecord
from va_search.submission import submit
from va_search.submission.folder import MARK
from va_search.submission.scoring import read_submission

MEAN = read_recipe("mean", {"method": "mean"})
Damage = Callable[[Path, Path], None]
"""Takes a file and another of its kind."""


@dataclass(frozen=True)
class Whole:
    """A home with an ensemble and a submission of it, and what they give undamaged."""

    world: UnitWorld
    folder: Path
    submitted: dict[str, bytes]
    scores: dict[str, Any]

    @property
    def ensemble(self) -> Ensemble:
        return read_ensemble(self.world.home, "e")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    folder = tmp_path_factory.mktemp("damage")
    world = make_unit_world(folder, trials=3)
    write_outside(folder / "outside" / "m", world, seed=7, rows="all")
    add_outside(world.bank, "first", folder / "outside", world.store)
    for trial in ("a0", "a1"):
        weights = world.bank.folder("first", trial) / "valence.safetensors"
        weights.write_bytes(trial.encode() * 50)
        forget_seal(weights.with_name("trial.json"))
    build(world.home, ["first"], MEAN, "e")
    build(world.home, ["first"], MEAN, "f")
    whole = Whole(world, folder, {}, {})
    return Whole(world, folder, submitted(whole, folder / "out"), scores_of(world.home, "g"))


@pytest.fixture
def whole(original: Whole, tmp_path: Path) -> Whole:
    """A copy of the home; the store is the original's, which nothing here damages."""
    shutil.copytree(original.folder / "home", tmp_path / "home")
    shutil.copytree(original.folder / "out", tmp_path / "out")
    world = UnitWorld(Home(tmp_path / "home"), original.world.store)
    return Whole(world, tmp_path, original.submitted, original.scores)


def submitted(whole: Whole, out: Path) -> dict[str, bytes]:
    """The files of a submission by the ensemble, without its mark, which holds the time."""
    submit(whole.ensemble, whole.world.store, whole.world.bank, format="recordings", out=out)
    return {path.name: path.read_bytes() for path in out.iterdir() if path.name != MARK}


def scores_of(home: Home, name: str) -> dict[str, Any]:
    built = build(home, ["first"], MEAN, name)
    return {"candidates": built.candidates, "left_out": built.left_out, **built.scores}


def flip(share: float) -> Damage:
    def damage(file: Path, other: Path) -> None:
        content = bytearray(file.read_bytes())
        content[int(share * (len(content) - 1))] ^= 1
        file.write_bytes(content)

    return damage


def cut(share: float) -> Damage:
    def damage(file: Path, other: Path) -> None:
        file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])

    return damage


def extend(file: Path, other: Path) -> None:
    file.write_bytes(file.read_bytes() + b"\n\0")


def exchange(file: Path, other: Path) -> None:
    own = file.read_bytes()
    file.write_bytes(other.read_bytes())
    other.write_bytes(own)


def copy_other(file: Path, other: Path) -> None:
    file.write_bytes(other.read_bytes())


def link_out(file: Path, other: Path) -> None:
    outside = file.parents[4] / f"outside-{file.name}"
    file.rename(outside)
    file.symlink_to(outside)


def link_to_itself(file: Path, other: Path) -> None:
    file.unlink()
    file.symlink_to(file.name)


def make_pipe(file: Path, other: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def remove(file: Path, other: Path) -> None:
    file.unlink()


def make_unreadable(file: Path, other: Path) -> None:
    file.chmod(0)


DAMAGES: dict[str, Damage] = {
    "a bit of the head": flip(0.0),
    "a bit of the middle": flip(0.5),
    "a bit of the end": flip(0.98),
    "cut to nothing": cut(0.0),
    "cut to half": cut(0.5),
    "made longer": extend,
    "exchanged": exchange,
    "another's": copy_other,
    "a link that leads out": link_out,
    "a link to itself": link_to_itself,
    "a pipe": make_pipe,
    "gone": remove,
    "unreadable": make_unreadable,
}


def rewrite(change: Callable[[pa.Table], pa.Table]) -> Damage:
    """Damage to predictions that leaves a whole Arrow file."""

    def damage(file: Path, other: Path) -> None:
        with pa.OSFile(str(file)) as source:
            table = pa.ipc.open_file(source.read_buffer()).read_all()
        changed = change(table).replace_schema_metadata(table.schema.metadata)
        with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, changed.schema) as writer:
            writer.write_table(changed)

    return damage


def with_inf(table: pa.Table) -> pa.Table:
    values = table.column("valence").to_numpy().copy()
    values[3] = np.inf
    return table.set_column(0, "valence", pa.array(values))


def with_null(table: pa.Table) -> pa.Table:
    values = [None, *table.column("valence").to_pylist()[1:]]
    return table.set_column(0, "valence", pa.array(values, pa.float32()))


REWRITTEN: dict[str, Damage] = {
    "columns exchanged": rewrite(
        lambda table: table.select([1, 0]).rename_columns(table.column_names)
    ),
    "columns in another order": rewrite(lambda table: table.select([1, 0])),
    "a column less": rewrite(lambda table: table.select([0])),
    "inf": rewrite(with_inf),
    "a null": rewrite(with_null),
    "a frame less": rewrite(lambda table: table.slice(1)),
    "doubles": rewrite(
        lambda table: table.cast(pa.schema([(n, pa.float64()) for n in table.column_names]))
    ),
}


@pytest.mark.parametrize("damage", [*DAMAGES, *REWRITTEN])
@pytest.mark.parametrize("file", ["validation.arrow", "test.arrow", "trial.json"])
def test_a_damaged_file_of_a_member_is_told(
    whole: Whole, file: str, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    if damage in REWRITTEN and file == "trial.json":
        return
    if damage == "unreadable" and os.geteuid() == 0:
        pytest.skip("root reads everything")
    bank = whole.world.bank
    trial = "outside-m" if damage == "another's" else "a0"
    path = bank.folder("first", trial) / file
    (DAMAGES | REWRITTEN)[damage](path, bank.folder("first", "a2") / file)
    with pytest.raises(InputError) as error:
        submitted(whole, whole.folder / "new")
    text = str(error.value)
    assert str(path) in text
    assert "remove the folder" in text or "missing" in text or "no permission" in text
    assert not (whole.folder / "new").exists()
    # It blocks itself and nothing else. A trial without its record is not complete.
    scores = scores_of(whole.world.home, "new")
    count = 2 if damage == "exchanged" else 1
    assert scores["candidates"] == 4 - count
    if file == "trial.json" and damage in ("gone", "a link to itself"):
        assert scores["left_out"] == {}
    else:
        assert scores["left_out"] == {"damaged record (see the warning)": count}
        assert str(path) in caplog.text
        assert "remove the folder" in caplog.text or "no permission" in caplog.text


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_weights_are_told(whole: Whole, damage: str) -> None:
    if damage == "unreadable" and os.geteuid() == 0:
        pytest.skip("root reads everything")
    bank = whole.world.bank
    path = bank.folder("first", "a0") / "valence.safetensors"
    assert bank.weights("first", "a0", "valence") == path
    DAMAGES[damage](path, bank.folder("first", "a1") / path.name)
    with pytest.raises(DamagedRecord, match=r"remove the folder|no permission to read it"):
        bank.weights("first", "a0", "valence")
    if damage == "unreadable":
        return
    assert not bank.adopt("other", "a0", source="first")
    assert bank.trials("other") == []
    with pytest.raises(InputError, match="can't be used as a file name"):
        bank.weights("first", "a0", "../a1/valence")
    (path.parent / "arousal.safetensors").write_bytes(b"brought from elsewhere")
    with pytest.raises(DamagedRecord, match="not among the files that the trial wrote"):
        bank.weights("first", "a0", "arousal")


def leaves(document: Any, keys: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The keys of every value in a document, and of every object."""
    items: Any = ()
    if isinstance(document, dict):
        items = document.items()
    elif isinstance(document, list):
        items = enumerate(document)
    for key, value in items:
        yield (*keys, key)
        yield from leaves(value, (*keys, key))


def changed(value: Any) -> Any:
    """Another value of the type, as small a change as there is."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1
    if isinstance(value, str):
        return f"{value}x"
    return "x" if value is None else type(value)()


def edited(document: Any, keys: tuple[Any, ...], *, is_removed: bool) -> Any:
    copy = json.loads(json.dumps(document))
    *parents, last = keys
    part = copy
    for key in parents:
        part = part[key]
    if is_removed:
        del part[last]
    else:
        part[last] = changed(part[last])
    return copy


@pytest.mark.parametrize("is_removed", [False, True])
@pytest.mark.parametrize("kind", ["trial", "ensemble", "submission"])
def test_each_value_that_is_edited_is_told(whole: Whole, kind: str, is_removed: bool) -> None:
    home = whole.world.home
    path = {
        "trial": home.bank / "first" / "a0" / "trial.json",
        "ensemble": home.ensemble("e"),
        "submission": whole.folder / "out" / MARK,
    }[kind]
    document = read_json(path)
    for keys in leaves(document):
        if edited(document, keys, is_removed=is_removed) == document or (
            is_removed and keys == ("seal",)
        ):
            continue  # an empty list; and a file without a seal is one of an earlier version
        path.write_text(json.dumps(edited(document, keys, is_removed=is_removed)))
        with pytest.raises(InputError, match=str(path)):
            if kind == "trial":
                Bank(home.bank).trial("first", "a0")
            elif kind == "ensemble":
                read_ensemble(home, "e")
            else:
                submitted(whole, whole.folder / "out")


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_ensemble_is_told(whole: Whole, damage: str) -> None:
    if damage == "unreadable" and os.geteuid() == 0:
        pytest.skip("root reads everything")
    home = whole.world.home
    DAMAGES[damage](home.ensemble("e"), home.ensemble("f"))
    with pytest.raises(InputError, match=r"e\.json|unknown ensemble 'e'"):
        submitted(whole, whole.folder / "new")


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", ["x1.csv", MARK])
def test_a_submission_that_was_touched_is_never_replaced(
    whole: Whole, file: str, damage: str
) -> None:
    if damage == "unreadable" and os.geteuid() == 0:
        pytest.skip("root reads everything")
    out = whole.folder / "out"
    DAMAGES[damage](out / file, out / "x2.csv")
    before = state_of(out)
    with pytest.raises(InputError, match=str(out)):
        submitted(whole, out)
    assert state_of(out) == before


def state_of(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Inode, size and time of the content of each file."""
    state = {}
    for path in folder.iterdir():
        status = path.lstat()
        state[path.name] = (status.st_ino, status.st_size, status.st_mtime_ns)
    return state


def test_undamaged_copies_give_what_the_original_gave(whole: Whole) -> None:
    assert submitted(whole, whole.folder / "out") == whole.submitted
    assert scores_of(whole.world.home, "new") == whole.scores
    mark = read_json(whole.folder / "out" / MARK)
    assert mark["ensemble_seal"] == read_json(whole.world.home.ensemble("e"))["seal"]["document"]


def test_records_from_before_are_sealed_when_their_predictions_are_read(
    whole: Whole, caplog: pytest.LogCaptureFixture
) -> None:
    home = whole.world.home
    sealed = {}
    for path in home.bank.glob("*/*/trial.json"):
        sealed[path] = path.read_bytes()
        forget_seal(path)
    forget_seal(home.ensemble("e"))
    bank = whole.world.bank
    bank.trial("first", "a0")  # the record alone seals nothing
    assert "seal" not in read_json(bank.folder("first", "a0") / "trial.json")
    assert submitted(whole, whole.folder / "out") == whole.submitted
    assert scores_of(home, "new") == whole.scores
    assert {path: path.read_bytes() for path in sealed} == sealed
    assert caplog.text.count("are sealed now") == 1


def test_an_ensemble_from_before_is_sealed_with_its_members_when_it_is_opened(
    whole: Whole, caplog: pytest.LogCaptureFixture
) -> None:
    home = whole.world.home
    path = home.ensemble("e")
    sealed = read_json(path)
    before = {**sealed, "of a later version": 1}
    del before["seal"], before["member_seals"]
    write_json(path, before)
    read_ensemble(home, "e")  # in a list: nothing is written
    assert read_json(path) == before

    opened = va_search.open_ensemble("e", home=home.root)
    assert opened.document.member_seals == sealed["member_seals"]
    document = read_json(path)
    assert document["seal"] and document["of a later version"] == 1
    assert (
        read_ensemble(home, "e")
        == opened.document
        == va_search.open_ensemble("e", home=home.root).document
    )
    assert caplog.text.count("sealed now, with its members as they are") == 1
    # What happens to a member from now on is told.
    whole.world.add("first", "a0", seed=9, noise=0.6)
    with pytest.raises(InputError, match="a0 of study first was replaced"):
        submitted(whole, whole.folder / "out")


def test_an_ensemble_from_before_that_cant_be_sealed_is_used_with_a_warning(
    whole: Whole, caplog: pytest.LogCaptureFixture
) -> None:
    path = whole.world.home.ensemble("e")
    before = read_json(path)
    del before["seal"], before["member_seals"]
    write_json(path, before)
    record = whole.world.bank.folder("first", "a0") / "trial.json"
    content = record.read_bytes()
    record.write_text("{")
    assert va_search.open_ensemble("e", home=whole.world.home.root).document.member_seals is None
    assert read_json(path) == before and "can't be sealed (" in caplog.text
    record.write_bytes(content)
    assert submitted(whole, whole.folder / "out") == whole.submitted


def test_records_in_a_folder_of_another_user_are_checked_by_their_content(
    whole: Whole, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(path: Path, document: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    bank = whole.world.bank
    for path in bank.root.glob("*/*/trial.json"):
        forget_seal(path)
    monkeypatch.setattr(records, "write_json", refuse)
    assert submitted(whole, whole.folder / "out") == whole.submitted
    assert bank.seal("first", "a0") is None
    assert caplog.text.count("without seals, which can't be sealed here") == 1
    REWRITTEN["inf"](bank.folder("first", "a0") / "test.arrow", Path())
    # A DamagedRecord, or all of them together, by how long ago the records were written.
    with pytest.raises(InputError, match="valence is NaN or infinite"):
        submitted(whole, whole.folder / "out")


def test_trials_that_are_exchanged_or_lead_out_are_told(whole: Whole, tmp_path: Path) -> None:
    bank = whole.world.bank
    a0, a1 = bank.folder("first", "a0"), bank.folder("first", "a1")
    a0.rename(tmp_path / "between")
    a1.rename(a0)
    (tmp_path / "between").rename(a1)
    with pytest.raises(DamagedRecord, match="it is the record of trial a1 of study 'first'"):
        bank.trial("first", "a0")
    shutil.move(a0, tmp_path / "elsewhere")
    a0.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"a0: a link that leads out of .*bank"):
        bank.trial("first", "a0")
    # The bank itself may lie anywhere, and trials may be links within it.
    whole.world.home.bank.rename(tmp_path / "disk")
    whole.world.home.bank.symlink_to(tmp_path / "disk")
    assert bank.trial("first", "a2").id == "a2"


def test_a_member_that_was_replaced_is_told_by_all_that_use_it(whole: Whole) -> None:
    from va_search.api.explaining import explain
    from va_search.ensemble.refit import plan_refit

    world, ensemble = whole.world, whole.ensemble
    before = world.bank.seal("first", "a0")
    world.add("first", "a0", seed=0, noise=0.6)  # the very same predictions, but no weights
    (world.bank.folder("first", "a0") / "valence.safetensors").unlink()
    world.add("first", "a0", seed=0, noise=0.6)
    assert world.bank.seal("first", "a0") != before
    uses: list[Callable[[], object]] = [
        lambda: submitted(whole, whole.folder / "new"),
        lambda: explain(world.home, ensemble, world.store),
        lambda: plan_refit(world.home, ensemble),
    ]
    for use in uses:
        with pytest.raises(
            InputError, match="a0 of study first was replaced since ensemble 'e' was built"
        ):
            use()


def test_a_damaged_model_from_elsewhere_is_added_again(whole: Whole, tmp_path: Path) -> None:
    world = whole.world
    write_outside(tmp_path / "outside" / "m", world, seed=7, rows="all")

    def state() -> str:
        return add_outside(world.bank, "first", tmp_path / "outside", world.store)[0].state

    assert state() == "unchanged"
    flip(0.5)(world.bank.folder("first", "outside-m") / "test.arrow", Path())
    assert state() == "replaced"
    assert submitted(whole, whole.folder / "out") == whole.submitted


def test_no_damage_to_a_file_without_a_seal_kills_the_process(whole: Whole) -> None:
    """Each byte of a file of predictions changed, as in a bank from before there were seals: told,
    or finite numbers of every frame."""
    bank = whole.world.bank
    folder = bank.folder("first", "a0")
    trial = bank.trial("first", "a0")
    record = read_json(folder / "trial.json")
    del record["seal"]
    write_json(folder / "trial.json", record)
    program = f"""
import json, sys
import numpy as np
from pathlib import Path
from va_search.errors import InputError
from va_search.predictions.bank import Bank
bank, path = Bank(Path({str(bank.root)!r})), Path({str(folder / "test.arrow")!r})
content, record = path.read_bytes(), (path.parent / "trial.json").read_bytes()
told = 0
for position in range(0, len(content), 5):
    damaged = bytearray(content)
    damaged[position] ^= 255
    path.write_bytes(damaged)
    (path.parent / "trial.json").write_bytes(record)
    try:
        values = bank.read("first", "a0", "test", frames_hash={trial.frames_hash("test")!r})
        assert values.shape == ({trial.predictions["test"].frames}, 2) and np.isfinite(values).all()
    except InputError:
        told += 1
assert told
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


@pytest.mark.parametrize("source", ["first", "second"])
def test_a_sealed_trial_that_an_earlier_version_took_over_is_whole(
    whole: Whole, source: str
) -> None:
    bank = whole.world.bank
    if source == "second":  # which took it over itself
        assert bank.adopt("second", "a0", source="first")
    folder, adopted = bank.folder(source, "a0"), bank.folder("third", "a0")
    shutil.copytree(folder, adopted)
    # As versions before seals did it: all that they do not know stays in the record.
    record = {**read_json(folder / "trial.json"), "study": "third", "trained_in": source}
    write_json(adopted / "trial.json", record)
    trial = bank.trial("third", "a0")
    assert (trial.study, trial.trained_in) == ("third", source)
    bank.check("third", "a0")
    assert bank.adopt("fourth", "a0", source="third")
    # Everything else is held against the seal as ever.
    write_json(adopted / "trial.json", {**record, "data_hash": "another"})
    with pytest.raises(DamagedRecord, match="changed since it was written"):
        bank.trial("third", "a0")
    write_json(adopted / "trial.json", record)
    (adopted / "valence.safetensors").write_bytes(b"another's")
    with pytest.raises(DamagedRecord, match="bytes, expected"):
        bank.check("third", "a0")


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_submission_is_not_scored(whole: Whole, damage: str) -> None:
    if damage == "unreadable" and os.geteuid() == 0:
        pytest.skip("root reads everything")
    out, store = whole.folder / "out", whole.world.store
    values = read_submission(out, store)
    DAMAGES[damage](out / "x1.csv", out / "x2.csv")
    if damage == "a link that leads out":  # to the same values
        np.testing.assert_array_equal(read_submission(out, store), values)
        return
    with pytest.raises(InputError, match=r"x1\.csv.* changed since it was written"):
        read_submission(out, store)
