"""The recipe of a store's feature sets, kept in the store, so that new videos are extracted alike.

    manifest.json: {"extract": {"egemaps": {"extractor": "egemaps", "settings": {…}, "mean": true,
                    …, "faces": […] where crops were found}}, "definitions": {"egemaps": "…"}}

Conventions: an entry has the fields of `FeatureRecipe` but for its name, and paths of weights are
absolute. The definition is the hash of what was extracted: a recipe gives a feature set of the store
only where it gives the same hash. Crops were found by the recipe's `faces`, or given in a folder:
that is part of the definition, too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from va_search.data.manifest import Manifest, write_manifest
from va_search.data.problems import refuse
from va_search.data.store import Store
from va_search.errors import InputError, unknown_name
from va_search.extract.extractor import FACE_FINDERS, extractor_class
from va_search.extract.recipe import (
    ExtractionRecipe,
    FeatureRecipe,
    load_recipe,
    weights_problems,
)
from va_search.locks import READ_ONLY

KEY = "extract"
"""The manifest's key of the recipe."""
OPTION = "--recipe FILE"


@dataclass(frozen=True)
class MatchedRecipe:
    """A recipe that gives feature sets as a store has them. `given_crops`: some look at crops that
    were given in a folder, not found; `remarks` say what could not be compared."""

    recipe: ExtractionRecipe
    given_crops: bool
    remarks: tuple[str, ...] = ()


def keep_recipe(path: Path, recipe: ExtractionRecipe, *, finds_crops: bool) -> None:
    """Note in the store at `path` how its feature sets are extracted, of those that this recipe
    gives; a store that may not be written to stays as it is."""
    manifest = Manifest.read(path)
    definitions = manifest.document.get("definitions", {})
    entries = dict(manifest.document.get(KEY, {}))
    for name, definition in recipe.definitions(finds_crops=finds_crops).items():
        # A set of another definition is the store's own, made otherwise.
        if definitions.get(name) == definition:
            entries[name] = _entry_of(recipe, name, finds_crops=finds_crops)
    if entries == manifest.document.get(KEY, {}):
        return
    try:
        write_manifest(path, {**manifest.document, KEY: entries}, Store.open(path).files)
    except OSError as error:
        if error.errno not in READ_ONLY:
            raise


def recipe_of_store(store: Store, needed: Sequence[str]) -> MatchedRecipe:
    """The recipe that the store keeps of the `needed` feature sets.

    InputError with everything that is missing: sets that were imported, or extracted before recipes
    were kept; weights that are not where they were, or others."""
    document = Manifest.read(store.path).document
    definitions, entries = document.get("definitions", {}), document.get(KEY, {})
    problems = []
    feature_sets = []
    finders: dict[str, tuple[str, Any]] = {}
    given_crops = False
    for name in needed:
        if name not in definitions:
            problems.append(
                f"{store.path}: feature set {name!r} was imported, and nothing says how it is "
                f"extracted from videos; give a recipe that does: {OPTION}"
            )
        elif name not in entries:
            problems.append(
                f"{store.path}: it was made before stores kept their recipes, so nothing says how "
                f"feature set {name!r} is extracted. Run the same `va-search extract` again, which "
                f"extracts nothing and keeps the recipe in the store, or give it: {OPTION}"
            )
        else:
            try:
                feature_set, faces = _read_entry(name, entries[name])
            except (InputError, ValidationError, KeyError, TypeError, ValueError) as error:
                problems.append(f"{store.path}: feature set {name!r}: {error}; give {OPTION}")
                continue
            feature_sets.append(feature_set)
            if faces is not None:
                finders.setdefault(repr(faces), faces)
            elif feature_set.images == "crops":
                given_crops = True
    if len(finders) + given_crops > 1:
        problems.append(
            f"{store.path}: its feature sets look at faces that were found, or given, in "
            f"{len(finders) + given_crops} ways; no recipe gives all of them at once"
        )
    refuse(problems)
    recipe = ExtractionRecipe(KEY, tuple(feature_sets), next(iter(finders.values()), None))
    weights = weights_problems(recipe)
    if weights:
        raise InputError(
            *weights,
            f"{store.path} was made with these weights; where they are elsewhere now, say so in a "
            f"recipe and give it: {OPTION}",
        )
    refuse(_differences(recipe, definitions, f"{store.path}: its own recipe"))
    return MatchedRecipe(recipe, given_crops)


def recipe_of_file(path: Path, store: Store | None, needed: Sequence[str]) -> MatchedRecipe:
    """The recipe in a file, for the `needed` feature sets; InputError where it lacks one, or gives
    another than the store has. Without a store, or for imported sets, nothing is compared."""
    recipe = load_recipe(path, needed)
    names = [feature_set.name for feature_set in recipe.feature_sets]
    missing = [name for name in needed if name not in names]
    refuse(
        [
            f"{path}: {unknown_name('feature set', name, names)}; the ensemble's members need it"
            for name in missing
        ]
    )
    definitions: dict[str, str] = {}
    if store is not None:
        definitions = Manifest.read(store.path).document.get("definitions", {})
    refuse(_differences(recipe, definitions, str(path)))
    given_crops = False
    given = recipe.definitions(finds_crops=False)
    for feature_set in recipe.feature_sets:
        if feature_set.images == "crops":
            is_given = definitions.get(feature_set.name) == given[feature_set.name]
            given_crops |= is_given or recipe.faces is None
    unknown = [name for name in needed if name not in definitions]
    remarks = []
    if unknown:
        remarks.append(
            f"{path}: nothing says how {', '.join(unknown)} of the training's store came about; "
            "taken to be as this recipe extracts it"
        )
    return MatchedRecipe(recipe, given_crops, tuple(remarks))


def _differences(recipe: ExtractionRecipe, definitions: dict[str, str], source: str) -> list[str]:
    """A problem for each feature set whose definition in the store is another, be crops found or
    given."""
    found = recipe.definitions(finds_crops=True)
    given = recipe.definitions(finds_crops=False)
    problems = []
    for name, expected in definitions.items():
        if name in found and expected not in (found[name], given[name]):
            problems.append(
                f"{source}: feature set {name!r} would not be the one that members were trained on "
                "(other settings, weights or faces, another file beside the weights, or an earlier "
                "version of va-search)"
            )
    return problems


def _entry_of(recipe: ExtractionRecipe, name: str, *, finds_crops: bool) -> dict[str, Any]:
    """The manifest's entry of one feature set."""
    (feature_set,) = (entry for entry in recipe.feature_sets if entry.name == name)
    document = {**vars(feature_set), "settings": feature_set.settings.model_dump(mode="json")}
    del document["name"]
    if finds_crops and recipe.faces is not None and feature_set.images == "crops":
        finder, settings = recipe.faces
        document["faces"] = [finder, settings.model_dump(mode="json")]
    return document


def _read_entry(name: str, entry: dict[str, Any]) -> tuple[FeatureRecipe, tuple[str, Any] | None]:
    """A feature set of a manifest's entry, and what finds the faces it looks at."""
    document = dict(entry)
    faces = document.pop("faces", None)
    extractor = extractor_class(document["extractor"])
    document["settings"] = extractor.Settings.model_validate(document["settings"])
    finder = None
    if faces is not None:
        finder_class = extractor_class(faces[0], FACE_FINDERS)
        finder = (faces[0], finder_class.Settings.model_validate(faces[1]))
    return FeatureRecipe(name=name, **document), finder
