"""The one door: CLI, service and your own code call this and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rescind import (
    acceptance,
    audit_planning,
    auditing,
    backends,
    certify,
    copies,
    erasure,
    exports,
    ingest,
    pipeline,
    planner,
    reporting,
    resolve,
    seeds_asked,
    state,
    trainer,
)
from rescind.audits.seeding.handed import Handed
from rescind.audits.seeding.seen import Seen
from rescind.audits.seeding.term import MEASURED, Seeding
from rescind.core.audit import Access, AuditPlan, AuditVerdict
from rescind.core.canonical import digest
from rescind.core.certificate import Certificate
from rescind.core.dataset import Key, Row
from rescind.core.evidence import Evaluation
from rescind.core.plan import Plan
from rescind.core.protocols import Progress, Unlearner
from rescind.core.report import Report
from rescind.core.request import Request
from rescind.core.run import Recipe, Run
from rescind.core.version import ModelVersion
from rescind.live import LiveModel
from rescind.resolve import Ask, Draft
from rescind.settings import Settings
from rescind.training.recipes import recipe_from

__all__ = ["Ask", "Draft", "Workspace", "new_workspace", "open_workspace", "restore_workspace"]


def open_workspace(
    folder: str | Path, settings: Settings | None = None, *, create: bool = True
) -> Workspace:
    """Open the workspace in a folder, or make one there.

    Whatever a crash left half done is finished first: accepted requests are withdrawn before
    anything is answered.

    Args:
        folder: where it lies; ``~`` is expanded.
        settings: for a new workspace; an existing one keeps its own.
        create: whether to make one where there is none.

    Raises:
        BadParameter: there is none, and none is to be made.
    """
    path = Path(folder).expanduser().absolute()
    if create and not (path / backends.DATABASE).exists():
        return Workspace(backends.create(path, settings))
    found = backends.open_folder(path)
    pipeline.recover(found)
    return Workspace(found)


def new_workspace(folder: str | Path, settings: Settings | None = None) -> Workspace:
    """Make a workspace in a folder.

    Raises:
        BadParameter: there is one already.
    """
    return Workspace(backends.create(Path(folder).expanduser().absolute(), settings))


def restore_workspace(
    archive: str | Path, folder: str | Path, suppressed: str | Path | None
) -> tuple[Workspace, Request | None]:
    """Put a backup in place; forget again what a later suppression list names, before it serves.

    Returns:
        The workspace and the accepted request that forgets again, if there was anything.
    """
    path = Path(folder).expanduser().absolute()
    later = None if suppressed is None else Path(suppressed)
    found, request = copies.restore(Path(archive), path, later)
    return Workspace(found), request


class Workspace:
    """A ledger, an artifact store, an executor and a signer around one trained model."""

    def __init__(self, b: backends.Backends) -> None:
        self.backends = b
        self._live: LiveModel | None = None

    @property
    def folder(self) -> Path:
        """Where the workspace lies."""
        return self.backends.folder

    def train(
        self,
        recipe: Recipe | Mapping[str, Any],
        data: object,
        *,
        key: str | None = None,
        subject: str | None = None,
        encoding: str = "utf-8",
        arguments: Mapping[str, Any] | None = None,
        store: bool = False,
        seeds: Sequence[Handed] = (),
        seeding: Seeding = MEASURED,
        progress: Progress = pipeline.silent,
    ) -> ModelVersion:
        """Train so that data can be deleted; called again, it goes on where it was interrupted.

        ``data`` is a path, ``module:function``, a ``datasets.Dataset``, or rows (with ``store``).
        ``key`` and ``subject`` name columns; without ``key`` a record's content is its key;
        ``seeds`` is what users handed over, ``seeding`` how it is learned.
        """
        return ingest.train(
            self.backends,
            recipe if isinstance(recipe, Recipe) else recipe_from(recipe),
            ingest.Data(data, key, subject, encoding, arguments, store, tuple(seeds), seeding),
            progress,
        )

    def predict(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """Answers of the live ensemble; none uses a withdrawn record."""
        if self._live is None:
            self._live = LiveModel(self.backends)
        return self._live.predict(rows)

    def resolve(self, ask: Ask) -> Draft:
        """What a request would forget, and which duplicates would stay; nothing is stored."""
        return resolve.resolve(self.backends, ask)

    def plan(self, draft: Draft) -> Plan:
        """What would be done for a draft, and at what cost."""
        ask, b = draft.ask, self.backends
        return planner.plan(
            b, "draft", draft.cells, draft.target, draft.due_at, ask.method, ask.goal
        )

    def accept(self, draft: Draft) -> Request:
        """Accept a draft and withdraw at once: when this returns, no answer uses the records."""
        return acceptance.accept(self.backends, draft)

    def request(self, ask: Ask) -> Request:
        """Resolve and accept in one go; the ask must say what happens to duplicates."""
        return self.accept(self.resolve(ask))

    def process(
        self,
        request_id: str,
        *,
        method: Unlearner | None = None,
        replay: bool = True,
        accept_outage: bool = False,
        progress: Progress = pipeline.silent,
    ) -> Certificate:
        """Unlearn, evaluate, prove, erase, certify and close one accepted request."""
        options = pipeline.Options(method, replay, accept_outage, progress)
        return pipeline.process(self.backends, request_id, options)

    def plan_audits(
        self,
        budget: float,
        request_id: str | None = None,
        progress: Progress = pipeline.silent,
        access: Access = "data",
    ) -> dict[str, AuditPlan]:
        """Choose audits that take ``budget`` seconds of one core and need no more than ``access``,
        and record them; of the request that is named, else of all that have none and can.
        """
        return audit_planning.plan_open(self.backends, request_id, budget, progress, access)

    def audit(
        self, version: str, *, add: Sequence[str] = (), progress: Progress = pipeline.silent
    ) -> AuditVerdict:
        """Unlearn if that is not done, and audit as planned; ``process`` goes on from there.
        ``version`` may also be a request; ``add`` names audits that can only lower the verdict.
        """
        request_id = auditing.request_of(self.backends, version)
        return pipeline.audit(self.backends, request_id, pipeline.Options(progress=progress), add)

    def ask_seeds(self, secret: bytes, data: object, *, before: Seen | None = None) -> Seen:
        """Whether what serves holds the codes of a user's records; ``decide`` compares two."""
        return seeds_asked.asked(self.backends, secret, data, before)

    def method_of(self, request_id: str) -> str | None:
        """The method by which a request's model was made; None before that and after the close."""
        claim = self.backends.ledger.get("claim", request_id)
        return None if claim is None else str(claim["method"])

    def cancel(self, request_id: str, reason: str = "withdrawn by the requester") -> Request:
        """End a request that has not been withdrawn yet."""
        return pipeline.end(self.backends, request_id, "cancel", reason)

    def reject(self, request_id: str, reason: str) -> Request:
        """Refuse a request, or put one that is withdrawn on a legal hold."""
        return pipeline.end(self.backends, request_id, "reject", reason)

    def lift(self, request_id: str) -> Request:
        """End a legal hold."""
        return pipeline.lift(self.backends, request_id)

    def requests(self) -> tuple[Request, ...]:
        """All requests, oldest first."""
        return state.requests(self.backends)

    def report(self, request_id: str) -> Report:
        """What a reader is told about a request."""
        return reporting.report(self.backends, request_id)

    def evaluation(self, request_id: str) -> Evaluation:
        """What was measured after a request, next to retrained models where it was judged."""
        return reporting.evaluation(self.backends, request_id)

    def certificate(self, request_id: str) -> Certificate:
        """The certificate of a closed request."""
        return certify.load(self.backends, request_id)

    def certificate_file(self, request_id: str) -> bytes:
        """The certificate as the file that a stranger receives."""
        return certify.envelope_bytes(self.certificate(request_id))

    def public_key(self, key_id: str | None = None) -> tuple[str, bytes]:
        """Id and PEM of a signer's public key, by default of the one in force."""
        return backends.public_key(self.backends, key_id)

    def run(self) -> Run:
        """The run behind the model."""
        return state.run(self.backends)

    def version(self) -> ModelVersion:
        """The version that serves."""
        return state.version(self.backends)

    def versions(self) -> tuple[ModelVersion, ...]:
        """All versions, oldest first."""
        return state.versions(self.backends)

    def rebuild(
        self,
        shards: Sequence[int] | None = None,
        limit: int | None = None,
        progress: Progress = pipeline.silent,
    ) -> int:
        """Train missing orders of dead, or the named, shards on the retain set; how many."""
        return trainer.rebuild(self.backends, shards, limit, progress)

    def remaining(self) -> dict[str, str]:
        """What is still stored that was made from forgotten records, and why."""
        return erasure.remaining(self.backends)

    def export(self, folder: str | Path, recipient: str) -> str:
        """Write the served weights into a folder, note the recipient, return their digest."""
        return exports.export(self.backends, Path(folder), recipient)

    def backup(self, archive: str | Path) -> Path:
        """One file with the whole workspace; it is noted as a copy to recall."""
        return exports.back_up(self.backends, Path(archive))

    def suppressed(self) -> bytes:
        """The suppression list as a file to keep apart from backups."""
        return copies.suppression_list(self.backends)

    def fork(self, folder: str | Path) -> Workspace:
        """A full copy under its own keys; it is noted as a copy to recall."""
        return Workspace(copies.fork(self.backends, Path(folder).absolute()))

    def rotate_key(self) -> str:
        """Sign with a new key from now on; returns its id. Old certificates stay verifiable."""
        return backends.add_signer(self.backends)

    def keys(self) -> tuple[Key, ...]:
        """Keys of all records on the allow-list that no request covers."""
        return tuple(e.key for e in state.allowed(self.backends))

    def head(self) -> tuple[int, str]:
        """Sequence number and digest of the last ledger entry."""
        return self.backends.ledger.head()

    def verify(self) -> None:
        """Recompute and hash all that the ledger lists; see ``erasure.check_workspace``."""
        erasure.check_workspace(self.backends)

    def state_digest(self) -> str:
        """One digest over what is served and what was forgotten, without times."""
        b = self.backends
        parts = [(s.shard, s.order, list(s.slices), s.digest) for s in state.parts(b)]
        return digest([parts, sorted(b.ledger.items("suppressed"))])
