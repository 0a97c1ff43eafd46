"""Arrays as text that a browser reads, and the scripts in which they travel.

    {"type": "f4" | "f8", "length": n, "shuffled": true, "deflate": base64}
    {"length": n, "deflate": base64}    texts, one a line

Conventions: values are little-endian, their bytes grouped by significance (the first byte of every
value, then the second …), which deflate makes much smaller, then zlib's format, then base64. Not a
bit of a value is lost. A page that was opened from the disk may not fetch files, so documents travel
as scripts that call a function of the page."""

from __future__ import annotations

import json
import zlib
from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from va_search.data.arrays import Values

LEVEL = 1
"""Of zlib: higher levels take many times as long for a few percent."""
TYPES: dict[str, np.dtype[Any]] = {"f4": np.dtype("<f4"), "f8": np.dtype("<f8")}


def encoded(values: Values) -> dict[str, Any]:
    """Return (frames,) values as a document; float32 stays float32, all else is float64."""
    name = "f4" if values.dtype == np.float32 else "f8"
    little = np.ascontiguousarray(values, dtype=TYPES[name])
    # (frames, bytes of a value) -> (bytes of a value, frames)
    by_significance = little.view(np.uint8).reshape(len(little), little.itemsize).T
    packed = zlib.compress(by_significance.tobytes(), LEVEL)
    text = b64encode(packed).decode("ascii")
    return {"type": name, "length": len(little), "shuffled": True, "deflate": text}


def decoded(document: dict[str, Any]) -> NDArray[np.floating]:
    """Return the values of a document, as the page reads them."""
    dtype = TYPES[document["type"]]
    content = zlib.decompress(b64decode(document["deflate"]))
    by_significance = np.frombuffer(content, np.uint8).reshape(dtype.itemsize, document["length"])
    values: NDArray[np.floating] = np.ascontiguousarray(by_significance.T).view(dtype)[:, 0]
    return values


def encoded_texts(texts: Sequence[str]) -> dict[str, Any]:
    """Return texts without line ends, such as times as they are written, as a document."""
    packed = zlib.compress("\n".join(texts).encode(), LEVEL)
    return {"length": len(texts), "deflate": b64encode(packed).decode("ascii")}


def script(function: str, *arguments: Any) -> str:
    """Return a script that calls a function of the page with plain data.

    Pure ASCII, and `<` is written by its number: no text out of data ends the script or begins a
    comment, whatever page it is copied into."""
    texts = [json.dumps(argument, allow_nan=False, separators=(",", ":")) for argument in arguments]
    call = f"{function}({','.join(texts)});\n"
    return call.replace("<", "\\u003c")


def read_script(text: str, function: str) -> list[Any]:
    """Return the arguments of a call that `script` wrote."""
    inside = text.removeprefix(f"{function}(").removesuffix(");\n")
    arguments: list[Any] = json.loads(f"[{inside}]")
    return arguments
