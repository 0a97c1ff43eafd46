"""Facts are kept with their store: right, or computed again; and never another content's."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from store_world import edit_and_seal

from va_search import errors
from va_search.data import audit_facts, computed, normalise
from va_search.data.audit import AuditReport, check
from va_search.data.computed import Computed
from va_search.data.draft import Description, Draft, Part, Source
from va_search.data.folds import make_folds
from va_search.data.normalise import Normalisation, by_recording, by_subject, normalisation
from va_search.data.store import Store
from va_search.targets import affect

FRAMES = 60
COLUMNS = 4


@pytest.fixture(autouse=True)
def _small_is_worth_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Facts of the small stores here are kept too, and no other test's are known."""
    for module in (computed, normalise, audit_facts):
        monkeypatch.setattr(module, "LEAST_VALUES", 1)
    monkeypatch.setenv("VA_SEARCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(errors, "WARNED", set())
    normalise._seen.clear()
    yield
    normalise._seen.clear()


def store_at(folder: Path, *, dtype: str = "float16", missing: bool = False) -> Store:
    """Six recordings of three people, one of them in test."""
    people = ["ann", "ann", "bob", "bob", "cem", "cem"]
    splits = ["train", "train", "validation", "validation", "test", "test"]
    sources = []
    for index, (person, split) in enumerate(zip(people, splits, strict=True)):
        sources.append(Source(f"r{index}", person, f"v{index}", split, None, 25.0, ()))
    sets = {"face": ("visual", ()), "voice": ("audio", ())}
    draft = Draft(folder, Description("tiny", affect(-1, 1), sets, dtype=dtype), sources)
    random = np.random.default_rng(0)
    for index, split in enumerate(splits):
        face = random.normal(index, 1 + index, (FRAMES, COLUMNS))
        if missing:
            face[random.random(face.shape) < 0.2] = np.nan
        labels = None if split == "test" else random.uniform(-1, 1, (FRAMES, 2))
        draft.add(index, Part({"face": face, "voice": face[:, ::-1]}, labels))
    return draft.finish()


def statistics(store: Store, by: str = "median_mad") -> Normalisation:
    return normalisation(
        store, ["face", "voice"], store.fold("official"), grouped=by_recording, normalise_by=by
    )


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "computed").glob("*.facts"))


def document(report: AuditReport) -> str:
    return json.dumps(report.to_json(), sort_keys=True)


def read_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make whatever reads all values fail."""
    fail = lambda *_, **__: pytest.fail("read again")  # noqa: E731
    monkeypatch.setattr(normalise, "centre_and_spread", fail)
    monkeypatch.setattr(audit_facts, "audit_columns", fail)
    monkeypatch.setattr(audit_facts, "copied_recordings", fail)
    monkeypatch.setattr(audit_facts, "baselines", fail)


@pytest.mark.parametrize("by", ["mean_std", "median_mad"])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("missing", [False, True])
def test_kept_statistics_are_the_computed_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str, dtype: str, missing: bool
) -> None:
    store = store_at(tmp_path / "store", dtype=dtype, missing=missing)
    first = statistics(store, by)
    assert len(files(store.path)) == 2
    normalise._seen.clear()
    with monkeypatch.context() as patch:
        read_nothing(patch)
        kept = statistics(Store.open(store.path), by)
    shutil.rmtree(store.path / "computed")
    normalise._seen.clear()
    again = statistics(store, by)
    for other in (kept, again):
        assert first.shift.tobytes() == other.shift.tobytes()
        assert first.scale.tobytes() == other.scale.tobytes()
        assert first.group == other.group


def test_a_process_computes_a_group_once_for_all_views(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_at(tmp_path / "store")
    statistics(store)
    measured: list[object] = []
    slow = normalise.centre_and_spread

    def counted(values: object, ranges: object, **options: object) -> object:
        measured.append(ranges)
        return slow(values, ranges, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(normalise, "centre_and_spread", counted)
    normalisation(
        store, ["face"], store.fold("official"), grouped=by_subject, normalise_by="median_mad"
    )
    assert len(measured) == 3  # no subject has one recording


def test_a_second_check_reads_no_value_and_says_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_at(tmp_path / "store", missing=True)
    first = check(store)
    read_nothing(monkeypatch)
    assert document(check(Store.open(store.path))) == document(first)


def test_a_changed_file_is_never_told_old_findings(tmp_path: Path) -> None:
    store = store_at(tmp_path / "store")
    clean = check(store)
    statistics(store)
    path = store.path / "features" / "face.arrow"
    content = bytearray(path.read_bytes())
    value = store.features("face")[3].tobytes()
    start = content.index(value)
    content[start : start + 2] = np.float16(np.inf).tobytes()
    path.write_bytes(content)
    with pytest.raises(errors.InputError, match="changed since it was written"):
        Store.open(store.path)
    with pytest.raises(errors.InputError, match="changed since it was written"):
        check(store)
    # Sealed again, by whoever may: the old findings are of another content.
    edit_and_seal(store.path, lambda document: None)
    changed = check(Store.open(store.path))
    assert clean.count("error") == 0
    texts = [finding.text for finding in changed.findings if finding.level == "error"]
    assert any("content hash differs" in text for text in texts)
    assert any("infinite" in text for text in texts)


@pytest.mark.parametrize("change", ["code", "targets", "split", "missing"])
def test_other_code_targets_or_splits_have_findings_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    store = store_at(tmp_path / "store")
    check(store)
    if change == "code":
        monkeypatch.setattr(audit_facts, "_code", lambda: "of another version")
    elif change == "targets":

        def widen(manifest: dict[str, object]) -> None:
            manifest["label_range"] = [-2.0, 2.0]

        edit_and_seal(store.path, widen)
    elif change == "missing":

        def say_missing(manifest: dict[str, list[dict[str, object]]]) -> None:
            for entry in manifest["feature_sets"]:
                entry["missing"] = True

        edit_and_seal(store.path, say_missing)
    read: list[str] = []
    slow = audit_facts.audit_columns
    copies = audit_facts.copied_recordings

    def audit_columns(store: Store, name: str, frames: object) -> object:
        read.append(name)
        return slow(store, name, frames)  # type: ignore[arg-type]

    def copied(store: Store, hashes: object) -> object:
        read.append("copies")
        return copies(store, hashes)  # type: ignore[arg-type]

    monkeypatch.setattr(audit_facts, "audit_columns", audit_columns)
    monkeypatch.setattr(audit_facts, "copied_recordings", copied)
    if change == "split":
        opened = Store.open(store.path)
        moved = [*opened.recordings]
        object.__setattr__(moved[0], "split", "test")
        check(opened)
        assert read == ["copies"]
        return
    check(Store.open(store.path))
    assert sorted(read) == ["copies", "face", "voice"]


def test_folds_made_since_are_in_the_report_and_cost_no_second_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_at(tmp_path / "store")
    assert check(store).folds == {}
    make_folds(store.path, k=2)
    monkeypatch.setattr(
        audit_facts, "audit_columns", lambda *_: pytest.fail("features do not depend on folds")
    )
    assert check(Store.open(store.path)).folds == {1: 2, 2: 2}


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "other key", "folder", "pipe"])
def test_a_damaged_file_is_told_of_and_computed_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    store = store_at(tmp_path / "store")
    first = statistics(store)
    paths = sorted((store.path / "computed").glob("*.facts"))
    contents = [path.read_bytes() for path in paths]
    for path, content in zip(paths, contents, strict=True):
        path.unlink()
        if damage == "cut":
            path.write_bytes(content[: len(content) // 2])
        elif damage == "flipped":
            path.write_bytes(content[:-3] + bytes([content[-3] ^ 1]) + content[-2:])
        elif damage == "empty":
            path.touch()
        elif damage == "folder":
            path.mkdir()
        elif damage == "pipe":
            os.mkfifo(path)
    if damage == "other key":
        for path, content in zip(paths, reversed(contents), strict=True):
            path.write_bytes(content)
    normalise._seen.clear()
    again = statistics(store)
    assert first.shift.tobytes() == again.shift.tobytes()
    assert len([line for line in caplog.messages if "computed again" in line]) == 2
    assert Store.open(store.path).feature_sets.keys() == store.feature_sets.keys()


def test_a_store_that_can_not_be_written_to_has_its_facts_in_the_users_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = store_at(tmp_path / "store")
    whole_file = computed.whole_file

    def refused(path: Path) -> object:
        if store.path in path.parents:
            raise OSError(errno.EROFS, "Read-only file system")
        return whole_file(path)

    monkeypatch.setattr(computed, "whole_file", refused)
    first = statistics(store)
    assert files(store.path) == []
    assert len(files(tmp_path / "cache")) == 2
    normalise._seen.clear()
    read_nothing(monkeypatch)
    assert statistics(store).scale.tobytes() == first.scale.tobytes()
    assert caplog.messages == []


def test_a_full_disk_is_told_of_once_and_the_facts_are_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = store_at(tmp_path / "store")

    def full(self: Path, content: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    first = statistics(store)
    normalise._seen.clear()
    assert statistics(store).scale.tobytes() == first.scale.tobytes()
    assert len(caplog.messages) == 2  # of two files
    assert all("not kept" in line for line in caplog.messages)
    assert [*(store.path / "computed").iterdir()] == []


def test_a_link_out_of_the_store_is_not_followed(tmp_path: Path) -> None:
    store = store_at(tmp_path / "store")
    outside = tmp_path / "outside"
    outside.mkdir()
    (store.path / "computed").symlink_to(outside)
    statistics(store)
    assert [*outside.iterdir()] == []
    assert len(files(tmp_path / "cache")) == 2


COMPUTE = """
import sys
from pathlib import Path
from va_search.data import computed, normalise
from va_search.data.store import Store
computed.LEAST_VALUES = normalise.LEAST_VALUES = 1
slow = normalise.centre_and_spread
count = 0
def counted(*arguments, **options):
    global count
    import time; time.sleep(.02)
    count += 1
    return slow(*arguments, **options)
normalise.centre_and_spread = counted
store = Store.open(Path(sys.argv[1]))
table = normalise.normalisation(store, ["face", "voice"], store.fold("official"),
    grouped=normalise.by_recording, normalise_by="median_mad")
print(count, table.shift.tobytes().hex())
"""


def test_processes_that_begin_at_once_compute_each_set_once(tmp_path: Path) -> None:
    store = store_at(tmp_path / "store")
    command = [sys.executable, "-c", COMPUTE, str(store.path)]
    processes = []
    for _ in range(3):
        processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
    outputs = [process.communicate(timeout=120)[0].split() for process in processes]
    assert sum(int(count) for count, _ in outputs) == 12  # six recordings, two feature sets
    assert {shift for _, shift in outputs} == {statistics(store).shift.tobytes().hex()}
    assert not [*(store.path / "computed").glob("*.lock")]


def test_old_files_go_and_what_was_left_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_at(tmp_path / "store")
    monkeypatch.setattr(computed, "KEPT", 3)
    kept = Computed(store)
    abandoned = store.path / "computed" / ".x-1.facts.0.partial"
    abandoned.parent.mkdir()
    abandoned.touch()
    os.utime(abandoned, (0, 0))
    for number in range(6):
        kept.write("x", f"{number}" * 40, number, {})
        path = store.path / "computed" / f"x-{str(number) * 32}.facts"
        os.utime(path, (number + 1, number + 1))
    assert files(store.path) == [f"x-{str(number) * 32}.facts" for number in (3, 4, 5)]
    assert not abandoned.exists()
    facts = kept.read("x", "5" * 40)
    assert facts is not None and facts.values == 5
