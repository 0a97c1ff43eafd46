"""`va-search predict`: an ensemble's predictions of any store, or of videos, from its members'
weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from va_search.api.home import check_ensemble
from va_search.api.progress import duration
from va_search.cli.output import DEFAULT_HOME, HomeOption, JsonOption, Output, command
from va_search.cli.places import named_home
from va_search.cli.submit import ReplaceOption, clipped_words, within
from va_search.cli.trust import TrustCodeOption, allow_code
from va_search.errors import InputError, counted

if TYPE_CHECKING:
    from va_search.api.ensembles import OpenEnsemble
    from va_search.api.videos import PredictedVideos
    from va_search.ensemble.saved import Ensemble
    from va_search.serving.predict import Written

EXAMPLE = (
    "Example: va-search predict first-best --videos recordings --out curves\n\n"
    "or, of a store: va-search predict first-best --data stores/new --split test --out predictions"
)

TOLERANCE = 1e-4
"""Of the label range: float32 on another machine or device stays below."""
OF_VIDEOS = "With --videos: "


def predict(
    ensemble: Annotated[str, typer.Argument(help="The ensemble's name.")],
    more_videos: Annotated[
        list[Path] | None,
        typer.Argument(metavar="FILE", help="More videos, after --videos FILE.", hidden=True),
    ] = None,
    *,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            help="The store to predict; it must have the members' feature sets. "
            f"{OF_VIDEOS}the training's store, if it was moved.",
        ),
    ] = None,
    videos: Annotated[
        list[Path] | None,
        typer.Option(
            "--videos",
            help="Videos or files of sound to predict, or folders of them, subfolders included; "
            "features are extracted by the recipe that the training's store keeps.",
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            "--split", help="The recordings to predict: test (default), validation or train."
        ),
    ] = None,
    out: Annotated[
        Path,
        typer.Option(
            "--out", help="The folder to write; earlier predictions of this ensemble are replaced."
        ),
    ],
    device: Annotated[
        str, typer.Option("--device", help="auto, cpu or a torch device such as cuda:0.")
    ] = "auto",
    recipe: Annotated[
        Path | None,
        typer.Option(help=f"{OF_VIDEOS}the feature recipe, where the store keeps none."),
    ] = None,
    crops: Annotated[
        Path | None,
        typer.Option(help=f"{OF_VIDEOS}folder with one folder of face crops per recording."),
    ] = None,
    subjects: Annotated[
        Path | None,
        typer.Option(
            help=f"{OF_VIDEOS}CSV file recording,subject; without it each is a subject of its own."
        ),
    ] = None,
    frames_per_second: Annotated[
        float | None,
        typer.Option(
            min=0.001, max=1000.0, help=f"{OF_VIDEOS}rate of predictions; default: as in training."
        ),
    ] = None,
    keep_features: Annotated[
        bool,
        typer.Option(
            "--keep-features", help=f"{OF_VIDEOS}keep the features as a store, OUT/features."
        ),
    ] = False,
    replace: ReplaceOption = False,
    trust_code: TrustCodeOption = False,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Predict the recordings of a store, or videos, from the members' weights: one CSV per
    recording, on the targets' scales, clipped to their ranges.

    With --videos the same command again goes on with what is missing."""
    with command(as_json) as output, named_home(home).using() as opened:
        import va_search as va

        allow_code(trust_code)
        paths = [*(videos or []), *(more_videos or [])]
        options: dict[str, Any] = {
            "recipe": recipe,
            "crops": crops,
            "subjects": subjects,
            "frames_per_second": frames_per_second,
            "keep_features": keep_features,
        }
        _check_options(
            data, videos, paths, split, [name for name, value in options.items() if value]
        )
        words = ["--data", str(data), "--split", split or "test", "--out", str(out)]
        if paths:
            words = ["--videos", *map(str, paths), "--out", str(out)]
        files = opened.files
        check_ensemble(files, ensemble, lambda name: files.command("predict", name, *words))
        saved = va.open_ensemble(ensemble, home=opened)
        if data is None or paths:
            options |= {"store": data, "device": device, "replace": replace}
            show_videos(
                output, saved.predict_videos(paths, out, note=output.note, **options), saved
            )
            return
        written = saved.write_predictions(
            data, out, split or "test", device=device, replace=replace
        )
        show(output, written, saved.document)
        remarks = saved.remarks
        for remark in remarks:
            output.show(remark)
        output.done({**vars(written), "folder": str(written.folder), "remarks": remarks})


def _check_options(
    data: str | None,
    videos: list[Path] | None,
    paths: list[Path],
    split: str | None,
    of_videos: list[str],
) -> None:
    """InputError for options that do not go together."""
    if paths and not videos:
        raise InputError(f"unexpected argument {paths[0]}; videos are named by --videos FILE…")
    if not paths and data is None:
        raise InputError("give --videos DIR to predict videos, or --data STORE to predict a store")
    if paths and split is not None:
        raise InputError("--split is of a store's recordings; leave it out with --videos")
    if not paths and of_videos:
        names = ", ".join("--" + name.replace("_", "-") for name in of_videos)
        raise InputError(f"{names}: for --videos only")


def show_videos(output: Output, written: PredictedVideos, saved: OpenEnsemble) -> None:
    """Show what was predicted and, with exit code 1, which videos were not."""
    done = counted(len(written.predicted), "video")
    present = ""
    if written.present:
        present = f"; {counted(len(written.present), 'video')} predicted before"
    output.show(f"wrote {written.folder}: {done}, {counted(written.rows, 'row')}{present}")
    if written.predicted:
        members, sets = counted(written.members, "member"), ", ".join(written.feature_sets)
        speed = written.footage / max(written.seconds, 1e-9)
        output.show(
            f"predicted by {members} on {written.device}, from {sets}; {duration(written.footage)} "
            f"of video in {duration(written.seconds)}, {speed:.1f} times real time; within "
            f"{within(saved.document)}"
        )
    if written.clipped:
        output.show(clipped_words(written.clipped))
    if written.features is not None:
        output.show(f"features: {written.features}")
    if written.page is not None:
        output.show(f"look at them: {written.page}")
    remarks = [*written.remarks, *saved.remarks]
    for remark in remarks:
        output.show(remark)
    document = {
        **vars(written),
        "folder": str(written.folder),
        "page": None if written.page is None else str(written.page),
        "features": None if written.features is None else str(written.features),
        "remarks": remarks,
    }
    if not written.broken:
        output.done(document)
        return
    problems = [text for texts in written.broken.values() for text in texts]
    count = counted(len(written.broken), "video")
    advice = f"{count} could not be predicted; when that is put right, the same command goes on"
    output.done({**document, "error": "\n".join([*problems, advice]), "exit_code": 1})
    raise output.failed("\n".join([*problems, advice]), 1)


def show(output: Output, written: Written, ensemble: Ensemble) -> None:
    """Show what was written, and what a reader should know of it."""
    state = "replaced" if written.replaced else "wrote"
    recordings = counted(len(written.files), f"{written.split} recording")
    output.show(f"{state} {written.folder}: {recordings}, {counted(written.rows, 'row')}")
    members, sets = counted(written.members, "member"), ", ".join(written.feature_sets)
    output.show(
        f"predicted by {members} on {written.device}, from {sets}; "
        f"read back and checked: complete, finite, within {within(ensemble)}"
    )
    if written.clipped:
        output.show(clipped_words(written.clipped))
    if written.from_bank is not None:
        largest = f"the largest difference is {written.from_bank:.1e}"
        output.show(f"the bank has predictions of these recordings: {largest}")
        narrowest = min(target.high - target.low for target in ensemble.targets)
        if written.from_bank > TOLERANCE * narrowest:
            output.note(
                "warning: that is more than rounding: weights or features changed since, "
                "or trials were trained in bf16"
            )
    if written.split != "test":
        own = f"if these {written.split} recordings are the study's own"
        output.show(f"{own}, scores on them are too high")
