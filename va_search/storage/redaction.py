"""Texts without the secrets in them: passwords and signatures of URLs, values of the environment's
secret variables.

Everything that a failure leaves behind (records, logs, MLflow's tags) and every message on a URL
goes through here. A text is changed where a secret stands and nowhere else."""

from __future__ import annotations

import os
import re
from urllib.parse import quote, unquote

HIDDEN = "***"

USER = re.compile(r"(?<=://)[^\s/?#'\"]+@")
"""user:password@, user@ or token@ before the host of a URL; a password may hold an @ itself."""

QUERY = re.compile(
    r"(?P<name>(?:[?&;]|%26|%3F)(?:X-Amz-(?:Signature|Credential|Security-Token)"
    r"|X-Goog-(?:Signature|Credential)|AWSAccessKeyId|Signature|sig|[a-z_-]*(?:token|key|secret)"
    r"|password|passwd|pwd)=)(?P<value>[^\s&;#'\"<>]+)",
    re.IGNORECASE,
)
"""The parts of a URL's query that sign it, or log in."""

SECRET_NAME = re.compile(
    r"SECRET|PASSW|PASSPHRASE|_PWD$|TOKEN|CREDENTIAL|KEY$|_KEY_", re.IGNORECASE
)
"""Names of environment variables whose values are secrets."""

SHORTEST = 8
"""Characters of a value from which on it is hidden; shorter ones are in every other word."""


def without_secrets(text: str) -> str:
    """Return a text with `***` for passwords and signatures in URLs, and for the values of secret
    environment variables, written as they are or percent-encoded."""
    for secret in _secret_values():
        text = text.replace(secret, HIDDEN)
    text = USER.sub(f"{HIDDEN}@", text)
    return QUERY.sub(rf"\g<name>{HIDDEN}", text)


def proxy_without_user(value: str) -> str:
    """Return a proxy's address with `***` for user and password; it needs no scheme
    (`user:password@proxy:3128`)."""
    scheme, mark, rest = value.rpartition("://")
    user, at, host = rest.rpartition("@")
    return f"{scheme}{mark}{HIDDEN}@{host}" if at and user else value


def _secret_values() -> list[str]:
    """Return the values to hide, longest first: a short one may be part of a long one, whose rest
    would be left."""
    values: set[str] = set()
    for name, value in os.environ.items():
        # A file with a secret in it may be named.
        if SECRET_NAME.search(name) and not value.startswith(("/", "~")):
            values.add(value)
        if name.lower().endswith("_proxy"):
            user = value.rpartition("://")[2].rpartition("@")[0]
            values.add(user.partition(":")[2])
        for user in USER.findall(value):
            values.add(user.removesuffix("@").partition(":")[2])
    spellings = {spelling for value in values for spelling in _spellings(value)}
    return sorted((text for text in spellings if len(text) >= SHORTEST), key=len, reverse=True)


def _spellings(secret: str) -> set[str]:
    plain = unquote(secret)
    return {secret, plain, quote(plain, safe="")}
