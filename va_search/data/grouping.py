"""Recordings that must stay together when recordings are divided: one subject's, and one video's.

Conventions: a model that has seen a subject's labels knows the subject, and two persons of one
video share its sound and place. Recordings are joined while they share a subject or a video, over
others too. Where videos connect everyone with everyone (all watched the same clips, say) that would
leave a single group, and subjects alone are kept together."""

from __future__ import annotations

from collections.abc import Sequence

from va_search.data.store import Recording


def kept_together(
    recordings: Sequence[Recording], used: Sequence[int]
) -> tuple[list[tuple[int, ...]], str]:
    """Groups of the indexes `used` into `recordings`, and what they keep together: "subject and
    video" or "subject".

    One group is left where all are of one subject.
    """
    groups = _groups(used, [(recordings[i].subject, recordings[i].video) for i in used])
    if len(groups) >= 2:
        return groups, "subject and video"
    return _groups(used, [(recordings[i].subject,) for i in used]), "subject"


def _groups(indexes: Sequence[int], keys: Sequence[tuple[str, ...]]) -> list[tuple[int, ...]]:
    """Indexes joined while they share any key at the same place (connected components)."""
    parent = {index: index for index in indexes}

    def root(index: int) -> int:
        while parent[index] != index:
            index = parent[index]
        return index

    first: dict[tuple[int, str], int] = {}
    for index, key in zip(indexes, keys, strict=True):
        for place, value in enumerate(key):
            other = root(first.setdefault((place, value), index))
            parent[max(other, root(index))] = min(other, root(index))
    found: dict[int, list[int]] = {}
    for index in indexes:
        found.setdefault(root(index), []).append(index)
    return [tuple(group) for group in found.values()]
