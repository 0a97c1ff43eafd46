"""Damage to a store: told when the store is opened or when its files are, whatever it is; nothing
dies of it, and no training changes silently."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from store_world import edit, edit_and_seal, unseal

from va_search import verified
from va_search.data import older_stores
from va_search.data.arrays import Values
from va_search.data.draft import Description, Draft, Part, Source, write_frames
from va_search.data.folds import make_folds
from va_search.data.importing import add_feature_sets
from va_search.data.manifest import FeatureSet
from va_search.data.raters import Ratings
from va_search.data.store import Store
from va_search.errors import InputError
from va_search.files import Name, read_json, write_json
from va_search.seals import Damaged
from va_search.search.failures import outage_of
from va_search.targets import affect

FRAMES, PEOPLE = 12, 6
FILES = [
    "features/face.arrow", "features/voice.arrow", "frames.arrow", "recordings.arrow",
    "raters.arrow", "manifest.json", "folds.json",
]  # fmt: skip


def make(folder: Path, *, sets: tuple[str, ...] = ("face", "voice"), seed: int = 0) -> Path:
    """A store of `PEOPLE` short recordings with raters and stimuli at folder/store."""
    folder.mkdir(exist_ok=True)
    source = folder / "source.csv"
    source.write_text("x")
    recordings = []
    for index in range(PEOPLE):
        split = "validation" if index == 1 else "train"
        row = (f"r{index}", f"{'st'[seed]}{index}", f"v{index}", split, None, 20.0, (source,))
        recordings.append(Source(*row, stimulus=f"clip {index % 2}"))
    description = Description(
        "tiny", affect(-1, 1), dict.fromkeys(sets, ("visual", ())), time_column="time", rated=True
    )
    draft = Draft(folder / "store", description, recordings)
    for index in draft.missing():
        rng = np.random.default_rng([seed, index])
        labels = rng.uniform(-1, 1, size=(FRAMES, 2))
        features: dict[str, Values] = {name: rng.normal(size=(FRAMES, 3)) for name in sets}
        ratings = Ratings(np.abs(labels) / 10, np.full(labels.shape, 3), {})
        times = np.arange(FRAMES) * 50.0
        valid = np.arange(FRAMES) != index
        draft.add(index, Part(features, labels, times, valid, (3,), ratings=ratings))
    return draft.finish().path


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make(tmp_path_factory.mktemp("origin"))
    make_folds(folder, k=3)
    return folder


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another store of the same recordings, sets and sizes."""
    folder = make(tmp_path_factory.mktemp("other"), seed=1)
    make_folds(folder, k=3, seed=4)
    return folder


@pytest.fixture
def store(origin: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(origin, tmp_path / "store"))


def read_everything(folder: Path) -> list[object]:
    """All that trainings read of a store, as plain values."""
    opened = Store.open(folder)
    arrays: list[Any] = [opened.features(name) for name in opened.feature_sets]
    arrays += [opened.annotations, opened.times, opened.valid, opened.spread, opened.raters]
    content: list[object] = [np.nan_to_num(array, nan=9).tolist() for array in arrays]
    content += [opened.name, opened.targets, opened.time_column, opened.recordings, opened.apart]
    content += [opened.feature_sets, opened.folds_hash, opened.data_hash(["face"], 0, spread=True)]
    return content


def flip(path: Path, position: float) -> None:
    content = bytearray(path.read_bytes())
    content[int(position * (len(content) - 1))] ^= 1 << 4
    path.write_bytes(bytes(content))


def leave(path: Path, _: Path) -> None:
    """A link to the same content elsewhere."""
    elsewhere = path.parent.parent.parent / f"elsewhere-{path.name}"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


DAMAGES: dict[str, Callable[[Path, Path], object]] = {
    "bit at the beginning": lambda path, _: flip(path, 0.0),
    "bit in the header": lambda path, _: flip(path, 0.03),
    "bit in the middle": lambda path, _: flip(path, 0.5),
    "bit near the end": lambda path, _: flip(path, 0.95),
    "bit at the end": lambda path, _: flip(path, 1.0),
    "truncated": lambda path, _: os.truncate(path, path.stat().st_size // 2),
    "emptied": lambda path, _: os.truncate(path, 0),
    "extended": lambda path, _: path.write_bytes(path.read_bytes() + b"\0" * 64),
    "exchanged": lambda path, other: shutil.copy2(other / path.name, path),
    "a link out": leave,
    "deleted": lambda path, _: path.unlink(),
    "unreadable": lambda path, _: path.chmod(0),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", FILES)
def test_no_damage_to_a_file_goes_unseen(
    store: Path, origin: Path, other: Path, name: str, damage: str
) -> None:
    file = store / name
    if damage == "unreadable" and os.geteuid() == 0:
        pytest.skip("root reads what nobody may")
    DAMAGES[damage](file, (other / name).parent)
    if name == "folds.json" and damage in ("deleted", "exchanged"):
        # Without folds, or with others, trials on folds are other trials.
        with pytest.raises(AssertionError):
            assert read_everything(store) == read_everything(origin)
        assert Store.open(store).data_hash(["face"]) == Store.open(origin).data_hash(["face"])
        return
    with pytest.raises(InputError) as caught:
        read_everything(store)
    assert str(store) in str(caught.value)


@pytest.mark.parametrize("damage", ["bit in the middle", "truncated", "exchanged", "deleted"])
@pytest.mark.parametrize("name", FILES[:3])
def test_damage_after_a_store_was_opened_is_told_when_its_file_is(
    store: Path, other: Path, name: str, damage: str
) -> None:
    opened = Store.open(store)
    DAMAGES[damage](store / name, (other / name).parent)
    with pytest.raises(InputError, match=name):
        _ = [opened.features("face"), opened.features("voice"), opened.valid]


KEYS: dict[str, Callable[[dict[str, Any]], object]] = {
    "layout": lambda document: document.update(layout=2),
    "name": lambda document: document.update(name="x"),
    "label_range": lambda document: document.update(label_range=[-1.0, 2.0]),
    "time_column": lambda document: document.update(time_column=None),
    "source": lambda document: document.update(source="x"),
    "signature": lambda document: document.update(signature="x"),
    "feature_sets": lambda document: document["feature_sets"][0].update(modality="x"),
    "hashes": lambda document: document["hashes"].update(annotations="x"),
    "bytes": lambda document: document["bytes"].update({"frames.arrow": 1}),
    "warnings": lambda document: document.update(warnings=["x"]),
    "raters": lambda document: document["raters"].update(hash="x"),
    "stimuli": lambda document: document["stimuli"].update(r0="x"),
    "a new key": lambda document: document.update(new=1),
    "seal": lambda document: document["seal"]["files"].pop("frames.arrow"),
    "seal of a file": lambda document: document["seal"]["files"]["frames.arrow"].update(bytes=1),
    "no files": lambda document: document.update(seal={"files": {}, "document": "0"}),
    "no seal at all": lambda document: document.update(seal=None),
}


@pytest.mark.parametrize("key", KEYS)
def test_no_change_of_a_manifest_goes_unseen(store: Path, key: str) -> None:
    edit(store, KEYS[key])
    with pytest.raises(InputError, match=str(store)):
        Store.open(store)


def test_every_key_of_a_manifest_is_tried(store: Path) -> None:
    assert set(read_json(store / "manifest.json")) <= set(KEYS)


def test_every_key_can_be_taken_out_and_is_missed(store: Path) -> None:
    document = read_json(store / "manifest.json")
    for key in document:
        if key != "seal":
            without = {name: value for name, value in document.items() if name != key}
            write_json(store / "manifest.json", without)
            with pytest.raises(InputError):
                Store.open(store)


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document["feature_sets"][0].update(name="../../x"),
        lambda document: document["feature_sets"][0].update(name="/etc/passwd"),
        lambda document: document["feature_sets"][0].update(name=5),
        lambda document: document["feature_sets"][0].update(dtype="object"),
        lambda document: document["feature_sets"][0].update(dim="3"),
        lambda document: document["feature_sets"][0].update(dim=10**30),
        lambda document: document["feature_sets"][0].update(dim=4),
        lambda document: document["feature_sets"][0].update(unknown=4),
        lambda document: document["feature_sets"].append(5),
        lambda document: document.update(feature_sets=None),
        lambda document: document.update(hashes=[]),
        lambda document: document["hashes"].pop("recordings"),
        lambda document: document.update(stimuli={"r0": 5}),
        lambda document: document.update(raters=[]),
        lambda document: document.update(name=None),
        lambda document: document.update(frames_file="../frames.arrow"),
        lambda document: document.update(frames_file="other.arrow"),
        lambda document: document.update(label_range=["a", "b"]),
        lambda document: document.pop("label_range"),
    ],
)
def test_a_manifest_that_somebody_sealed_is_read_with_care(
    store: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    edit_and_seal(store, change)
    with pytest.raises(InputError, match=r"manifest\.json|face\.arrow"):
        read_everything(store)


def test_a_feature_set_never_leaves_its_store(store: Path, tmp_path: Path) -> None:
    addition = make(tmp_path / "addition", sets=("more",))
    edit_and_seal(addition, lambda document: document["feature_sets"][0].update(name="../../x"))
    outside = sorted(tmp_path.rglob("x.arrow"))
    with pytest.raises(InputError, match=r"feature set '\.\./\.\./x' can't be used as a file name"):
        add_feature_sets(store, addition)
    assert sorted(tmp_path.rglob("x.arrow")) == outside == []
    with pytest.raises(InputError, match="can't be used"):
        FeatureSet("a/b", "visual", 1, "float32", "")
    with pytest.raises(InputError, match="can't be used"):
        Description("x", affect(-1, 1), {"a/../../b": ("visual", ())})


@pytest.mark.parametrize("text", ["", ".", "..", "a/b", "a\\b", "a\0", "a\n", "x" * 256, "é" * 128])
def test_a_name_is_one_path_component(text: str) -> None:
    with pytest.raises(ValueError, match="no name of a file"):
        Name(text)


def test_a_store_may_be_behind_a_link(store: Path, tmp_path: Path, origin: Path) -> None:
    (tmp_path / "link").symlink_to(store)
    assert read_everything(tmp_path / "link") == read_everything(origin)
    moved = store / "moved.arrow"
    (store / "frames.arrow").rename(moved)
    (store / "frames.arrow").symlink_to("moved.arrow")
    assert read_everything(store) == read_everything(origin)


def test_a_folder_of_features_elsewhere_is_told(store: Path, tmp_path: Path) -> None:
    (store / "features").rename(tmp_path / "features")
    (store / "features").symlink_to(tmp_path / "features")
    with pytest.raises(InputError, match=r"face\.arrow: a link that leads out of"):
        Store.open(store)


def test_a_store_from_before_is_sealed_at_its_first_use(
    store: Path, origin: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sealed = read_json(store / "manifest.json")
    folds = read_json(store / "folds.json")
    unseal(store)
    write_json(store / "folds.json", {key: folds[key] for key in folds if key != "seal"})
    (store / "manifest.json").chmod(0o664)
    assert read_everything(store) == read_everything(origin)
    assert [record.getMessage() for record in caplog.records] == [
        f"{store}: made before stores had seals; sealed as it is now"
    ]
    assert read_json(store / "manifest.json") == sealed
    assert read_json(store / "folds.json") == folds
    assert (store / "manifest.json").stat().st_mode & 0o777 == 0o664
    read_everything(store)
    assert len(caplog.records) == 1


def test_a_store_from_before_that_is_read_only_is_checked_once(
    store: Path,
    origin: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unseal(store)
    before = read_json(store / "manifest.json")

    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(older_stores, "write_manifest", refused)
    for _ in range(2):
        assert read_everything(store) == read_everything(origin)
    assert [record.getMessage() for record in caplog.records] == [
        f"{store}: made before stores had seals, and can't be given one (Permission denied), and "
        "checked as it is now"
    ]
    assert read_json(store / "manifest.json") == before
    # What is kept elsewhere is a seal like any other.
    flip(store / "frames.arrow", 0.9)
    with pytest.raises(InputError, match=r"frames\.arrow: changed since"):
        Store.open(store)
    monkeypatch.setenv("VA_SEARCH_CACHE", "/proc/none")
    shutil.copy2(origin / "frames.arrow", store)
    assert read_everything(store) == read_everything(origin)
    assert caplog.records[-1].getMessage().endswith("so it is checked again whenever it is opened")


def test_feature_sets_that_are_added_leave_open_stores_alone(store: Path, tmp_path: Path) -> None:
    addition = make(tmp_path / "addition", sets=("more",))
    opened = Store.open(store)
    # Fewer frames are valid in the addition.
    more = Store.open(addition)
    invalid = np.zeros_like(more.valid)
    write_frames(addition / "frames.arrow", more.targets, more.annotations, more.times, invalid)
    edit_and_seal(addition, lambda document: None)
    merged = add_feature_sets(store, addition)
    assert not merged.valid.any() and set(merged.feature_sets) == {"face", "more", "voice"}
    assert opened.valid.any() and opened.features("face").any()
    assert merged.data_hash(["face"]) == opened.data_hash(["face"])
    assert add_feature_sets(store, addition).frames_file == merged.frames_file != "frames.arrow"


def test_a_store_to_which_an_earlier_version_added_says_how_it_is_sealed_anew(
    store: Path, tmp_path: Path
) -> None:
    addition = make(tmp_path / "addition", sets=("more",))
    shutil.copy2(addition / "features" / "more.arrow", store / "features")
    document, added = read_json(store / "manifest.json"), read_json(addition / "manifest.json")
    # As versions before seals did it: all that they do not know stays in the manifest.
    document["feature_sets"] += added["feature_sets"]
    document["bytes"]["features/more.arrow"] = added["bytes"]["features/more.arrow"]
    write_json(store / "manifest.json", document)
    with pytest.raises(Damaged, match=r"added features/more\.arrow, remove the entry 'seal'"):
        Store.open(store)
    del document["seal"]
    write_json(store / "manifest.json", document)
    assert set(Store.open(store).feature_sets) == {"face", "more", "voice"}
    assert "seal" in read_json(store / "manifest.json")


def test_the_first_verification_tells_and_the_next_costs_nothing(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verified, "SETTLED", 0.0)
    totals: list[int] = []
    Store.open(store, lambda _, total: totals.append(total))
    assert totals[-1] == sum(path.stat().st_size for path in store.rglob("*.arrow"))
    again: list[int] = []
    Store.open(store, lambda _, total: again.append(total))
    assert again == []


def test_a_mapped_file_that_shrinks_between_uses_ends_in_words(store: Path) -> None:
    program = f"""
import os
import numpy as np
from va_search.data.store import Store
from va_search.errors import InputError
store = Store.open({str(store)!r})
before = store.features("face").sum()
for name in ("features/face.arrow", "frames.arrow", "raters.arrow"):
    os.truncate({str(store)!r} + "/" + name, 0)
for read in (lambda: store.features("face"), lambda: store.annotations, lambda: store.spread):
    try:
        print(np.sum(read()))
    except InputError as error:
        print(str(error).split(": ")[1].split(",")[0])
"""
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (0, "0 bytes\n" * 3), result.stderr


def test_a_file_that_is_cut_off_during_a_training_is_told_before_the_next_epoch(
    store: Path,
) -> None:
    opened = Store.open(store)
    values = opened.features("voice")
    (store / "features" / "voice.arrow").rename(store / "elsewhere")  # mapped as it was
    opened.check_files()
    assert np.isfinite(values).all()
    os.truncate(store / "features" / "face.arrow", 100)
    with pytest.raises(Damaged, match=r"face\.arrow: 100 bytes, expected") as caught:
        opened.check_files()
    outage = outage_of(caught.value)
    assert outage is not None and outage.kind == "store"


def test_what_was_read_outlives_its_file(store: Path) -> None:
    """Only features are mapped."""
    program = f"""
import os
from va_search.data.store import Store
store = Store.open({str(store)!r})
times, valid, spread, labels = store.times, store.valid, store.spread, store.annotations
for name in ("frames.arrow", "raters.arrow", "recordings.arrow"):
    os.truncate({str(store)!r} + "/" + name, 0)
print(times.sum() > 0, valid.sum() > 0, spread.sum() > 0, labels.shape)
"""
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"True True True {(FRAMES * PEOPLE, 2)}\n"
