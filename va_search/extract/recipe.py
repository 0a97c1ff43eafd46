"""A feature recipe: which feature sets are extracted from what, one YAML file, validated whole.

    faces:                       only without --crops: how faces are found in the videos
      extractor: detector
      settings: {…}
    feature_sets:
      - name: egemaps            its name in the store
        extractor: egemaps       egemaps | compare | fbank | onnx_audio | transformers_audio | onnx_image
        settings: {level: lld}   of the extractor
        modality: audio          unless said: audio for sound, visual for images
        images: crops            image extractors: crops (default), or frames, the whole picture
        pooling: mean            nearest | mean (over the frame's interval) | {window: 1.0} (mean over so many seconds)
        delay: 0.0               seconds by which annotations follow: features are taken from so long before
        track: 2                 audio extractors: the audio track, from 1; unless said the container's default
        channel: mean            audio extractors: mean (of all channels), or one of them, from 1
        optional: true           recordings without sound, or without pictures, have it as missing

Conventions: pooling is `mean` for sound and `nearest` for images unless said. Every problem of a
file is reported at once, with its line; then every missing or wrong weights file at once. Paths are
relative to the recipe's folder."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from va_search.document import StrictModel, YamlFile
from va_search.document.words import Place
from va_search.errors import InputError
from va_search.extract.extractor import EXTRACTORS, FACE_FINDERS, Extractor, extractor_class
from va_search.extract.weights import weights_in, weights_problem
from va_search.files import checked_name, digest

MEANING = 2
"""Raise it when the same recipe would give other numbers."""
FromOne = Annotated[int, Field(ge=1)]


class Window(StrictModel):
    """Mean over so many seconds around the frame's time."""

    window: float = Field(gt=0, le=600)


class Faces(StrictModel):
    """The entry `faces`: how they are found in videos without crops."""

    extractor: str
    settings: dict[str, Any] = Field(default_factory=dict)


class FeatureSetEntry(Faces):
    """One entry of `feature_sets`, as it stands in the file."""

    SYNONYMS: ClassVar[dict[str, str]] = {"audio_track": "track", "audio_channel": "channel"}

    name: str
    modality: str | None = Field(default=None, min_length=1)
    images: Literal["crops", "frames"] | None = None
    pooling: Literal["nearest", "mean"] | Window | None = None
    delay: Annotated[float, Field(ge=-60, le=60, allow_inf_nan=False)] = 0.0
    track: FromOne | None = None
    channel: FromOne | Literal["mean"] | None = None
    optional: bool = False


class RecipeEntries(StrictModel):
    """The keys of a recipe; their entries are checked one by one."""

    feature_sets: Annotated[list[Any], Field(min_length=1)]
    faces: Any = None


@dataclass(frozen=True)
class FeatureRecipe:
    """One feature set: how it is extracted and laid on the frames. `settings` is the extractor's
    own model.

    `track` and `channel` are those of the sound, from 1; None where the recipe names none, `mean`
    where it says so. `optional`: missing in recordings without sound, or without pictures."""

    name: str
    modality: str
    extractor: str
    kind: str
    settings: Any
    images: str
    mean: bool
    seconds: float | None
    delay: float
    track: int | None = None
    channel: int | Literal["mean"] | None = None
    optional: bool = False

    @property
    def one_channel(self) -> int | None:
        """The channel that is heard, from 1; None for the mean of all."""
        return None if self.channel == "mean" else self.channel

    def build(self) -> Extractor:
        """The extractor, without its weights."""
        return extractor_class(self.extractor)(self.settings)  # type: ignore[no-any-return]

    @property
    def hash(self) -> str:
        """Changes when other numbers would come out. Weights count by content, not by where they
        lie, and with what lies beside them (a checkpoint's config.json)."""
        meaning = {**vars(self), "settings": _by_content(self.settings.model_dump(mode="json"))}
        # A choice that is the default counts as none: stores made before there was one are of the
        # same definition.
        del meaning["track"], meaning["channel"]
        # It changes no number of a recording that has the set.
        del meaning["optional"]
        if self.track is not None:
            meaning["track"] = self.track
        if self.one_channel is not None:
            meaning["channel"] = self.one_channel
        if beside := self.settings.beside():
            meaning["beside"] = beside
        return digest({"meaning": MEANING, **meaning})


@dataclass(frozen=True)
class ExtractionRecipe:
    """A checked recipe: its file's stem, its feature sets in order, and what finds faces, or
    None."""

    name: str
    feature_sets: tuple[FeatureRecipe, ...]
    faces: tuple[str, Any] | None = None

    def finder(self) -> Any:
        """Return what finds faces, without its weights; None where the recipe names none."""
        if self.faces is None:
            return None
        extractor, settings = self.faces
        return extractor_class(extractor, FACE_FINDERS)(settings)

    @property
    def faces_hash(self) -> str:
        """As `FeatureRecipe.hash`, of what finds faces."""
        assert self.faces is not None
        extractor, settings = self.faces
        content = _by_content(settings.model_dump(mode="json"))
        return digest({"meaning": MEANING, "faces": extractor, **content})

    def definitions(self, *, finds_crops: bool) -> dict[str, str]:
        """Hash by feature set; where crops are found by `faces`, it is part of what the sets that
        look at them are."""
        hashes = {}
        for feature_set in self.feature_sets:
            hashes[feature_set.name] = feature_set.hash
            if finds_crops and self.faces is not None and feature_set.images == "crops":
                hashes[feature_set.name] = digest([feature_set.hash, self.faces_hash])
        return hashes


def load_recipe(path: Path, needed: Collection[str] | None = None) -> ExtractionRecipe:
    """Read the recipe in a YAML file, or of its feature sets those that are `needed`; InputError
    with every problem and its line, or with every missing weights file of these."""
    file = YamlFile.read(path)
    document = file.expect_mapping("a feature recipe")
    reader = EntryReader(file, path.parent.resolve())
    entries: RecipeEntries | None = file.checked(RecipeEntries, document)
    # What can be read is checked even where the keys above it are wrong: all problems at once.
    listed = document.get("feature_sets")
    feature_sets: list[FeatureRecipe] = []
    for index, entry in enumerate(listed if isinstance(listed, list) else []):
        feature_set = reader.feature_set(entry, ("feature_sets", index))
        if feature_set is not None:
            feature_sets.append(feature_set)
    faces = None
    if document.get("faces") is not None:
        faces = reader.faces(document["faces"])
    file.stop()
    assert entries is not None
    if needed is not None:
        feature_sets = [entry for entry in feature_sets if entry.name in needed]
    recipe = ExtractionRecipe(path.stem, tuple(feature_sets), faces)
    problems = weights_problems(recipe)
    if problems:
        raise InputError(*problems)
    return recipe


class EntryReader:
    """Reads the entries of one file; problems are noted there.

    `folder` is where an extractor's settings look for files."""

    def __init__(self, file: YamlFile, folder: Path) -> None:
        self.file = file
        self.folder = folder
        self.names: set[str] = set()

    def feature_set(self, raw: Any, place: Place) -> FeatureRecipe | None:
        """One entry, checked with its extractor's settings; None when something in it is wrong."""
        entry: FeatureSetEntry | None = self.file.checked(FeatureSetEntry, raw, place)
        if entry is None:
            return None
        self._check_name(entry.name, (*place, "name"))
        extractor = self._extractor(entry, place, EXTRACTORS)
        if extractor is None:
            return None
        kind, settings = extractor
        # Keys that have no meaning for this kind of extractor are refused, not read over.
        if kind != "image" and entry.images is not None:
            sentence = f"extractor {entry.extractor!r} hears sound; leave `images` out"
            self.file.problem((*place, "images"), sentence)
        for name in ("track", "channel"):
            if kind != "audio" and getattr(entry, name) is not None:
                sentence = f"extractor {entry.extractor!r} sees pictures; leave `{name}` out"
                self.file.problem((*place, name), sentence)

        # Defaults depend on whether the extractor hears or sees.
        hears = kind == "audio"
        pooling = entry.pooling or ("mean" if hears else "nearest")
        return FeatureRecipe(
            name=entry.name,
            modality=entry.modality or ("audio" if hears else "visual"),
            extractor=entry.extractor,
            kind=kind,
            settings=settings,
            images=(entry.images or "crops") if kind == "image" else "",
            mean=pooling != "nearest",
            seconds=pooling.window if isinstance(pooling, Window) else None,
            delay=entry.delay,
            track=entry.track,
            channel=entry.channel,
            optional=entry.optional,
        )

    def faces(self, raw: Any) -> tuple[str, Any] | None:
        """The entry `faces`: the name of what finds them, and its settings."""
        entry: Faces | None = self.file.checked(Faces, raw, ("faces",))
        if entry is None:
            return None
        finder = self._extractor(entry, ("faces",), FACE_FINDERS)
        if finder is None:
            return None
        return entry.extractor, finder[1]

    def _check_name(self, name: str, place: Place) -> None:
        try:
            checked_name(name, "feature set")
        except InputError as error:
            self.file.problem(place, str(error))
        if name in self.names:
            self.file.problem(place, f"feature set {name!r} is given twice; names must differ")
        self.names.add(name)

    def _extractor(
        self, entry: Faces, place: Place, menu: dict[str, tuple[str, str]]
    ) -> tuple[str, Any] | None:
        """Kind and checked settings of the extractor."""
        try:
            extractor = extractor_class(entry.extractor, menu)
        except InputError as error:
            self.file.problem((*place, "extractor"), str(error))
            return None
        settings = self.file.checked(
            extractor.Settings,
            entry.settings,
            (*place, "settings"),
            context={"folder": self.folder},
        )
        if settings is None:
            return None
        return extractor.kind, settings


def weights_problems(recipe: ExtractionRecipe) -> list[str]:
    """A problem for every weights file that is missing or another than was meant; each is read
    once."""
    weights = []
    for feature_set in recipe.feature_sets:
        weights += weights_in(feature_set.settings)
    if recipe.faces is not None:
        weights += weights_in(recipe.faces[1])
    problems = [weights_problem(file) for file in dict.fromkeys(weights)]
    return [problem for problem in problems if problem is not None]


def _by_content(document: Any) -> Any:
    """The document, with weights told by their digest alone."""
    if isinstance(document, dict):
        if set(document) == {"path", "sha256"}:
            return {"sha256": document["sha256"]}
        return {key: _by_content(value) for key, value in document.items()}
    if isinstance(document, list):
        return [_by_content(value) for value in document]
    return document
