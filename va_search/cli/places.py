"""What commands do with a home at a URL: bring what they read, put there what they wrote."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from va_search.ensemble.saved import Ensemble
    from va_search.files import Home

Needed = Literal["records", "predictions", "weights"]


@contextmanager
def opened(
    place: str, need: Needed = "records", *, studies: Collection[str] | None = None, writes: bool = False
) -> Iterator[Home]:
    """The home at a path as it is; of one at a URL this machine's copy, brought now and, if the command `writes`, put
    there at its end. `need`: how much of finished trials is read, of these studies where some are named."""
    from va_search.storage.places import is_url

    if not is_url(place):
        from pathlib import Path

        from va_search.files import Home, share_with_group

        share_with_group(Path(place))
        yield Home(Path(place))
        return
    from va_search.storage.homes import Need, copy_of, home_at

    home = home_at(place)
    copy = copy_of(home)
    assert copy is not None
    copy.merge(Need[need.upper()], studies)
    yield home
    if writes:
        copy.merge(Need[need.upper()], studies)


def bring_members(home: Home, ensemble: Ensemble, need: Needed) -> None:
    """Bring what an ensemble's members predicted, or their weights too; nothing to do for a home at a path."""
    from va_search.metrics import DIMENSIONS
    from va_search.storage.homes import Need, copy_of

    copy = copy_of(home)
    if copy is not None:
        parts = [piece.dimensions[dimension] for _, piece in ensemble.pieces for dimension in DIMENSIONS]
        copy.merge(Need[need.upper()], {member.study for part in parts for member in part.members})
