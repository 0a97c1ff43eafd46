"""Recordings as tables: the same numbers as from the store, rows in their order, refused where they
can't be meant."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from serving_world import WEIGHTS, Served, make_ensemble, read_folder

from va_search.data.store import FeatureSet, Store
from va_search.errors import InputError
from va_search.serving import served as serving
from va_search.serving.predict import write_predictions
from va_search.serving.rows import to_store
from va_search.targets import affect

FACE = FeatureSet("face", "visual", 2, "float32", "", ("smile", "gaze.x"))
VOICE = FeatureSet("voice", "audio", 2, "float32", "")


def table_of(store: Store, split: str = "test") -> pd.DataFrame:
    """The store's recordings as a user would export them."""
    tables = []
    for one in store.split(split):
        gap = np.zeros(one.frames, dtype=bool)
        gap[list(one.gaps)] = True
        table: dict[str, Any] = {
            "recording": one.name,
            "subject": one.subject,
            "gap": gap,
            "frames_per_second": 25.0,
        }
        for name in ("face", "voice"):
            columns = store.feature_sets[name].columns or range(store.feature_sets[name].dim)
            values = store.features(name)[one.start : one.stop]
            table |= {f"{name}.{column}": values[:, index] for index, column in enumerate(columns)}
        tables.append(pd.DataFrame(table))
    return pd.concat(tables, ignore_index=True)


@pytest.fixture
def opened(served: Served, tmp_path: Path) -> serving.Served:
    folder = tmp_path / "model"
    folder.mkdir()
    serving.write_served(folder, served.ensemble, served.bank, 25.0)
    return serving.Served.open(folder)


def test_a_table_is_predicted_as_the_store_is(
    served: Served, opened: serving.Served, tmp_path: Path
) -> None:
    write_predictions(served.ensemble, served.bank, served.store, "test", tmp_path / "out")
    expected = read_folder(tmp_path / "out", served.store)
    table = table_of(served.store)
    found = opened.predict(table)
    assert list(found.columns) == ["recording", "valence", "arousal"]
    assert found["recording"].tolist() == table["recording"].tolist()
    assert np.abs(found[["valence", "arousal"]].to_numpy() - expected).max() <= 1e-5


def test_rows_of_several_recordings_may_be_mixed(served: Served, opened: serving.Served) -> None:
    table = table_of(served.store)
    order = np.argsort(
        table.groupby("recording").cumcount().to_numpy(), kind="stable"
    )  # frame by frame
    mixed = table.iloc[order]
    expected = opened.predict(table)
    pd.testing.assert_frame_equal(opened.predict(mixed), expected.iloc[order], atol=1e-6)
    assert mixed["recording"].iloc[0] != mixed["recording"].iloc[1]


def test_gap_subject_and_rate_matter(own: Served, tmp_path: Path) -> None:
    post = {
        d: {"smoothing": "moving_average", "window_seconds": 0.4} for d in ("valence", "arousal")
    }
    ensemble = make_ensemble(own.home, own.store, WEIGHTS, post=post)
    (tmp_path / "m").mkdir()
    serving.write_served(tmp_path / "m", ensemble, own.bank, None)
    opened = serving.Served.open(tmp_path / "m")
    table = table_of(own.store)
    whole = opened.predict(table)[["valence", "arousal"]].to_numpy()
    first = (table["recording"] == "r07").to_numpy()
    assert (
        np.abs(opened.predict(table[first])[["valence", "arousal"]].to_numpy() - whole[first]).max()
        > 1e-4
    )
    changes: dict[str, Any] = {
        "gap": False,
        "subject": table["recording"],
        "frames_per_second": 50.0,
    }
    for column, value in changes.items():
        other = opened.predict(table.assign(**{column: value}))[["valence", "arousal"]].to_numpy()
        assert np.abs(other - whole).max() > 1e-4, column
    with pytest.raises(InputError, match="'frames_per_second' is missing; the ensemble smooths"):
        opened.predict(table.drop(columns="frames_per_second"))


def test_without_smoothing_and_delay_no_rate_is_asked_for(served: Served, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    serving.write_served(
        tmp_path / "m", served.ensemble, served.bank, None
    )  # the study's recordings had several
    opened = serving.Served.open(tmp_path / "m")
    table = table_of(served.store)
    pd.testing.assert_frame_equal(
        opened.predict(table.drop(columns="frames_per_second")), opened.predict(table)
    )


def test_an_empty_table_gives_an_empty_one(served: Served, opened: serving.Served) -> None:
    found = opened.predict(table_of(served.store).iloc[:0])
    assert len(found) == 0 and list(found.columns) == ["recording", "valence", "arousal"]


def test_the_folder_needs_nothing_else_and_has_no_pickle(served: Served, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    serving.write_served(tmp_path / "model", served.ensemble, served.bank, None)
    files = {
        str(path.relative_to(tmp_path / "model"))
        for path in (tmp_path / "model").rglob("*")
        if path.is_file()
    }
    weights = {"a": ["valence"], "b": ["valence", "arousal"], "c": ["valence", "arousal"]}
    expected = {
        f"bank/first/{trial}/{name}.safetensors"
        for trial, names in weights.items()
        for name in names
    }
    assert files == {"ensemble.json", "serving.json", *expected}


@pytest.mark.parametrize(
    "file", ["ensemble.json", "serving.json", "bank/first/b/arousal.safetensors"]
)
def test_a_damaged_folder_is_told(served: Served, tmp_path: Path, file: str) -> None:
    serving.write_served(tmp_path, served.ensemble, served.bank, None)
    path = tmp_path / file
    path.write_bytes(path.read_bytes().replace(b"3", b"4", 1))
    with pytest.raises(InputError, match=f"{path}: .*register the ensemble again"):
        serving.Served.open(tmp_path)
    path.unlink()
    with pytest.raises(InputError, match=str(path)):
        serving.Served.open(tmp_path)


def small(**changed: Any) -> pd.DataFrame:
    table: dict[str, Any] = {
        "recording": ["a", "a", "b"],
        "face.smile": [1.0, 2, 3],
        "face.gaze.x": [1.0, 2, 3],
    }
    table |= {"voice.0": [4.0, 5, 6], "voice.1": [4.0, 5, 6]}
    return pd.DataFrame({**table, **changed}).drop(
        columns=[name for name, value in changed.items() if value is None]
    )


def laid_out(table: pd.DataFrame, rate: float | None = 25.0) -> tuple[Any, Any]:
    return to_store(table, [FACE, VOICE], targets=affect(-1.0, 1.0), frames_per_second=rate)


def test_a_table_as_a_store() -> None:
    store, order = laid_out(
        small(recording=["b", "a", "b"], gap=[True, False, True], frames_per_second=[30, None, 30])
    )
    assert order.tolist() == [0, 2, 1]
    b, a = store.recordings
    assert (b.name, b.subject, b.start, b.frames, b.gaps, b.frames_per_second) == (
        "b",
        "b",
        0,
        2,
        (1,),
        30.0,
    )
    assert (a.name, a.start, a.stop, a.gaps, a.frames_per_second) == ("a", 2, 3, (), 25.0)
    assert store.features("voice").tolist() == [[4, 4], [6, 6], [5, 5]]
    assert (
        np.isnan(store.annotations).all()
        and store.annotations.shape == (3, 2)
        and store.valid.all()
    )
    other, _ = laid_out(small(recording=["b", "a", "b"]))
    assert (
        other.feature_sets["voice"].hash
        == store.feature_sets["voice"].hash
        != store.feature_sets["face"].hash
    )


def test_from_a_store_and_back(served: Served) -> None:
    sets = [served.store.feature_sets[name] for name in ("face", "voice")]
    table = table_of(served.store)
    store, order = to_store(table, sets, targets=affect(0.5, 9.5), frames_per_second=None)
    assert order.tolist() == list(range(239))
    for one, other in zip(store.recordings, served.store.split("test"), strict=True):
        assert (one.name, one.subject, one.frames, one.gaps) == (
            other.name,
            other.subject,
            other.frames,
            other.gaps,
        )


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"recording": None, "voice.1": None}, ["column 'recording' is missing", "1 of 2 columns of 'voice' are"]),
        ({"face.smile": None, "face.gaze.x": None}, ["2 of 2 columns of 'face' are missing: 'face.smile', 'face.g"]),
        ({"recording": ["a", None, "b"]}, ["1 row without recording, the first is row 1"]),
        (
            {"face.gaze.x": [1, None, 3], "voice.0": [1, 2, 1e300]},
            ["1 value of 'face' is missing or no finite float32, the first in column 'face.gaze.x' of recording 'a'",
             "column 'voice.0' of recording 'b', row 2"],
        ),
        ({"voice.0": ["x", "y", "z"]}, ["columns of 'voice' are not all numbers"]),
        ({"subject": ["s", "t", "t"]}, ["recording 'a' has 2 values of subject, expected one"]),
        ({"frames_per_second": [25.0, 25.0, 0.0]}, ["recording 'b': frames_per_second is 0.0, expected above 0"]),
    ],
)  # fmt: skip
def test_tables_that_are_refused(changed: dict[str, Any], said: list[str]) -> None:
    with pytest.raises(InputError) as error:
        laid_out(small(**changed))
    assert len(error.value.problems) == len(said)
    for one, text in zip(error.value.problems, said, strict=True):
        assert text in one


def test_values_may_be_missing_where_some_were_in_training() -> None:
    table = small(**{"face.gaze.x": [1, None, 3]})
    face = replace(FACE, missing=True)
    store, _ = to_store(table, [face, VOICE], targets=affect(-1, 1), frames_per_second=25.0)
    assert np.isnan(store.features("face")).sum() == 1
    assert store.feature_sets["face"].missing and not store.feature_sets["voice"].missing
    table["face.smile"] = np.inf
    with pytest.raises(InputError, match="3 values of 'face' are no finite float32"):
        to_store(table, [face, VOICE], targets=affect(-1, 1), frames_per_second=25.0)


def test_a_rate_some_recording_lacks() -> None:
    with pytest.raises(InputError, match="recording 'b' has no frames_per_second"):
        laid_out(small(frames_per_second=[25.0, 25.0, None]), rate=None)


def test_many_problems_are_cut() -> None:
    names = [f"r{index // 2}" for index in range(60)]
    table = pd.concat([small()] * 20, ignore_index=True).assign(recording=names, subject=range(60))
    with pytest.raises(InputError, match="and 10 more problems"):
        laid_out(table)
