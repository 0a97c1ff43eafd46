"""Several raters' spread: computed, kept with the store, audited."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from store_world import unseal
from streams_world import write_csv, write_source

from va_search.data.audit import AuditFinding, check
from va_search.data.importing import add_feature_sets
from va_search.data.raters import fuse, spread_of
from va_search.data.store import Store
from va_search.data.streams import import_streams
from va_search.data.table import import_table
from va_search.errors import InputError

NAN = float("nan")
TRACES = {
    "ann": [0.0, 0.2, 0.4, 0.6, 0.2, NAN],
    "bob": [0.1, 0.3, 0.3, 0.7, NAN, NAN],
    "cy": [0.5, 0.1, NAN, 0.0, NAN, NAN],
}
"""Three raters; the fourth frame has all of them, the fifth one, the last none."""
SPREADS = [
    np.std([0.0, 0.1, 0.5], ddof=1),
    np.std([0.2, 0.3, 0.1], ddof=1),
    0.1 / np.sqrt(2),
    np.std([0.6, 0.7, 0.0], ddof=1),
    NAN,
    NAN,
]
SUBJECTS = [("a", "s1", "train"), ("b", "s2", "validation"), ("c", "s3", "test")]


def make(folder: Path, traces: dict[str, dict[str, list[float]]], **target: Any) -> Path:
    """A source of recordings a, b and c, 2 frames per second: `traces` of the raters by recording;
    arousal has one rater."""
    document: dict[str, Any] = {
        "name": "rated",
        "targets": {
            "valence": {
                "range": [-1, 1],
                "files": "valence/{recording}.csv",
                "raters": ["ann", "b*", "cy"],
                **target,
            },
            "arousal": {"range": [0, 10], "files": "arousal/{recording}.csv"},
        },
        "features": {"sound": {"modality": "audio", "files": "sound/{recording}.csv"}},
    }
    write_source(folder, document, SUBJECTS)
    for recording, _, _ in SUBJECTS:
        own = traces.get(recording, {name: [NAN] * 6 for name in TRACES})
        frames = len(own["ann"])
        rows = [(i / 2, *values) for i, values in enumerate(zip(*own.values(), strict=True))]
        write_csv(folder / f"valence/{recording}.csv", ["time_s", *own], rows)
        labels = [(i / 2, 5 + i if recording != "c" else None) for i in range(frames)]
        write_csv(folder / f"arousal/{recording}.csv", ["time_s", "arousal"], labels)
        sound = [(i / 2, i) for i in range(frames)]
        write_csv(folder / f"sound/{recording}.csv", ["time_s", "loudness"], sound)
    return folder


def rated_store(folder: Path, **target: Any) -> Store:
    source = make(folder / "source", {"a": TRACES, "b": TRACES}, **target)
    return import_streams(source, folder / "store")[0]


def slow_spread(labels: list[float], weights: list[float]) -> float:
    """The spread of one frame by its formula, NaN for fewer than two raters."""
    pairs = list(zip(labels, weights, strict=True))
    pairs = [(x, w) for x, w in pairs if not np.isnan(x) and w > 0]
    if len(pairs) < 2:
        return NAN
    total = sum(w for _, w in pairs)
    mean = sum(w * x for x, w in pairs) / total
    squares = sum(w * (x - mean) ** 2 for x, w in pairs)
    return float(np.sqrt(squares / (total - sum(w * w for _, w in pairs) / total)))


def test_a_store_keeps_the_raters_spread_and_number_of_each_frame(tmp_path: Path) -> None:
    store = rated_store(tmp_path)
    assert store.spread is not None
    assert store.raters is not None
    for recording in store.recordings[:2]:
        spread, raters = store.spread[recording.span], store.raters[recording.span]
        assert spread[:, 0] == pytest.approx(SPREADS, rel=1e-6, nan_ok=True)
        assert raters[:, 0].tolist() == [3, 3, 2, 3, 1, 0]
        # One rater tells no spread.
        assert np.isnan(spread[:, 1]).all()
        assert raters[:, 1].tolist() == [1] * 6
    test = store.recordings[2].span
    assert np.isnan(store.spread[test]).all()
    assert not store.raters[test].any()
    assert store.spread.dtype == np.float32


def test_raters_of_other_clocks_are_brought_to_the_frames_as_the_labels_are(tmp_path: Path) -> None:
    source = make(tmp_path / "source", {"a": TRACES, "b": TRACES}, rater_column="rater", raters=[])
    document = (source / "streams.yaml").read_text()
    (source / "streams.yaml").write_text("frames_per_second: 2\n" + document)
    for recording, _, _ in SUBJECTS:
        # Ann at 10 Hz, Bob at 2 Hz and late: a frame takes the mean of its interval.
        rows = [("ann", i / 10, i / 100) for i in range(30)]
        rows += [("bob", i / 2 + 0.1, 0.5) for i in range(6)]
        write_csv(source / f"valence/{recording}.csv", ["rater", "time_s", "valence"], rows)
    store, _ = import_streams(source, tmp_path / "store")
    assert store.spread is not None
    ann = np.arange(30).reshape(6, 5).mean(axis=1) / 100
    frames = store.recordings[0].span
    assert store.annotations[frames, 0] == pytest.approx((ann + 0.5) / 2, rel=1e-5)
    assert store.spread[frames, 0] == pytest.approx(np.abs(ann - 0.5) / np.sqrt(2), rel=1e-5)


@pytest.mark.parametrize("how", ["mean", "ewe"])
def test_spreads_are_those_of_a_slow_reference(how: str) -> None:
    rng = np.random.default_rng(0)
    for raters in range(1, 6):
        matrix = np.cumsum(rng.normal(size=(40, 1)), axis=0) + rng.normal(size=(40, raters))
        matrix[rng.random(matrix.shape) < 0.3] = np.nan
        annotation, weights = fuse(matrix, how)
        spread, counts = spread_of(matrix, weights)
        expected = [slow_spread(row, weights.tolist()) for row in matrix.tolist()]
        assert spread == pytest.approx(expected, nan_ok=True)
        counted = np.isfinite(matrix) & (weights > 0)
        assert counts.tolist() == counted.sum(axis=1).tolist()
        # A frame has raters exactly where it has a label.
        assert ((counts > 0) == np.isfinite(annotation)).all()


def test_the_spread_of_equal_raters_is_the_samples_whatever_their_number() -> None:
    matrix = np.array([[0.0, 1.0, NAN], [0.0, 1.0, 0.5], [2.0, 2.0, 2.0]])
    spread, counts = spread_of(matrix, np.full(3, 1 / 3))
    assert spread == pytest.approx([np.sqrt(0.5), 0.5, 0.0])
    assert counts.tolist() == [2, 3, 3]


def test_raters_without_weight_have_no_part_in_the_spread() -> None:
    matrix = np.array([[0.0, 0.1, 9.0], [0.2, 0.2, 9.0], [0.4, NAN, 9.0]])
    spread, counts = spread_of(matrix, np.array([0.75, 0.25, 0.0]))
    assert spread == pytest.approx([slow_spread([0.0, 0.1], [0.75, 0.25]), 0.0, NAN], nan_ok=True)
    assert counts.tolist() == [2, 2, 1]


def test_a_store_of_one_rater_keeps_none_and_is_what_it_was(tmp_path: Path) -> None:
    store = rated_store(tmp_path, raters=[], column="ann")
    assert store.spread is None
    assert store.raters is None
    assert not (store.path / "raters.arrow").exists()
    manifest = json.loads((store.path / "manifest.json").read_text())
    assert "raters" not in manifest
    assert "raters" not in check(store).to_json()


def test_only_trials_that_use_the_spread_depend_on_it(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    store = rated_store(tmp_path / "one")
    traces = {name: list(trace) for name, trace in TRACES.items()}
    # The mean of the fourth frame stays, and the spread of its raters grows.
    traces["ann"][3], traces["bob"][3] = 0.9, 0.4
    changed = {"a": traces, "b": traces}
    other, _ = import_streams(make(tmp_path / "other/source", changed), tmp_path / "other/store")
    made_before = replace(store, raters_hash=None)
    assert made_before.data_hash(["sound"]) == store.data_hash(["sound"])
    assert store.data_hash(["sound"], spread=True) != store.data_hash(["sound"])
    assert other.data_hash(["sound"]) == store.data_hash(["sound"])
    assert other.data_hash(["sound"], spread=True) != store.data_hash(["sound"], spread=True)


def test_a_store_without_raters_file_opens_as_before(tmp_path: Path) -> None:
    store = rated_store(tmp_path)
    hash_before = store.data_hash(["sound"])
    # A store as an earlier version made it.
    file = store.path / "manifest.json"
    manifest = json.loads(file.read_text())
    del manifest["raters"], manifest["bytes"]["raters.arrow"], manifest["seal"]
    (store.path / "raters.arrow").unlink()
    file.write_text(json.dumps(manifest))
    before = Store.open(store.path)
    assert before.spread is None
    assert before.data_hash(["sound"]) == hash_before
    assert check(before).count("error") == 0
    # The import that made it finds it.
    again, _ = import_streams(tmp_path / "source", tmp_path / "store")
    assert again.spread is None


def test_feature_sets_that_are_added_leave_the_raters(tmp_path: Path) -> None:
    store = rated_store(tmp_path)
    text = (tmp_path / "source/streams.yaml").read_text().replace("sound:", "voice:")
    (tmp_path / "source/streams.yaml").write_text(text)
    addition, _ = import_streams(tmp_path / "source", tmp_path / "addition")
    merged = add_feature_sets(store.path, addition.path)
    assert set(merged.feature_sets) == {"sound", "voice"}
    assert merged.raters_hash == store.raters_hash
    assert merged.spread is not None
    assert check(merged).raters["a"]["valence"].raters == 3


def test_parts_of_an_earlier_version_are_read_again(tmp_path: Path) -> None:
    source = make(tmp_path / "source", {"a": TRACES, "b": {**TRACES, "cy": [7.0] * 6}})
    with pytest.raises(InputError):
        import_streams(source, tmp_path / "store")
    parts = list((tmp_path / "store.partial/parts").iterdir())
    for part in parts:
        with np.load(part) as arrays:
            old = {name: arrays[name] for name in arrays if name not in ("spread", "raters")}
        np.savez(part, **old)
        # The name that a version without spreads gave it.
        part.rename(part.with_stem("0" * 24))
    make(tmp_path / "source", {"a": TRACES, "b": TRACES})
    store, _ = import_streams(source, tmp_path / "store")
    assert store.spread is not None
    assert np.isfinite(store.spread[store.recordings[0].span, 0]).sum() == 4


def test_the_audit_tells_how_far_raters_agree_and_their_usual_spread(tmp_path: Path) -> None:
    report = check(rated_store(tmp_path))
    texts = [finding.text for finding in report.findings if finding.where == "target valence"]
    correlations = []
    for one, other in combinations(TRACES, 2):
        both = np.isfinite(TRACES[one]) & np.isfinite(TRACES[other])
        a, b = np.array(TRACES[one])[both], np.array(TRACES[other])[both]
        correlations.append(np.corrcoef(a, b)[0, 1])
    assert texts[0].startswith("3 raters; between two of them CCC ")
    assert f"r {np.mean(correlations):.3f} on average over 2 recordings" in texts[0]
    assert f"spread of the raters of a frame: {np.nanmedian(SPREADS):.3g} (median" in texts[1]
    assert "2 of 10 labelled frames have one rater, and no spread" in texts[1]
    assert report.to_json()["raters"]["a"]["valence"]["r"] == pytest.approx(np.mean(correlations))
    warned = {finding.where for finding in report.findings if "do not agree" in finding.text}
    assert warned == {"recording a", "recording b"}


def test_the_audit_leaves_out_raters_of_test_recordings(tmp_path: Path) -> None:
    contrary = {"ann": TRACES["ann"], "bob": [-value for value in TRACES["ann"]], "cy": [0.9] * 6}
    source = make(tmp_path / "source", {"a": TRACES, "b": TRACES, "c": contrary})
    store, streams = import_streams(source, tmp_path / "labelled")
    other, other_streams = import_streams(
        make(tmp_path / "other", {"a": TRACES, "b": TRACES}), tmp_path / "unlabelled"
    )
    report, without = check(store), check(other)
    remarks = {"target valence", "recording a", "recording b", "recording c"}

    def of_raters(findings: Sequence[AuditFinding]) -> list[tuple[str, str]]:
        texts = [(finding.where, finding.text) for finding in findings]
        return [text for text in texts if text[0] in remarks and "raters" in text[1]]

    assert of_raters(report.findings) == of_raters(without.findings)
    assert report.raters == without.raters and set(report.raters) == {"a", "b"}
    notes = [finding.text for finding in report.findings if finding.where == "raters"]
    assert notes == ["the raters of 1 test recording are left out"]
    assert not [finding for finding in without.findings if finding.where == "raters"]
    assert streams.targets[0].ccc == other_streams.targets[0].ccc


@pytest.mark.parametrize("is_sealed", [True, False])
def test_spreads_that_were_changed_are_told(tmp_path: Path, is_sealed: bool) -> None:
    store = rated_store(tmp_path)
    if not is_sealed:
        unseal(store.path)
    file = store.path / "raters.arrow"
    content = bytearray(file.read_bytes())
    position = content.find(np.float32(SPREADS[0]).tobytes())
    content[position] ^= 1
    file.write_bytes(content)
    words = r"raters\.arrow: changed since" if is_sealed else "raters: .*content hash differs"
    with pytest.raises(InputError, match=words):
        Store.open(store.path)


# Tables.


def write_table(folder: Path, targets: str, headers: dict[str, str] | None = None) -> Path:
    """A source of recordings a (train) and b (validation) with the raters of `TRACES`, and t (test)
    without labels; `headers` replace those of a file."""
    (folder / "recordings").mkdir(parents=True)
    text = (
        f"name: rated\ntargets: {targets}\nframes_per_second: 2\n"
        "features: {sound: {modality: audio, columns: [all others]}}\n"
    )
    (folder / "dataset.yaml").write_text(text)
    rows = ["recording,subject,split", "t,t,test", "a,a,train", "b,b,validation"]
    (folder / "recordings.csv").write_text("\n".join(rows))
    for name in "abt":
        header = (headers or {}).get(name, "ann,bob,cy,loudness,arousal")
        lines = [header]
        for frame, traces in enumerate(zip(*TRACES.values(), strict=True)):
            cells = ["" if np.isnan(value) else str(value) for value in traces]
            lines.append(",".join([*cells, str(frame), str(frame / 10)]))
        if name == "t":
            lines = ["loudness", *map(str, range(6))]
        (folder / f"recordings/{name}.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.mark.parametrize("fuse", ["mean", "ewe"])
@pytest.mark.parametrize("raters", ["[ann, bob, cy]", "['?*nn', 'b*', cy]"])
def test_a_table_with_a_column_for_each_rater_is_as_one_of_streams(
    tmp_path: Path, fuse: str, raters: str
) -> None:
    targets = f"{{valence: {{range: [-1, 1], raters: {raters}, fuse: {fuse}}}, arousal: [0, 10]}}"
    table = import_table(write_table(tmp_path / "table", targets), tmp_path / "store")
    streams = rated_store(tmp_path / "streams", fuse=fuse)
    for name in "ab":
        span = next(entry.span for entry in table.recordings if entry.name == name)
        other = next(entry.span for entry in streams.recordings if entry.name == name)
        for values in ("annotations", "spread", "raters"):
            column = getattr(table, values)[span, 0]
            np.testing.assert_array_equal(column, getattr(streams, values)[other, 0])
    assert table.feature_sets["sound"].columns == ("loudness",)
    test = table.split("test")[0].span
    assert table.raters is not None
    assert not table.raters[test].any()
    assert check(table).count("error") == 0


def test_recordings_of_a_table_may_have_raters_of_their_own(tmp_path: Path) -> None:
    targets = "{valence: {range: [-1, 1], raters: ['r_*']}, arousal: [0, 10]}"
    headers = {"a": "r_1,r_2,r_3,loudness,arousal", "b": "r_4,r_5,r_1,loudness,arousal"}
    source = write_table(tmp_path / "table", targets, headers)
    store = import_table(source, tmp_path / "store")
    assert store.spread is not None
    for recording in store.recordings[1:]:
        spread = store.spread[recording.span, 0]
        assert spread == pytest.approx(SPREADS, rel=1e-6, nan_ok=True)
    weights = check(store).raters["b"]["valence"].weights
    assert set(weights) == {"r_1", "r_4", "r_5"}


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("{range: [-1, 1], fuse: ewe}", "`fuse` goes with several raters"),
        ("{range: [-1, 1], raters: [ann], column: bob}", "give one of them"),
        ("{range: [-1, 1], raters: ['x*']}", "targets: valence: raters: unknown column 'x*'"),
        ("{range: [-1, 1], raters: [ann, bov]}", "targets: valence: raters: unknown column 'bov'"),
        (
            "{range: [0, 0.5], raters: [ann, bob, cy]}",
            "valence 0.6 (column 'ann') is outside the label range [0, 0.5]",
        ),
    ],
)
def test_wrong_raters_of_a_table_are_refused(tmp_path: Path, target: str, text: str) -> None:
    source = write_table(tmp_path / "table", f"{{valence: {target}, arousal: [0, 10]}}")
    with pytest.raises(InputError) as error:
        import_table(source, tmp_path / "store")
    assert text in str(error.value)


def test_a_label_of_a_rater_outside_the_range_is_told_with_the_rater(tmp_path: Path) -> None:
    source = make(tmp_path / "source", {"a": {**TRACES, "cy": [0.1, 0.2, 1.5, 0.4, 0.5, 0.6]}})
    with pytest.raises(InputError) as error:
        import_streams(source, tmp_path / "store")
    assert "valence 1.5 (rater 'cy') is outside its range [-1, 1]" in str(error.value)


def test_another_fusion_of_a_table_is_another_store(tmp_path: Path) -> None:
    targets = "{valence: {range: [-1, 1], raters: [ann, bob, cy]}, arousal: [0, 10]}"
    source = write_table(tmp_path / "table", targets)
    import_table(source, tmp_path / "store")
    import_table(source, tmp_path / "store")
    text = (source / "dataset.yaml").read_text().replace("cy]", "cy], fuse: ewe")
    (source / "dataset.yaml").write_text(text)
    with pytest.raises(InputError, match="was made from other sources or options"):
        import_table(source, tmp_path / "store")
