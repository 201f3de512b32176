"""A ``Report`` as one HTML file or as Markdown.

The page holds no script and refers to nothing outside itself; its content policy names the hash of
its one style sheet, allows images that the page itself holds, and forbids all else.
"""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from rescind.blocks import Block, Command, Facts, Items, Notice, Paragraph, Section
from rescind.core.report import Report
from rescind.picture import Bar, Bars, Lines, Table
from rescind.sections import headline, notices, sections, summary, when

__all__ = [
    "Bar",
    "Bars",
    "Block",
    "Command",
    "Facts",
    "Items",
    "Lines",
    "Notice",
    "Paragraph",
    "Section",
    "Table",
    "headline",
    "to_html",
    "to_markdown",
]


def to_html(report: Report, extra: Sequence[Section] = ()) -> str:
    """One self-contained page; ``extra`` follows the report's own sections."""
    pages = _pages()
    style = pages.get_template("report.css").render()
    allowed = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return pages.get_template("report.html.j2").render(
        style=style, allowed=allowed, **_parts(report, extra)
    )


def to_markdown(report: Report, extra: Sequence[Section] = ()) -> str:
    """The same sections as Markdown; pictures become tables."""
    text = _pages().get_template("report.md.j2").render(**_parts(report, extra))
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _parts(report: Report, extra: Sequence[Section]) -> dict[str, object]:
    return {
        "headline": headline(report),
        "request": report.request,
        "summary": summary(report),
        "notices": notices(report),
        "sections": [*sections(report), *extra],
    }


def _markdown(text: object) -> str:
    """Text that Markdown and the HTML in it read as text, on one line."""
    flat = " ".join(str(text).split())
    return re.sub(r"([\\`*_\[\]|~#])", r"\\\1", html.escape(flat, quote=False))


def _fenced(text: str) -> str:
    """Text on one line in a fence that it cannot close."""
    fence = "`" * (3 + text.count("`"))
    return f"{fence}\n{' '.join(text.split())}\n{fence}"


def _pages() -> Environment:
    pages = Environment(
        loader=PackageLoader("rescind", "templates"),
        autoescape=select_autoescape(enabled_extensions=("html.j2",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters.update(when=when, md=_markdown, fenced=_fenced)
    return pages
