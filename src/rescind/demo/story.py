"""Train once, fork for each request, show what happens, and leave a report and a certificate.

A second run finds everything in place, checks it again and changes nothing. An interrupted run
keeps the requests that are through and goes on with the training or the request it was in.
"""

from __future__ import annotations

import json
import shutil
import time
import warnings
from pathlib import Path

from rescind import state
from rescind.demo import requests, setting
from rescind.demo.requests import Result, Scene
from rescind.demo.tell import closing_words, say, sections, title
from rescind.progress import Bars
from rescind.proofs.signing import load_public
from rescind.proofs.verifier import verify
from rescind.render import to_html, to_markdown
from rescind.workspace import Workspace, open_workspace

DONE = "outcome.json"


def run(folder: Path) -> None:
    """Play the whole story in ``folder``.

    Raises:
        MissingExtra: the packages of the extra ``demo`` are not installed.
    """
    folder = folder.absolute()
    if (folder / DONE).exists():
        _again(folder)
        return
    folder.mkdir(parents=True, exist_ok=True)
    started = time.time()
    with Bars() as bars, warnings.catch_warnings():
        warnings.showwarning = _note
        parent = _trained(folder, bars)
        results = _six(parent, folder, bars)
    results["seconds"] = round(time.time() - started, 1)
    _leave(folder, results)
    closing_words(folder, results)


def _note(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: object = None,
    line: str | None = None,
) -> None:
    """What the loader says of its one odd file, without a line of our code beside it."""
    say(f"Note: {message}")


def _trained(folder: Path, bars: Bars) -> Workspace:
    title("Training so that data can be deleted")
    say("BBC news, 2,225 articles of five topics; the pretrained encoder all-MiniLM-L6-v2.")
    say("3 shards of 3 slices, each shard in 3 orders: 27 snapshots, each knowing its slices.")
    parent = open_workspace(folder / "news")
    began = time.time()
    version = parent.train(setting.recipe(), setting.LOADER, progress=bars)
    listed, known = state.manifest(parent.backends), state.run(parent.backends).expected
    say(
        f"{listed.count} distinct articles ({listed.copies - listed.count} exact duplicates"
        f" merged); version {version.id} after {time.time() - began:.0f} s."
    )
    measured = ", ".join(f"{float(known[k]):.3f} with {k}" for k in sorted(known))
    say(f"Test accuracy of the ensemble by slices left in every shard: {measured}.")
    return parent


def _six(parent: Workspace, folder: Path, bars: Bars) -> Result:
    """Each scene on its fork; what is through is kept, a half-done fork is made anew."""
    found: Result = {}
    scenes: tuple[tuple[str, Scene], ...] = (
        ("article", requests.article),
        ("person", requests.person),
        ("stream", requests.stream),
    )
    for name, scene in scenes:
        found[name] = _kept(folder, name) or _played(parent, folder, name, scene, bars)
    person = open_workspace(folder / "fork-person")
    found["unknown"] = requests.unknown(person, bars)
    found["repeated"] = requests.repeated(person, bars)
    return found


def _kept(folder: Path, name: str) -> Result | None:
    path = folder / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def _played(parent: Workspace, folder: Path, name: str, scene: Scene, bars: Bars) -> Result:
    place = folder / f"fork-{name}"
    shutil.rmtree(place, ignore_errors=True)
    found = scene(parent.fork(place), bars)
    (folder / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")
    return found


def _leave(folder: Path, results: Result) -> None:
    """Write certificate, public key, report and, last of all, the mark that the demo is done."""
    ws = open_workspace(folder / "fork-person")
    request = results["person"]["request"]
    (folder / "certificate.json").write_bytes(ws.certificate_file(request))
    (folder / "signer.pem").write_bytes(ws.public_key()[1])
    report, extra = ws.report(request), sections(results)
    (folder / "report.html").write_text(to_html(report, extra), encoding="utf-8")
    (folder / "report.md").write_text(to_markdown(report, extra), encoding="utf-8")
    _verified(folder)
    (folder / DONE).write_text(json.dumps(results, indent=1) + "\n")


def _verified(folder: Path) -> None:
    """The offline check of the certificate, with the signer's key pinned.

    Raises:
        VerificationFailed: a check failed.
    """
    title("Verifying the certificate, offline")
    key = load_public((folder / "signer.pem").read_bytes())
    found = verify((folder / "certificate.json").read_bytes(), key=key)
    found.require()
    for check in found.checks:
        say(f"  {check.outcome:<12} {check.name}: {check.detail}")


def _again(folder: Path) -> None:
    say(f"The demo has run in {folder}; nothing is done again.")
    _verified(folder)
    closing_words(folder, json.loads((folder / DONE).read_text()))
