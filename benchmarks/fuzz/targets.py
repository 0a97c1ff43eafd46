"""The readers that are fuzzed: an input of each, the files of it that are spoiled, and what reading
it gives."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fuzz import formats, made, valid

Shared = Path
"""A folder with what inputs are read beside: `store`, a store that the predictions and spaces are
for."""


@dataclass(frozen=True)
class Target:
    """One reader. `spoiled` are patterns of the files, of which one is spoiled; `read` gives the
    result as text.

    `neutral`: names of the changes (mutations.NEUTRAL) that must change nothing in these files.
    `sealed`: only va-search writes these files, so another result is a fault, whatever was changed.
    """

    name: str
    write: Callable[[Path], None]
    spoiled: tuple[str, ...]
    read: Callable[[Path, Shared], str]
    neutral: tuple[str, ...] = field(default=("crlf", "bom", "no_last_newline", "more_newlines"))
    sealed: bool = False


def prepare(shared: Shared) -> None:
    """Make what inputs are read beside."""
    from va_search.data.table import import_table

    source = shared / "source"
    valid.write_table(source)
    import_table(source, shared / "store", workers=1)


def _store_of(store: Any) -> str:
    """What a store holds: hashes of values, labels and recordings, and its clock."""
    sets = sorted((one.name, one.hash, one.columns) for one in store.feature_sets.values())
    times = hashlib.sha256(store.times.tobytes()).hexdigest()
    return repr(
        (sets, store.hashes, times, store.targets, store.time_column, int(store.valid.sum()))
    )


def _table(folder: Path, shared: Shared) -> str:
    from va_search.data.table import import_table

    return _store_of(import_table(folder, folder.parent / "made", workers=1))


def _affwild2(folder: Path, shared: Shared) -> str:
    from va_search.data.affwild2 import import_affwild2

    return _store_of(
        import_affwild2(
            folder / "VA",
            folder.parent / "made",
            visual=folder / "visual",
            audio=folder / "audio",
            sample=folder / "sample.txt",
            frame_rates=folder / "rates.csv",
            subjects=folder / "subjects.csv",
            workers=1,
        )
    )


def _space(folder: Path, shared: Shared) -> str:
    from va_search.data.store import Store
    from va_search.search.space import load_space

    space = load_space(folder / "file.yaml", Store.open(shared / "store"))
    return repr(space)


def _recipe(folder: Path, shared: Shared) -> str:
    from va_search.ensemble.recipe import load_recipe

    recipe = load_recipe(folder / "file.yaml")
    return repr((recipe.members, recipe.default, recipe.own, recipe.among, recipe.of))


def _features(folder: Path, shared: Shared) -> str:
    from va_search.extract.recipe import load_recipe

    recipe = load_recipe(folder / "file.yaml")
    return repr((recipe.feature_sets, recipe.faces, recipe.definitions(finds_crops=False)))


def _predictions(folder: Path, shared: Shared) -> str:
    from va_search.data.store import Store
    from va_search.ensemble.outside import add_outside
    from va_search.predictions.bank import Bank

    bank = Bank(folder.parent / "bank")
    add_outside(bank, "study", folder, Store.open(shared / "store"))
    return repr(sorted((trial.id, trial.content) for trial in bank.each_trial("study")))


def _labels(folder: Path, shared: Shared) -> str:
    from va_search.data.store import Store
    from va_search.submission.scoring import read_labels

    return hashlib.sha256(read_labels(folder, Store.open(shared / "store")).tobytes()).hexdigest()


def _cluster(folder: Path, shared: Shared) -> str:
    from va_search.cluster.check import check_cluster

    return repr(
        [(one.rule, one.level, one.text) for one in check_cluster(folder / "file.yaml").findings]
    )


def _shipped(name: str) -> Callable[[Path], None]:
    return lambda folder: valid.write_shipped(folder, name)


def _yaml(text: str) -> Callable[[Path], None]:
    return lambda folder: valid.write_yaml(folder, text)


def _parquet_table(folder: Path) -> None:
    valid.write_table(folder, parquet=True)


ORDERED = ("crlf", "bom", "no_last_newline", "more_newlines", "quoted", "columns")
"""Changes that mean nothing to a CSV whose rows stand in order."""
NAMED = (*ORDERED, "rows")
"""And to one whose rows are named."""
PARQUET = ("row_groups", "compression")
TARGETS = {
    target.name: target
    for target in (
        Target("dataset.yaml", valid.write_table, ("dataset.yaml",), _table),
        Target("recordings.csv", valid.write_table, ("recordings.csv",), _table, ORDERED),
        Target("table", valid.write_table, ("recordings/*.csv",), _table, ORDERED),
        Target("table-parquet", _parquet_table, ("recordings/b.parquet",), _table, PARQUET),
        Target("annotations", valid.write_affwild2, ("VA/*/*.txt",), _affwild2),
        Target(
            "features-csv",
            valid.write_affwild2,
            ("visual/faces/*.csv",),
            _affwild2,
            ("crlf", "bom", "rows"),
        ),
        Target(
            "features-parquet",
            valid.write_affwild2,
            ("visual/points/*.parquet",),
            _affwild2,
            PARQUET,
        ),
        Target("features-npy", valid.write_affwild2, ("audio/mel/*.npy",), _affwild2, ("version",)),
        Target("sample", valid.write_affwild2, ("sample.txt",), _affwild2, ORDERED),
        Target("frame-rates", valid.write_affwild2, ("rates.csv",), _affwild2, NAMED),
        Target("subjects", valid.write_affwild2, ("subjects.csv",), _affwild2, NAMED),
        Target("spaces", _yaml(valid.SPACE), ("file.yaml",), _space),
        Target("recipes", _yaml(valid.RECIPE), ("file.yaml",), _recipe),
        Target("feature-recipes", _yaml(valid.FEATURES), ("file.yaml",), _features),
        Target("predictions", valid.write_predictions, ("*/*.csv",), _predictions, NAMED),
        Target("labels", valid.write_labels, ("c.csv",), _labels, ORDERED),
        Target("cluster", _shipped("ray_cluster.yaml"), ("file.yaml",), _cluster),
        Target("kuberay", _shipped("clusters/kuberay.yaml"), ("file.yaml",), _cluster),
        Target("npz", formats.write_npz, ("file.npz",), formats.read_format, ()),
        Target("mat", formats.write_mat, ("file.mat",), formats.read_format, ()),
        Target("hdf5", formats.write_hdf5, ("file.h5",), formats.read_format, ()),
        Target("hdf5-frames", formats.write_hdf5_frames, ("file.h5",), formats.read_format, ()),
        Target("feather", formats.write_feather, ("file.feather",), formats.read_format, ()),
        Target("arff", formats.write_arff, ("file.arff",), formats.read_format, ("crlf",)),
        Target("gzipped-csv", formats.write_gzipped, ("file.csv.gz",), formats.read_format, ()),
        Target("eaf", formats.write_eaf, ("file.eaf",), formats.read_format, ("crlf",)),
        Target("json", formats.write_json, ("file.json",), formats.read_json_file, ()),
        Target("onnx", formats.write_onnx, ("file.onnx",), formats.read_onnx, ()),
        Target("weights", formats.write_weights, ("*.safetensors",), formats.read_weights, ()),
        Target("sound", formats.write_sound, ("file.wav",), formats.read_media, ()),
        Target("mp4", formats.video_writer(".mp4", "mpeg4"), ("file.mp4",), formats.read_media, ()),
        Target("avi", formats.video_writer(".avi", "mpeg4"), ("file.avi",), formats.read_media, ()),
        Target("mkv", formats.video_writer(".mkv", "mpeg4"), ("file.mkv",), formats.read_media, ()),
        Target("listings", formats.write_listing, ("file.json",), formats.read_listing, ()),
        Target("mlflow-answers", formats.write_answers, ("file.json",), formats.read_answers, ()),
        Target("stores", made.write_store, ("**/*.arrow",), made.read_store, (), sealed=True),
        Target(
            "stores-recordings", made.write_store, ("*.json",), made.read_store, (), sealed=True
        ),
        Target("banks", made.write_home, ("bank/**/*.*",), made.read_home, (), sealed=True),
        Target(
            "ensembles", made.write_home, ("ensembles/**/*.*",), made.read_home, (), sealed=True
        ),
        Target(
            "submissions", made.write_submission, ("*.*",), made.read_submission, (), sealed=True
        ),
    )
}
