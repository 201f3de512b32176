"""Reports as the pipeline would hand them over, and a reader of the pages made from them."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

from rescind.core.audit import AuditResult, AuditVerdict
from rescind.core.evidence import ErasureReceipt, Measurement, Proof
from rescind.core.guarantee import Empirical, Exact
from rescind.core.plan import Plan, ShardPlan
from rescind.core.report import Moment, Report, StageMark
from rescind.core.request import Request, Target
from rescind.render import Bar, Bars, Items, Lines, Paragraph, Section, Table

REQUEST = Request(
    id="4be1c07f92aa",
    model="news",
    target=Target("words", records=4, copies=5, test_records=1, near_kept=2, exact_kept=1),
    goal="influence",
    basis="Art. 17(1)(b) GDPR, consent withdrawn",
    received_at="2026-03-02T09:14:07.120000+00:00",
    due_at="2026-04-01T23:59:59+00:00",
    status="closed",
    sealed_keys="c2VhbGVkLWtleXMtbmV2ZXItcHJpbnRlZA",
    cells=frozenset({"0.1", "2.0"}),
    withdrawn_at="2026-03-02T09:14:07.131000+00:00",
    milliseconds_to_withdraw=8.42,
)
PLAN = Plan(
    request=REQUEST.id,
    method="s3t",
    cells=REQUEST.cells,
    records=4,
    test_records=1,
    snapshots_cut=12,
    shards=(ShardPlan(0, 3, 2, 2), ShardPlan(1, 3, 3, 3), ShardPlan(2, 2, 1, 1)),
    retained_share=6 / 9,
    outage=False,
    passes=18432,
    rebuild_passes=0,
    expected_accuracy=0.9314,
    due_at=REQUEST.due_at,
    warnings=("Shard 2 has one order left: one more request to it may leave it without a model.",),
)
TIMELINE = (
    Moment("2026-03-02T09:14:07.120000+00:00", "request.accepted", "4 records, 1 test record"),
    Moment("2026-03-02T09:14:07.125000+00:00", "plan.made", "s3t; 12 snapshots would be cut"),
    Moment("2026-03-02T09:14:07.131000+00:00", "parts.withdrawn", "12 snapshots sealed"),
    Moment("2026-03-02T09:16:40+00:00", "version.created", "news-2 from news-1"),
    Moment("2026-03-02T09:17:02+00:00", "evaluation.done", "news-1 and news-2"),
    Moment("2026-03-02T09:31:55+00:00", "proof.made", "replay identical"),
    Moment("2026-03-02T09:31:58+00:00", "erasure.done", "nothing left"),
    Moment("2026-03-02T09:31:58.400000+00:00", "certificate.issued", "exact (never saw)"),
    Moment("2026-03-02T09:31:58.900000+00:00", "request.closed", "the request's key is destroyed"),
)
BEFORE = (
    Measurement("accuracy", "news-1", 0.9523809523809523, (0.9257, 0.9711), 378),
    Measurement("log_loss", "news-1", 0.1712, (0.1401, 0.2055), 378),
)
AFTER = (
    Measurement("accuracy", "news-2", 0.9338624338624338, (0.9041, 0.9561), 378, "original"),
    Measurement("log_loss", "news-2", 0.2034, (0.1702, 0.2411), 378, "original"),
    Measurement("agreement", "news-2", 0.9708994708994709, (0.9484, 0.9838), 378, "original", True),
)
REPLAYED = Proof(
    "replay",
    "identical",
    sense="never_saw",
    weights="9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    compared=14,
    environment="Python 3.11.2, torch 2.7.1 (CPU), 1 thread",
)
ERASED = ErasureReceipt(
    destroyed={"snapshot": 12, "features": 2, "predictions": 2},
    rewritten={"manifest": 1, "features": 2},
    recipients=("news-1 exported to partner-bank, 2026-02-11",),
)


def marks_of(picture: tuple[str, ...], length: int = 3) -> tuple[StageMark, ...]:
    """A row a shard, a word an order, a letter the first letter of a state."""
    states = {state[0]: state for state in ("served", "kept", "cut", "gone", "hit")}
    return tuple(
        StageMark(shard, order, (order + position) % length, position, states[letter])
        for shard, row in enumerate(picture)
        for order, word in enumerate(row.split())
        for position, letter in enumerate(word)
    )


def full() -> Report:
    """Closed, replayed, certified: everything is there."""
    return Report(
        request=REQUEST,
        model="news-2",
        parent="news-1",
        plan=PLAN,
        timeline=TIMELINE,
        before=BEFORE,
        after=AFTER,
        unmeasured="no",
        marks=marks_of(("ssh khc hcc", "sss kkk kkk", "hcc shg ggg")),
        proof=REPLAYED,
        guarantee=Exact("never_saw"),
        erasure=ERASED,
        certificate="5d41402abc4b2a76b9719d911017c592a1e4d5b6c7f8091a2b3c4d5e6f708192",
        exports=("news-1 exported to partner-bank, 2026-02-11", "backup of 2026-03-01"),
        not_claimed=(
            "That the pretrained encoder never saw the records: it was trained by others.",
            "That no deletion happened: it can be seen that stages are missing.",
            "Anything about exports and backups outside the workspace.",
        ),
        exposure_seconds=0.0113,
    )


def audited(*audits: str) -> Report:
    """The same with these audits, each of which saw nothing."""
    rows = [
        AuditResult(audit=name, outcome="removed_supported", told="nothing", n=20, p=0.5, power=0.9)
        for name in audits or ("membership", "margins", "seeds")
    ]
    limits = ("That data were removed: no audit shows it.",)
    verdict = AuditVerdict("news-2", "removed_supported", "all saw nothing", tuple(rows), limits)
    return replace(full(), audit=verdict)


def minimal() -> Report:
    """Accepted only: nothing withdrawn, measured, proved or erased."""
    return Report(
        request=replace(
            REQUEST, status="accepted", withdrawn_at=None, milliseconds_to_withdraw=None, basis=""
        ),
        model="news-1",
        parent=None,
        plan=replace(PLAN, warnings=(), shards=(), expected_accuracy=None),
        timeline=(),
        before=(),
        after=(),
        unmeasured="no",
        marks=(),
        proof=None,
        guarantee=None,
        erasure=None,
        certificate=None,
        exports=(),
        not_claimed=(),
        exposure_seconds=None,
    )


def failed() -> Report:
    """The replay failed after the withdrawal: cut, but nothing is claimed."""
    return replace(
        full(),
        request=replace(REQUEST, status="failed", reason="The replay gave other bytes in shard 2."),
        timeline=TIMELINE[:5],
        after=(),
        proof=None,
        guarantee=None,
        erasure=None,
        certificate=None,
    )


def held() -> Report:
    """A legal hold after the withdrawal keeps the cut snapshots sealed."""
    return replace(
        failed(), request=replace(REQUEST, status="held", reason="Legal hold of 3 March 2026.")
    )


def cancelled() -> Report:
    """Cancelled before anything was withdrawn."""
    request = replace(minimal().request, status="cancelled", reason="Asked for by mistake.")
    return replace(minimal(), request=request)


def lowered() -> Report:
    """No replay could be run, encryption was off and an artifact is left."""
    return replace(
        full(),
        proof=Proof("replay", "not_possible", reason="The source data cannot be read again."),
        guarantee=Empirical("no replay: the source data cannot be read again"),
        erasure=replace(ERASED, encrypted=False, left=("features/0.1",)),
        plan=replace(PLAN, outage=True),
    )


def big(size: int = 10) -> Report:
    """``size`` shards, orders and slices; two shards in three are hit in one slice."""
    rows, shards = [], []
    for shard in range(size):
        ends = [(shard * 3 - order) % size if shard % 3 else size for order in range(size)]
        served = ends.index(max(ends))
        free = ["s" if order == served else "k" for order in range(size)]
        words = [(k * end + "h" + "c" * size)[:size] for k, end in zip(free, ends, strict=True)]
        rows.append(" ".join(words))
        shards.append(ShardPlan(shard, size, max(ends), sum(end > 0 for end in ends)))
    cells = frozenset(f"{q}.{3 * q % size}" for q in range(size) if q % 3)
    plan = replace(PLAN, shards=tuple(shards), cells=cells)
    return replace(full(), marks=marks_of(tuple(rows), size), plan=plan)


def appendix() -> tuple[Section, ...]:
    """Sections that a demo may append: one block of each drawn kind."""
    days = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0)
    ours = tuple((x, 0.95 - 0.004 * x, 0.93 - 0.004 * x, 0.97 - 0.004 * x) for x in days)
    theirs = tuple((x, 0.95 - 0.012 * x, 0.925 - 0.012 * x, 0.968 - 0.012 * x) for x in days)
    bars = Bars(
        "Time until the record is no longer used",
        (
            Bar("S3T, from acceptance to withdrawal", 0.0084, 0.0079, 0.0091),
            Bar("SISA, one shard trained again", 41.2, 38.0, 45.1),
            Bar("Training anew", 118.0),
        ),
        "s",
    )
    lines = Lines(
        "Accuracy over requests",
        "Requests",
        "Test accuracy",
        (
            ("S3T, 3 orders", ours),
            ("SISA", theirs),
            ("Trained anew", ((0.0, 0.951), (16.0, 0.948))),
        ),
    )
    table = Table(("Method", "Seconds"), (("s3t", "0.0084"), ("sisa", "41.2")), "Measured here")
    return (
        Section("Against other methods", (Paragraph("Measured on this machine."), bars, table)),
        Section("Over many requests", (lines, Items(("One seed.", "Digits, not news.")))),
    )


VOID = {"meta", "br", "hr", "img", "link", "input"}


class Page(HTMLParser):
    """Elements with their attributes, parents and text; complains about unbalanced tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[dict[str, Any]] = []
        self.elements: list[dict[str, Any]] = []
        self.feed(text)
        self.close()
        assert not self.open, f"left open: {[e['tag'] for e in self.open]}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = {"tag": tag, "text": "", "up": list(self.open), **dict(attrs)}
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append({"tag": tag, "text": "", "up": list(self.open), **dict(attrs)})

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1]["tag"] == tag, f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element["text"] += data

    def find(self, tag: str, **attributes: str) -> list[dict[str, Any]]:
        return [
            e
            for e in self.elements
            if e["tag"] == tag
            and all(e.get(k.replace("_", "-").strip("-")) == v for k, v in attributes.items())
        ]

    def inside(self, element: dict[str, Any], tag: str) -> list[dict[str, Any]]:
        return [e for e in self.elements if e["tag"] == tag and element in e["up"]]
