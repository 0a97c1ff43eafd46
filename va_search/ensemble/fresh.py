"""Freshness of what was made from an ensemble: is its explanation, its registered model of this
build, and are its trials still all there are?

    ensembles/<name>/explain.json       the explanation; `content` says of which build
    ensembles/<name>/registered.json    the versions in MLflow's registry, by model name; `content` says of which build

Conventions: the content of an ensemble is what it predicts and how good that is: members, weights,
post-processing and scores, not when it was built. The same trials and recipe again have the same
content. All of this reads a few small files, no prediction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from va_search.ensemble.saved import Ensemble, Weighted
from va_search.errors import InputError
from va_search.files import digest, read_json, write_json
from va_search.home import Home
from va_search.predictions.bank import Bank
from va_search.targets import targets_to_json

EXPLANATION = (
    "explain.json",
    "weight.csv",
    "adds.csv",
    "correlation-*.csv",
    "weight.png",
    "adds.png",
    "correlation.png",
)
"""Patterns of the files of an explanation, in `explanation_folder`; one correlation a target."""
CHARACTERS = 16
"""Of the SHA-256 of a content."""


def content_id(ensemble: Ensemble) -> str:
    """16 hex digits that are equal exactly when two builds predict and score the same."""
    return digest(_content(ensemble))[:CHARACTERS]


def _content(ensemble: Ensemble) -> dict[str, Any]:
    return {
        "recipe": ensemble.recipe_document,
        "studies": sorted(ensemble.studies),
        "frames": [ensemble.frames_hash, ensemble.test_frames_hash],
        **targets_to_json(ensemble.targets),
        "candidates": ensemble.candidates,
        "scores": ensemble.scores,
        "dimensions": {name: _weighted(part) for name, part in ensemble.dimensions.items()},
        "parts": [[part.share, _content(part.ensemble)] for part in ensemble.parts],
    }


def _weighted(part: Weighted) -> dict[str, Any]:
    members = [[m.study, m.trial, m.weight, m.trials] for m in part.members]
    content = {"members": members, "post": asdict(part.post), "recipe": part.recipe}
    replaceable = [member.content for member in part.members if member.content is not None]
    if replaceable:
        content["contents"] = replaceable
    return content


def explanation_folder(home: Home, name: str) -> Path:
    """The folder of tables and pictures of `--explain`."""
    return home.ensemble(name).with_suffix("")


def stale_explanation(home: Home, ensemble: Ensemble) -> bool:
    """True when there is an explanation, and it is of another build."""
    path = explanation_folder(home, ensemble.name) / "explain.json"
    if not path.is_file():
        return False
    try:
        document = read_json(path)
    except InputError:
        return True
    if not isinstance(document, dict):
        return True
    if "content" in document:
        return bool(document["content"] != content_id(ensemble))
    # Written before contents were noted.
    return bool(document.get("created_at") != ensemble.created_at)


def forget_explanation(
    home: Home, name: str, ensemble: Ensemble, *, reason: str = "of the earlier build"
) -> str | None:
    """Remove the explanation of another build, and return that in words, with the `reason`; None
    where there was nothing to do.

    That of a home at a URL stays, and is reported as an earlier build's: other machines would bring
    it back."""
    if home.url is not None or not stale_explanation(home, ensemble):
        return None
    folder = explanation_folder(home, name)
    for pattern in EXPLANATION:
        for file in folder.glob(pattern):
            file.unlink(missing_ok=True)
    return f"removed the explanation {reason} ({folder}); --explain makes it again"


def note_registered(
    home: Home, ensemble: Ensemble, *, model: str, version: int, tracking_uri: str
) -> None:
    """Note which version of the registry is of this build."""
    content = content_id(ensemble)
    models = _registered(home, ensemble.name)
    models[model] = {"version": version, "tracking_uri": tracking_uri, "content": content}
    write_json(_registered_path(home, ensemble.name), {"models": models})


def renew_registered(home: Home, ensemble: Ensemble, content: str) -> None:
    """Note that versions of the registry of the build with this `content` are of the build that the
    ensemble is now, which predicts the same."""
    models = _registered(home, ensemble.name)
    current = content_id(ensemble)
    renewed = {}
    for name, model in models.items():
        renewed[name] = {**model, "content": current} if model["content"] == content else model
    if renewed != models:
        write_json(_registered_path(home, ensemble.name), {"models": renewed})


def registered_models(home: Home, name: str) -> list[str]:
    """`models:/NAME/VERSION` of the versions that were registered of an ensemble."""
    models = _registered(home, name)
    return [f"models:/{model}/{entry['version']}" for model, entry in models.items()]


def stale_models(home: Home, ensemble: Ensemble) -> list[str]:
    """`models:/NAME/VERSION` of the registered models that are of an earlier build of this
    ensemble."""
    content = content_id(ensemble)
    stale = []
    for name, model in _registered(home, ensemble.name).items():
        if model["content"] != content:
            stale.append(f"models:/{name}/{model['version']}")
    return stale


def _registered_path(home: Home, name: str) -> Path:
    return explanation_folder(home, name) / "registered.json"


def _registered(home: Home, name: str) -> dict[str, Any]:
    """The versions noted for the ensemble by model name; none where the file is missing or
    damaged."""
    try:
        models = read_json(_registered_path(home, name))["models"]
    except (InputError, KeyError, TypeError):
        return {}
    if not isinstance(models, dict):
        return {}
    whole = {}
    for model_name, model in models.items():
        if isinstance(model, dict) and {"version", "content"} <= model.keys():
            whole[model_name] = model
    return whole


def complete_trials(home: Home, studies: Iterable[str]) -> dict[str, int]:
    """Number of complete trials of each study; nothing for a name that can be no study's."""
    bank = Bank(home.bank)
    complete = {}
    for study in dict.fromkeys(studies):
        with suppress(InputError):
            complete[study] = len(bank.trials(study))
    return complete


def newer_trials(
    home: Home, ensemble: Ensemble, complete: Mapping[str, int] | None = None
) -> int | None:
    """Number of trials completed since the ensemble was built; None where it did not note them.
    `complete`: as `complete_trials` of its studies, where that was counted already."""
    if ensemble.complete is None:
        return None
    if complete is None:
        complete = complete_trials(home, ensemble.complete)
    newer = 0
    for study, count in complete.items():
        newer += max(0, count - ensemble.complete.get(study, count))
    return newer
