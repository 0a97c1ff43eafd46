"""A person on two sides never reaches a training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from va_search.data.draft import Description, Draft, Part, Source
from va_search.errors import InputError
from va_search.files import Home
from va_search.search.machine import Options
from va_search.search.run import run_search
from va_search.search.space import load_space
from va_search.targets import affect


def test_a_subject_in_two_splits_is_refused_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "source").write_text("x")
    people = [("anna", "train"), ("ben", "train"), ("anna", "validation"), ("cleo", "test")]
    sources = [
        Source(f"r{k}", subject, f"v{k}", split, None, 25.0, (tmp_path / "source",))
        for k, (subject, split) in enumerate(people)
    ]
    draft = Draft(
        tmp_path / "store",
        Description("x", affect(-1.0, 1.0), {"face": ("visual", ("a", "b"))}),
        sources,
    )
    for index in draft.missing():
        draft.add(
            index,
            Part({"face": np.random.default_rng(index).normal(size=(30, 2))}, np.zeros((30, 2))),
        )
    store = draft.finish()
    (tmp_path / "space.yaml").write_text(
        "sampler: grid\nsettings: {features: [face], encoder: gru, width: 8}\n"
    )
    space = load_space(tmp_path / "space.yaml", store)
    with pytest.raises(InputError, match="subject anna stands in train and validation; leakage"):
        run_search(
            Home(tmp_path / "home"),
            space,
            store,
            study="s",
            options=Options(),
            watch=lambda progress: None,
        )
    assert not (tmp_path / "home").exists()
