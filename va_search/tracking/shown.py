"""A tracking URI, and errors about it, in words without a password."""

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
"""Characters of an error's sentence."""

PIECE = 4
"""A piece of a password is hidden from so many characters on; shorter ones are in every other
word."""


def shown(uri: str) -> str:
    """Return the URI without user and password; without its query where that has a password."""
    scheme, _, address = _parts(uri)
    server, mark, query = address.partition("?")
    if IN_QUERY.search(unquote(query)):
        return scheme + server
    return scheme + server + mark + query


def reason(error: Exception, uri: str) -> str:
    """Return the first line of an error, without a password of the URI: MLflow and SQLAlchemy go on
    with advice and links."""
    text = str(error).replace(uri, shown(uri))
    # Longest first: a short secret may be part of a long one, whose rest would be left.
    for secret in sorted(_secrets(uri), key=len, reverse=True):
        text = text.replace(secret, "***")
    for line in IN_TEXT.sub("://", text).splitlines():
        if line.strip():
            return line.strip()[:LONGEST]
    return type(error).__name__


def _parts(uri: str) -> tuple[str, str, str]:
    """Scheme with ://, user and password with @, and the rest."""
    scheme, mark, address = uri.partition("://")
    if not mark:
        scheme, address = "", uri
    user = USER.match(address)
    end = 0 if user is None else user.end()
    return scheme + mark, address[:end], address[end:]


def _secrets(uri: str) -> set[str]:
    """The URI's passwords as it has them, decoded and encoded; and the pieces of one where an @ or
    / was not encoded, since a driver then takes a piece for the host."""
    _, user, address = _parts(uri)
    password = user[:-1].partition(":")[2]
    written = [password, *IN_QUERY.findall(unquote(address))]
    written += [piece for piece in re.split("[@/?#:]", password) if len(piece) >= PIECE]
    secrets: set[str] = set()
    for secret in written:
        decoded = unquote(secret)
        secrets |= {secret, decoded, quote(decoded, safe="")}
    return secrets - {""}
