"""`va-search look`: a folder with a page of annotations and predictions, which opens from the disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from va_search.cli.output import DEFAULT_HOME, HomeOption, JsonOption, command
from va_search.cli.places import named_home
from va_search.errors import counted

EXAMPLE = "Example: va-search look first-best --media videos --out first-look"
MEGABYTE = 1e6


def look(
    subject: Annotated[
        str,
        typer.Argument(
            metavar="ENSEMBLE|STUDY|FOLDER",
            help="An ensemble, a study (its best trials), or a folder that predict or submit wrote.",
        ),
    ],
    *,
    out: Annotated[
        Path,
        typer.Option("--out", help="The folder to write; an earlier page in it is replaced."),
    ],
    media: Annotated[
        Path | None,
        typer.Option("--media", help="Folder of videos or sounds called like their recordings."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", help="The store; default: the one the trials were made on."),
    ] = None,
    members: Annotated[
        int, typer.Option("--members", min=1, help="At most so many members, or best trials.")
    ] = 20,
    by: Annotated[
        str, typer.Option("--by", help="Of a study: the best trials by this target, or by score.")
    ] = "score",
    split: Annotated[
        str | None,
        typer.Option("--split", help="validation or test recordings only; default: both."),
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Write a page to look at: recordings by their scores, their annotations and the predictions over
    time, under the video. One folder, which opens without a server or a network."""
    with command(as_json) as output:
        opened = named_home(home)
        import va_search as va

        written = va.look_at(
            subject,
            out,
            media=media,
            members=members,
            by=by,
            split=split,
            store=data,
            home=opened,
            note=output.note,
        )
        state = "replaced" if written.replaced else "wrote"
        linked = f", {written.with_media} with video or sound" if media is not None else ""
        output.show(
            f"{state} {written.folder}: {counted(written.recordings, 'recording')}{linked}, "
            f"{counted(written.series, 'curve')} each, {written.bytes / MEGABYTE:.1f} MB"
        )
        for remark in written.remarks:
            output.note(remark)
        output.show(f"open it: {written.page.as_uri()}")
        output.done({**vars(written), "folder": str(written.folder), "page": str(written.page)})
