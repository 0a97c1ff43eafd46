"""`--trust-code`: code of a user's own models that comes with a home is run only if they say so."""

from __future__ import annotations

from typing import Annotated

import typer

TrustCodeOption = Annotated[
    bool,
    typer.Option(
        "--trust-code",
        help="Run the code of users' own models that is stored in the home; it can do anything on "
        "this machine.",
    ),
]


def allow_code(trusted: bool) -> None:
    """Let this process run code that comes with homes, if the user said so."""
    if trusted:
        from va_search.models.sources import trust_everything

        trust_everything()
