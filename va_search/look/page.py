"""The page's one file."""

from __future__ import annotations

from html import escape


def page_html(title: str) -> str:
    """Return the page with its style and script inside."""
    return f'<!doctype html><meta charset="utf-8"><title>{escape(title)}</title>\n'
