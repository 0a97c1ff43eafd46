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

Conventions: pooling is `mean` for sound and `nearest` for images unless said. Every problem of a
file is reported at once, with its line; then every missing or wrong weights file at once. Paths are
relative to the recipe's folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from va_search.document import yaml_document
from va_search.errors import InputError, unknown_name
from va_search.extract.extractor import EXTRACTORS, FACE_FINDERS, Extractor, extractor_class
from va_search.extract.weights import weights_in, weights_problem
from va_search.files import checked_name, digest

MEANING = 2
"""Raise it when the same recipe would give other numbers."""
Place = tuple[str | int, ...]


class Strict(BaseModel):
    """Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Window(Strict):
    """Mean over so many seconds around the frame's time."""

    window: float = Field(gt=0, le=600)


class Faces(Strict):
    """How faces are found in videos without crops."""

    extractor: str
    settings: dict[str, Any] = {}


class Declared(Strict):
    """One entry of `feature_sets`, as it stands in the file."""

    name: str
    extractor: str
    settings: dict[str, Any] = {}
    modality: str | None = Field(default=None, min_length=1)
    images: Literal["crops", "frames"] | None = None
    pooling: Literal["nearest", "mean"] | Window | None = None
    delay: Annotated[float, Field(ge=-60, le=60, allow_inf_nan=False)] = 0.0
    track: Annotated[int, Field(ge=1, strict=True)] | None = None
    channel: Annotated[int, Field(ge=1, strict=True)] | Literal["mean"] | None = None


@dataclass(frozen=True)
class FeatureRecipe:
    """One feature set: how it is extracted and laid on the frames. `settings` is the extractor's
    own model.

    `track` and `channel` are those of the sound, from 1; None where the recipe names none, `mean`
    where it says so."""

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
        said = {**vars(self), "settings": _by_content(self.settings.model_dump(mode="json"))}
        # A choice that is the default counts as none: stores made before there was one are of the
        # same definition.
        del said["track"], said["channel"]
        if self.track is not None:
            said["track"] = self.track
        if self.one_channel is not None:
            said["channel"] = self.one_channel
        if beside := self.settings.beside():
            said["beside"] = beside
        return digest({"meaning": MEANING, **said})


@dataclass(frozen=True)
class Recipe:
    """A checked recipe: its file's stem, its feature sets in order, and what finds faces, or
    None."""

    name: str
    feature_sets: tuple[FeatureRecipe, ...]
    faces: tuple[str, Any] | None = None

    def finder(self) -> Any:
        """What finds faces, without its weights; None where the recipe names none."""
        return (
            None
            if self.faces is None
            else extractor_class(self.faces[0], FACE_FINDERS)(self.faces[1])
        )

    @property
    def faces_hash(self) -> str:
        """As `FeatureRecipe.hash`, of what finds faces."""
        assert self.faces is not None
        return digest(
            {
                "meaning": MEANING,
                "faces": self.faces[0],
                **_by_content(self.faces[1].model_dump(mode="json")),
            }
        )

    def definitions(self, *, finds_crops: bool) -> dict[str, str]:
        """Hash by feature set; where crops are found by `faces`, it is part of what the sets that
        look at them are."""
        faces = self.faces_hash if finds_crops and self.faces is not None else None
        return {
            one.name: digest([one.hash, faces])
            if faces is not None and one.images == "crops"
            else one.hash
            for one in self.feature_sets
        }


def load_recipe(path: Path) -> Recipe:
    """The recipe in a YAML file; InputError with every problem and its line, or with every missing
    weights file."""
    with yaml_document(path) as (document, lines):
        recipe = _read_recipe(path, document, lines)
    _check_weights(recipe)
    return recipe


def _read_recipe(path: Path, document: Any, lines: Mapping[Place, int]) -> Recipe:
    reader = Reader(path, lines)
    if not isinstance(document, dict):
        raise InputError(f"{path}: expected a mapping with feature_sets, found {document!r}")
    for key in document:
        if key not in ("feature_sets", "faces"):
            reader.problem((key,), unknown_name("key", key, ["feature_sets", "faces"]))
    entries = document.get("feature_sets")
    if not isinstance(entries, list) or not entries:
        reader.problem(("feature_sets",), f"expected a list of feature sets, found {entries!r}")
        entries = []
    made = [reader.feature_set(entry, ("feature_sets", at)) for at, entry in enumerate(entries)]
    faces = reader.faces(document["faces"]) if document.get("faces") is not None else None
    reader.stop()
    return Recipe(path.stem, tuple(one for one in made if one is not None), faces)


class Reader:
    """Reads the entries of one file and collects what is wrong with them, by line."""

    def __init__(self, path: Path, lines: Mapping[Place, int]) -> None:
        self.path = path
        self.lines = lines
        self.found: list[tuple[int, str]] = []
        self.names: set[str] = set()

    def problem(self, at: Place, text: str) -> None:
        """Note what is wrong at a place of the file."""
        known = at
        while known and known not in self.lines:
            known = known[:-1]
        line = self.lines.get(known, 1)
        where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in at).lstrip(
            "."
        )
        self.found.append((line, f"{self.path}:{line}: {where}: {text}"))

    def stop(self) -> None:
        """InputError with every problem so far, in the order of lines; nothing when there is
        none."""
        if self.found:
            raise InputError(
                *dict.fromkeys(text for _, text in sorted(self.found, key=lambda one: one[0]))
            )

    def feature_set(self, entry: Any, at: Place) -> FeatureRecipe | None:
        """One entry, checked with its extractor's settings; None when something in it is wrong."""
        declared: Declared | None = self._checked(Declared, entry, at)
        if declared is None:
            return None
        self._name(declared.name, (*at, "name"))
        found = self._extractor(declared, at, EXTRACTORS)
        if found is None:
            return None
        kind, settings = found
        if kind != "image" and declared.images is not None:
            self.problem(
                (*at, "images"), f"extractor {declared.extractor!r} hears sound; leave `images` out"
            )
        for name in ("track", "channel"):
            if kind != "audio" and getattr(declared, name) is not None:
                self.problem(
                    (*at, name),
                    f"extractor {declared.extractor!r} sees pictures; leave `{name}` out",
                )
        pooling = declared.pooling or ("mean" if kind == "audio" else "nearest")
        return FeatureRecipe(
            name=declared.name,
            modality=declared.modality or ("audio" if kind == "audio" else "visual"),
            extractor=declared.extractor,
            kind=kind,
            settings=settings,
            images=(declared.images or "crops") if kind == "image" else "",
            mean=pooling != "nearest",
            seconds=pooling.window if isinstance(pooling, Window) else None,
            delay=declared.delay,
            track=declared.track,
            channel=declared.channel,
        )

    def faces(self, entry: Any) -> tuple[str, Any] | None:
        """The entry `faces`."""
        declared: Faces | None = self._checked(Faces, entry, ("faces",))
        found = None if declared is None else self._extractor(declared, ("faces",), FACE_FINDERS)
        return None if declared is None or found is None else (declared.extractor, found[1])

    def _name(self, name: str, at: Place) -> None:
        try:
            checked_name(name, "feature set")
        except InputError as error:
            self.problem(at, str(error))
        if name in self.names:
            self.problem(at, f"feature set {name!r} stands twice; names must differ")
        self.names.add(name)

    def _extractor(
        self, declared: Declared | Faces, at: Place, menu: dict[str, tuple[str, str]]
    ) -> tuple[str, Any] | None:
        """Kind and checked settings of the extractor."""
        try:
            found = extractor_class(declared.extractor, menu)
        except InputError as error:
            self.problem((*at, "extractor"), str(error))
            return None
        settings = self._checked(found.Settings, declared.settings, (*at, "settings"))
        return None if settings is None else (found.kind, settings)

    def _checked(self, model: type[BaseModel], given: Any, at: Place) -> Any:
        try:
            return model.model_validate(given, context={"folder": self.path.parent.resolve()})
        except ValidationError as error:
            for problem in error.errors():
                inner = tuple(
                    part
                    for part in problem["loc"]
                    if (*at, part) in self.lines or isinstance(part, int)
                )
                place = (
                    *at,
                    *(
                        problem["loc"]
                        if problem["type"] in ("extra_forbidden", "missing")
                        else inner
                    ),
                )
                self.problem(place, _said(problem, model))
        return None


def _said(problem: Any, model: type[BaseModel]) -> str:
    name = problem["loc"][-1] if problem["loc"] else ""
    if problem["type"] == "extra_forbidden":
        return (
            unknown_name("key", name, model.model_fields)
            if len(problem["loc"]) == 1
            else f"unknown key {name!r}"
        )
    if problem["type"] == "missing":
        return "missing; it must be given"
    message = str(problem["ctx"]["error"]) if problem["type"] == "value_error" else problem["msg"]
    found = "" if problem["type"] == "value_error" else f", found {problem['input']!r}"
    return message[:1].lower() + message[1:] + found


def _check_weights(recipe: Recipe) -> None:
    """InputError naming every weights file that is missing or another than was meant; each is read
    once."""
    named = [weights for one in recipe.feature_sets for weights in weights_in(one.settings)]
    if recipe.faces is not None:
        named += weights_in(recipe.faces[1])
    problems = [weights_problem(weights) for weights in dict.fromkeys(named)]
    found = [problem for problem in problems if problem is not None]
    if found:
        raise InputError(*found)


def _by_content(document: Any) -> Any:
    """The document, with weights told by their digest alone."""
    if isinstance(document, dict):
        if set(document) == {"path", "sha256"}:
            return {"sha256": document["sha256"]}
        return {key: _by_content(value) for key, value in document.items()}
    if isinstance(document, list):
        return [_by_content(value) for value in document]
    return document
