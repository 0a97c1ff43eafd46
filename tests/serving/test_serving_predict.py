"""Predicting stores from weights: equal to the bank on the study's own store, refused where
anything does not fit."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving_world import SETS, WEIGHTS, Served, make_ensemble, read_folder, write_store
from trial_world import forget_seal

from va_search.data.store import Store, positions
from va_search.ensemble.saved import Ensemble
from va_search.errors import InputError, JobError
from va_search.serving import members
from va_search.serving.members import load_members, members_of, parts
from va_search.serving.predict import Written, write_predictions
from va_search.submission import predict, submit
from va_search.submission.folder import MARK


def write(served: Served, out: Path, **changed: Any) -> Written:
    given: dict[str, Any] = {
        "ensemble": served.ensemble,
        "store": served.store,
        "split": "test",
        **changed,
    }
    return write_predictions(given["ensemble"], served.bank, given["store"], given["split"], out)


def rows_of(path: Path) -> list[list[str]]:
    return list(csv.reader(path.read_text().splitlines()))


POST = {
    "valence": {"smoothing": "savitzky_golay", "window_seconds": 0.5, "scale": 1.1, "offset": -0.4},
    "arousal": {"smoothing": "moving_average", "window_seconds": 0.3, "delay_seconds": 0.2},
}


@pytest.mark.parametrize("post", [None, POST])
def test_the_test_split_equals_the_submission(
    own: Served, tmp_path: Path, post: dict[str, Any] | None
) -> None:
    ensemble = make_ensemble(own.home, own.store, WEIGHTS, post=post)
    submit(ensemble, own.store, own.bank, format="recordings", out=tmp_path / "bank")
    written = write(own, tmp_path / "weights", ensemble=ensemble)
    there = {path.name for path in (tmp_path / "bank").iterdir()}
    assert there == {path.name for path in (tmp_path / "weights").iterdir()} and len(there) == 5
    expected, found = (read_folder(tmp_path / name, own.store) for name in ("bank", "weights"))
    assert np.abs(found - expected).max() <= 1e-5 and np.ptp(expected, axis=0).min() > 0.01
    assert (written.rows, written.members, written.feature_sets) == (239, 3, ("face", "voice"))
    assert written.from_bank is not None and written.from_bank <= 1e-5
    for name in there - {MARK}:
        rows = [rows_of(tmp_path / folder / name) for folder in ("bank", "weights")]
        assert [row[0] for row in rows[0]] == [
            row[0] for row in rows[1]
        ]  # header and times, as they stood


def test_the_validation_split_equals_the_bank(served: Served, tmp_path: Path) -> None:
    write(served, tmp_path / "out", split="validation")
    validation = served.store.split("validation")
    expected = predict(served.ensemble, served.bank, "validation", validation)
    assert (
        np.abs(read_folder(tmp_path / "out", served.store, "validation") - expected).max() <= 1e-5
    )
    assert json.loads((tmp_path / "out" / MARK).read_text())["split"] == "validation"


def test_a_few_subjects_at_a_time_give_the_same(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(served, tmp_path / "at-once")
    monkeypatch.setattr(members, "PART", 1)
    test = served.store.split("test")
    found = list(parts(test))
    assert [[one.name for one in part] for _, part in found] == [
        ["r07", "r09"],
        ["r08"],
        ["r10"],
    ]  # subjects whole
    assert sorted(np.concatenate([rows for rows, _ in found])) == list(range(239))
    assert all(len(rows) == len(positions(part)) for rows, part in found)
    write(served, tmp_path / "in-parts")
    at_once, in_parts = (
        read_folder(tmp_path / name, served.store) for name in ("at-once", "in-parts")
    )
    assert np.abs(at_once - in_parts).max() <= 1e-5


def test_another_store_needs_only_the_members_feature_sets(served: Served, tmp_path: Path) -> None:
    sets = {name: SETS[name] for name in ("voice", "face")}
    splits = ["train"] * 7 + ["test"] * 4
    other = write_store(tmp_path / "other", sets=sets, time_column=None, splits=splits, prefix="n")
    write(served, tmp_path / "out", store=other)
    write(served, tmp_path / "own")
    header, *_ = rows_of(tmp_path / "out" / "n07.csv")
    assert header == ["valence", "arousal"]
    assert (
        np.abs(
            read_folder(tmp_path / "out", other) - read_folder(tmp_path / "own", served.store)
        ).max()
        <= 1e-5
    )


def test_no_other_feature_set_is_read(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: set[str] = set()
    features = Store.features

    def watched(self: Store, name: str) -> Any:
        opened.add(name)
        return features(self, name)

    monkeypatch.setattr(Store, "features", watched)
    write(served, tmp_path / "out")
    assert opened == {"face", "voice"}


def test_a_model_stands_once_where_one_epoch_is_best_of_both(served: Served) -> None:
    loaded = {member.weights.trial: member for member in load_members(served.ensemble, served.bank)}
    assert [sorted(loaded), [one.trial for one in members_of(served.ensemble)]] == [
        ["a", "b", "c"]
    ] * 2
    assert [dimensions for _, dimensions in loaded["c"].models] == [
        ["valence", "arousal"]
    ]  # trained for one epoch
    best = served.bank.trial("first", "b").best
    assert (best["valence"].epoch == best["arousal"].epoch) == (len(loaded["b"].models) == 1)
    assert [dimensions for _, dimensions in loaded["a"].models] == [["valence"]]


def test_the_watch_counts_to_the_end(served: Served, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    write_predictions(
        served.ensemble,
        served.bank,
        served.store,
        "test",
        tmp_path / "out",
        watch=lambda *one: seen.append(one),
    )
    assert seen[0][0] == "first/a" and seen[-1][0] == "first/c"
    assert all(done <= frames for _, done, frames in seen) and seen[-1][1] == len(seen) * 239


def test_everything_that_does_not_fit_is_told_at_once(own: Served, tmp_path: Path) -> None:
    sets = {"face": ("audio", ("smile", "AU 04", "gaze.x")), "voice": SETS["voice"]}
    other = write_store(tmp_path / "other", sets=sets, dims={"voice": 5}, splits=["train"] * 11)
    own.weights("a").unlink()
    path = own.weights("b", "arousal")
    path.write_bytes(path.read_bytes()[:-7])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("mine")
    with pytest.raises(InputError) as error:
        write(own, tmp_path / "out", store=other)
    text = str(error.value)
    assert "out: not empty and no earlier submission" in text
    assert "no test recordings (found: 11 train, 0 validation, 0 test)" in text
    assert "a/valence.safetensors: missing; its trial is left out" in text
    assert "b/arousal.safetensors: damaged (" in text
    with pytest.raises(InputError) as error:
        write(Served(own.home, other, _only(own.ensemble, "c")), tmp_path / "new", split="train")
    assert error.value.problems == [
        f"{other.path}: feature set 'face' is of modality 'audio', expected 'visual'",
    ]


def _only(ensemble: Ensemble, trial: str) -> Ensemble:
    document = ensemble.model_dump(mode="json")
    for part in document["dimensions"].values():
        part["members"] = [{**part["members"][0], "trial": trial, "weight": 1.0}]
    return Ensemble.model_validate(document)


@pytest.mark.parametrize(
    ("sets", "dims", "said"),
    [
        ({"face": SETS["face"]}, {}, ["'voice' is missing; the model needs it (found: face)"]),
        (SETS, {"voice": 4}, ["'voice' has 4 columns, expected 2"]),
        (
            {**SETS, "face": ("visual", ("smile", "gaze.x", "AU 04"))},
            {"voice": 1},
            ["'face': column 1 is 'gaze.x', expected 'AU 04'", "'voice' has 1 columns, expected 2"],
        ),
    ],
)
def test_stores_that_do_not_fit(
    served: Served, tmp_path: Path, sets: dict[str, Any], dims: dict[str, int], said: list[str]
) -> None:
    other = write_store(tmp_path / "other", sets=sets, dims=dims)
    with pytest.raises(InputError) as error:
        write(served, tmp_path / "out", store=other)
    assert [
        one.split("feature set ")[1] for one in error.value.problems
    ] == said  # once, whoever needs it
    assert not (tmp_path / "out").exists()


def test_unnamed_columns_fit_named_ones(served: Served, tmp_path: Path) -> None:
    other = write_store(tmp_path / "other", sets={**SETS, "face": ("visual", ())})
    assert write(served, tmp_path / "out", store=other).rows == 239


def test_members_from_elsewhere_are_named(own: Served, tmp_path: Path) -> None:
    weights = {
        "valence": {"outside-red": 0.25, "b": 0.75},
        "arousal": {"b": 0.5, "outside-blue": 0.5},
    }
    ensemble = make_ensemble(
        own.home, own.store, weights, "mixed", outside=("outside-red", "outside-blue")
    )
    with pytest.raises(InputError) as error:
        write(own, tmp_path / "out", ensemble=ensemble)
    (text,) = error.value.problems
    assert (
        "first/outside-red (weight in valence 0.250), first/outside-blue (weight in arousal 0.500)"
        in text
    )
    assert "`members: {outside: false}`" in text


def test_unknown_splits_and_clean_replacement(served: Served, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown split 'tset'; did you mean 'test'"):
        write(served, tmp_path / "out", split="tset")
    assert not write(served, tmp_path / "out").replaced
    assert write(served, tmp_path / "out").replaced
    (tmp_path / "out" / "r07.csv").write_text("edited")
    with pytest.raises(InputError, match=r"r07\.csv changed since"):
        write(served, tmp_path / "out")


def test_a_member_that_predicts_nan_is_named(own: Served, tmp_path: Path) -> None:
    from safetensors import safe_open
    from safetensors.torch import save_file

    path = own.weights("a")
    with safe_open(str(path), framework="pt") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(
        {name: tensor * float("nan") for name, tensor in tensors.items()},
        str(path),
        metadata=metadata,
    )
    with pytest.raises(JobError, match="first/a: its valence model predicts NaN"):
        write(_from_before(own), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_weights_that_are_not_the_banks_are_told(own: Served, tmp_path: Path) -> None:
    own.weights("a").write_bytes(own.weights("b").read_bytes())
    with pytest.raises(
        InputError, match=r"a/valence\.safetensors: damaged \(\d+ bytes, expected \d+"
    ):
        write(own, tmp_path / "out")
    own = _from_before(own)
    found = write(own, tmp_path / "out").from_bank
    assert found is not None and found > 0.01
    assert write(own, tmp_path / "train", split="train").from_bank is None


def _from_before(own: Served) -> Served:
    """The trials and the ensemble as if from before there were seals, sealed as they are now."""
    for trial in own.bank.trials("first"):
        forget_seal(own.bank.folder("first", trial) / "trial.json")
    return Served(own.home, own.store, own.ensemble.model_copy(update={"member_seals": None}))


def test_weights_of_another_version_and_label_range(own: Served, tmp_path: Path) -> None:
    from safetensors import safe_open
    from safetensors.torch import save_file

    changes: list[tuple[str, dict[str, Any]]] = [
        ("a", {"format": 2}),
        ("b", {"label_range": [-1, 1]}),
    ]
    changes.append(("c", {"settings": {"features": ["face"], "encoder": "mamba"}}))
    for trial, change in changes:
        path = own.weights(trial)
        with safe_open(str(path), framework="pt") as file:
            document = json.loads(file.metadata()["va-search"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        save_file(tensors, str(path), metadata={"va-search": json.dumps({**document, **change})})
    with pytest.raises(InputError) as error:
        write(_from_before(own), tmp_path / "out")
    text = str(error.value)
    assert (
        "a/valence.safetensors: weights of another program or version, expected va-search format 1"
        in text
    )
    assert (
        "b/valence.safetensors: trained on labels in [-1, 1], the ensemble is of labels in "
        "[0.5, 9.5]" in text
    )
    assert "c/valence.safetensors: not weights this version can read" in text and "mamba" in text
    assert len(error.value.problems) == 3
