"""Where models predict."""

from __future__ import annotations

import torch

from va_search.errors import InputError


def checked_device(name: str) -> str:
    """`name`, or for "auto" a GPU where there is one; InputError for what torch does not know or
    have here."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"--device {name!r} can't be used here ({reason}); allowed: auto, cpu, cuda, cuda:0 …"
        ) from None
    return str(device)
