"""The report of a request, for people."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from rescind.cli.opening import opened
from rescind.cli.options import HERE, AsJson, RequestId, WorkspaceFolder, write
from rescind.cli.output import emit
from rescind.cli.request import request_plain
from rescind.core.canonical import plain


class Format(StrEnum):
    """How a report is written."""

    HTML = "html"
    MARKDOWN = "md"


def report(
    request: RequestId,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="The file to write, .html or .md."),
    ] = None,
    form: Annotated[
        Format | None,
        typer.Option(
            "--format",
            metavar="html|md",
            help="Else by the ending of --out; without --out Markdown.",
        ),
    ] = None,
    workspace: WorkspaceFolder = HERE,
    as_json: AsJson = False,
) -> None:
    """Write what happened to a request: plan, timeline, measurements, replay and erasure.

    The HTML page stands alone: it holds no script and loads nothing.
    """
    found = opened(workspace).report(request)
    if out is None and form is None and as_json:
        emit(True, plain(found) | {"request": request_plain(found.request)}, lambda: [])
        return
    from rescind.render import to_html, to_markdown

    text = to_html(found) if _format(out, form) is Format.HTML else to_markdown(found)
    if out is None:
        emit(as_json, {"report": text}, lambda: [text])
        return
    written = write(out, text.encode())
    emit(as_json, {"report": str(written)}, lambda: [f"Report written to {written}."])


def _format(out: Path | None, form: Format | None) -> Format:
    if form is not None:
        return form
    if out is None or out.suffix.lower() in (".md", ".markdown"):
        return Format.MARKDOWN
    if out.suffix.lower() in (".html", ".htm"):
        return Format.HTML
    raise typer.BadParameter(f"{out.name} ends in neither .html nor .md; add --format.")
