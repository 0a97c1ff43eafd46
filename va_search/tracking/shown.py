"""What is said of a tracking URI: where it leads, never a password, be it in the URI or in what a
driver says of it."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

USER = re.compile(r"[^/:?#@\[]*:(?!\d*(?:[/?#]|$)).*@|[^/?#]*@")
"""user:password@, user@ or token@ before a host; not host:port and a later @. A password may hold a
/ that should have been written %2F: SQLAlchemy takes it."""

IN_QUERY = re.compile(r"(?:password|passwd|pwd|token)=([^&;#]+)", re.IGNORECASE)
"""As PostgreSQL's and ODBC's drivers take it: ?password=…, ?odbc_connect=…;PWD=…"""

IN_TEXT = re.compile(r"://[^\s/@]*@")
"""Before the host of any URL in a text, however the driver has quoted it."""

LONGEST = 300
"""Characters of what is said of an error."""

PIECE = 4
"""A piece of a password is hidden from so many characters on; shorter ones are in every other
word."""


def shown(uri: str) -> str:
    """The URI without user and password; without its query where that has a password."""
    scheme, _, place = _parts(uri)
    place, mark, query = place.partition("?")
    return scheme + place + ("" if IN_QUERY.search(unquote(query)) else mark + query)


def reason(error: Exception, uri: str) -> str:
    """What an error says in its first line, for MLflow and SQLAlchemy go on with advice and links;
    no password of the URI in it."""
    text = str(error).replace(uri, shown(uri))
    for secret in sorted(_secrets(uri), key=len, reverse=True):
        text = text.replace(secret, "***")
    lines = [line.strip() for line in IN_TEXT.sub("://", text).splitlines() if line.strip()]
    return lines[0][:LONGEST] if lines else type(error).__name__


def _parts(uri: str) -> tuple[str, str, str]:
    """Scheme with ://, user and password with @, and the rest."""
    scheme, mark, rest = uri.partition("://")
    if not mark:
        scheme, rest = "", uri
    found = USER.match(rest)
    end = found.end() if found else 0
    return scheme + mark, rest[:end], rest[end:]


def _secrets(uri: str) -> set[str]:
    """The URI's passwords as it has them, decoded and encoded; and the pieces of one where an @ or
    / was not encoded, since a driver then takes a piece for the host."""
    _, user, place = _parts(uri)
    password = user[:-1].partition(":")[2]
    given = [password, *IN_QUERY.findall(unquote(place))]
    given += [piece for piece in re.split("[@/?#:]", password) if len(piece) >= PIECE]
    plain = [unquote(one) for one in given]
    return {one for one in (*given, *plain, *(quote(one, safe="") for one in plain)) if one}
