"""Process accepted requests up to their certificates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rescind.cli.asking import agree
from rescind.cli.failures import as_plain, code_of, tell
from rescind.cli.opening import opened, read
from rescind.cli.options import (
    HERE,
    AsJson,
    Method,
    Outage,
    WorkspaceFolder,
    Yes,
    settings_in,
    write,
)
from rescind.cli.output import emit, table
from rescind.core.errors import BadParameter, Refused, RescindError
from rescind.core.request import FINAL

if TYPE_CHECKING:
    from rescind.core.protocols import Unlearner
    from rescind.core.request import Request
    from rescind.proofs.verifier import Verification
    from rescind.workspace import Workspace

UNLEARNED = ("unlearned", "evidenced", "erased")  # the method has done its work already


@dataclass(frozen=True, slots=True)
class How:
    """The options of ``process`` that hold for each request."""

    method: str | None
    settings: dict[str, str]
    replay: bool
    accept_outage: bool
    yes: bool
    out: Path | None


def process(
    request: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="A request; else all open ones.")
    ] = None,
    method: Method = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A parameter of the method; repeatable."),
    ] = None,
    replay: Annotated[
        bool,
        typer.Option(
            "--replay/--no-replay", help="Train again and compare; without it nothing is exact."
        ),
    ] = True,
    accept_outage: Outage = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FOLDER", help="Write certificate-ID.json there; made if new."
        ),
    ] = None,
    yes: Yes = False,
    workspace: WorkspaceFolder = HERE,
    as_json: AsJson = False,
) -> None:
    """Unlearn, evaluate, replay, erase, certify and close requests, oldest first.

    Without an ID all open requests are processed; one that fails does not stop the others, and one
    on hold is left out. After a failure or an interruption the same command goes on where it
    stopped. Methods that edit weights are confirmed first.
    """
    how = How(method, settings_in(setting or []), replay, accept_outage, yes, out)
    if out is not None and out.exists() and not out.is_dir():
        raise BadParameter(f"{out} is no folder.", do="Name a folder with --out.")
    ws = opened(workspace)
    if request is not None:
        found = _one(ws, _named(ws, request), how)
        emit(as_json, found.statement, lambda: _lines(found, how))
        return
    _all(ws, how, as_json)


def _all(ws: Workspace, how: How, as_json: bool) -> None:
    """Every open request; the exit code is that of the first failure."""
    waiting = [r for r in ws.requests() if r.status not in FINAL]
    done: list[dict[str, Any]] = []
    failures: list[RescindError] = []
    for request in (r for r in waiting if r.status != "held"):
        try:
            found = _one(ws, request, how)
        except RescindError as error:
            failures.append(error)
            done.append({"request": request.id, "error": as_plain(error)})
            if not as_json:
                tell(error, as_json)
            continue
        done.append({"request": request.id, "statement": found.statement})
        if not as_json:
            emit(False, None, partial(_lines, found, how))
    held = [r.id for r in waiting if r.status == "held"]
    emit(as_json, {"processed": done, "held": held}, lambda: _rest(done, held))
    if failures:
        raise typer.Exit(code_of(failures[0]))


def _rest(done: Sequence[object], held: Sequence[str]) -> Iterator[str]:
    if not done and not held:
        yield "No request is open."
    for request in held:
        yield f"Left out: {request} is on hold; `rescind request lift {request}` ends that."


def _named(ws: Workspace, request_id: str) -> Request:
    return ws.report(request_id).request


def _one(ws: Workspace, request: Request, how: How) -> Verification:
    """Process one request and write its certificate where the user wants it."""
    from rescind.progress import Bars

    method = _method(ws, request, how)
    if how.out is not None:
        how.out.mkdir(parents=True, exist_ok=True)  # before the work: it may not be allowed
    with Bars() as progress:
        ws.process(
            request.id,
            method=method,
            replay=how.replay,
            accept_outage=how.accept_outage,
            progress=progress,
        )
    file = ws.certificate_file(request.id)
    if how.out is not None:
        write(how.out / f"certificate-{request.id}.json", file)
    return read(file)


def _method(ws: Workspace, request: Request, how: How) -> Unlearner | None:
    """The method with its parameters, confirmed where it edits weights.

    Raises:
        Refused: the user does not agree.
    """
    from rescind.core.protocols import Withdrawer
    from rescind.registry import Registry

    if request.status in FINAL:
        return None
    name = how.method or request.method or ws.run().recipe.method
    method: Unlearner = Registry("rescind.methods").make(name, how.settings)
    if how.method is not None:
        _check_made(ws, request, name)
    audited = request.status == "unlearned" and ws.report(request.id).audit is not None
    made = request.status in UNLEARNED and not audited
    settled = how.yes or isinstance(method, Withdrawer) or made
    question = f"Request {request.id}: {name} edits weights. Release its model after the evidence?"
    if not settled:
        agree(question, "Choose another --method, or answer y.")
    return method


def _check_made(ws: Workspace, request: Request, name: str) -> None:
    """Refuse a method that would not be used, as a model is there already."""
    made = ws.method_of(request.id)
    if made is not None and made != name:
        raise Refused(
            f"Request {request.id} has a model already, made by {made}.",
            f"{name} would not be used.",
            "Leave --method out to go on with it; what its audits saw goes into the certificate.",
        )


def _lines(found: Verification, how: How) -> Iterator[str]:
    """What the certificate says, and where it is."""
    said = found.statement
    if said is None:
        return  # ``read`` has refused it already
    yield f"Request {said.request} is closed."
    yield from (line for line in found.attested if not line.startswith("Measured"))
    rows = [
        (m.name, m.version, f"{m.value:.4f}", "{:.4f} to {:.4f}".format(*m.interval), m.n)
        for m in said.measurements
    ]
    yield from table(["measured", "version", "value", "95 % interval", "n"], rows)
    if how.out is None:
        yield f"Certificate: `rescind certificate export {said.request} --out FILE` writes it."
    else:
        yield f"Certificate: {how.out / f'certificate-{said.request}.json'}"
