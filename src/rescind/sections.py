"""What a report says, as sections of typed blocks; both formats print the same ones.

Nothing is computed here beyond formatting. A caller may append sections of its own.
"""

from __future__ import annotations

from datetime import UTC, datetime

from rescind import audited_before
from rescind.audited_tables import NONE, WAITING, plan_table, rate_table, result_table, roc_lines
from rescind.blocks import (
    Block,
    Command,
    Facts,
    Items,
    Notice,
    Paragraph,
    Section,
    Timeline,
)
from rescind.core.audit import OUTCOMES as OUTCOME
from rescind.core.control import warning
from rescind.core.evidence import ErasureReceipt, Measurement, Proof
from rescind.core.guarantee import SENSES, Certified, Empirical, Exact, Guarantee
from rescind.core.plan import Plan
from rescind.core.report import Report
from rescind.core.request import GOALS, Request
from rescind.drawing import number
from rescind.judged_tables import (
    VERDICTS,
    attempt_table,
    concept_table,
    control_table,
    gap_table,
)
from rescind.picture import Intervals, Stages, Table, shown, words

VERIFY = "rescind certificate verify certificate.json --key signer.pem"
BESIDE = {
    "influence": "Beside retrained models",
    "concept": "The concept, beside the original model",
}
TARGETS = {
    "records": "records named by their keys",
    "subject": "the records of one subject",
    "words": "records found by words, which are not kept",
    "concept": "the training records of one label, which is not kept",
}
OUTCOMES = {
    "identical": "identical: a fresh training without the records met the stored bytes",
    "not_run": "not run",
    "not_possible": "not possible",
}
UNMEASURED = {
    "no": "",
    "nothing_served": "Nothing is served after this request, so there is nothing to measure.",
    "no_test_record": "Not measured: no test record is left. How well the model answers now is not"
    " known.",
}
NOT_EVALUATED = "Not measured: the report holds no evaluation, before or after."
MEASURED = "Scored on the test records that are left after this request; intervals are 95 %."


def headline(report: Report) -> str:
    """What happened and what is claimed, in one sentence."""
    request, records = report.request, counted(report.request.target.records, "record")
    if request.status in ("cancelled", "rejected"):
        return f"Request {request.status}; nothing is claimed for {records}."
    if request.withdrawn_at is None:
        before = "" if request.status in ("accepted", "planned") else f"{request.status.title()}: "
        return f"{before}{records} not yet withdrawn; nothing is claimed."
    if request.status in ("failed", "held"):
        after = f"{request.status.title()} after withdrawal: {records} no longer used"
        return f"{after}; {_claimed(report)}."
    return f"{records} {_verb(report)}; {_claimed(report)}."


def _verb(report: Report) -> str:
    done = report.request.status in ("erased", "closed")
    if done and report.erasure is not None and not report.erasure.left:
        return "forgotten"
    return "withdrawn from the served model, not yet erased"


def _claimed(report: Report) -> str:
    if report.guarantee is None:
        return "nothing is claimed"
    replayed = isinstance(report.guarantee, Exact) and _is_replayed(report.proof)
    return claim(report.guarantee) + (", replayed bit for bit" if replayed else "")


def _is_replayed(proof: Proof | None) -> bool:
    return proof is not None and proof.outcome == "identical"


def claim(guarantee: Guarantee) -> str:
    """A guarantee in the field's words."""
    if isinstance(guarantee, Exact):
        return f"exact ({guarantee.sense.replace('_', ' ')})"
    if isinstance(guarantee, Certified):
        return f"certified (epsilon {guarantee.epsilon:g}, delta {guarantee.delta:g})"
    return "empirical only, no proof"


def sections(report: Report) -> list[Section]:
    """The whole report, in the order in which a compliance officer reads."""
    audited = audited_before.section(report.audit.results) if report.audit else None
    return [
        Section("Key facts", [Facts(_facts(report))]),
        Section("Timeline", [_timeline(report)]),
        Section("Accuracy before and after", _accuracy(report)),
        Section(BESIDE[report.request.goal], _judged(report)),
        Section("Audits", _audits(report)),
        *([audited] if audited else []),
        Section("What was cut and what serves", _stages(report)),
        Section("Plan", _plan(report.plan)),
        Section("Evidence", _evidence(report)),
        Section("Erasure receipt", _erasure(report.erasure)),
        Section("Copies outside the workspace", _exports(report)),
        Section("What is not claimed", _not_claimed(report)),
        Section("Certificate", _certificate(report.certificate)),
    ]


def summary(report: Report) -> Facts:
    """Where the request stands, at a glance."""
    proof, erasure = report.proof, report.erasure
    replay = OUTCOMES[proof.outcome].partition(":")[0] if proof else "none yet"
    erased = "none yet" if erasure is None else "incomplete" if erasure.left else "complete"
    rows = [
        ("Status", report.request.status),
        ("Claim", claim(report.guarantee) if report.guarantee else "none"),
        ("Replay", replay),
        ("Erasure", erased),
        ("Certificate", f"{report.certificate[:12]}..." if report.certificate else "none"),
    ]
    return Facts(rows)


def notices(report: Report) -> list[Notice]:
    """What a reader must know before anything else."""
    request, erasure = report.request, report.erasure
    told = [f"{words(request.status)}: {request.reason}"] if request.reason else []
    if isinstance(report.guarantee, Empirical):
        told.append(f"No exactness is claimed, because: {report.guarantee.because}")
    if isinstance(report.guarantee, Exact) and not _is_replayed(report.proof):
        told.append("The report names an exact claim, but holds no replay that carries it.")
    if erasure is not None and erasure.left:
        told.append(f"Erasure is incomplete: {counted(len(erasure.left), 'artifact')} left.")
    if report.plan.outage:
        open_ = request.withdrawn_at is None and not request.accept_outage
        waits = " It waits until the outage is accepted." if open_ else ""
        told.append(f"This request leaves no shard to answer with.{waits}")
    return [Notice(text) for text in told]


def _facts(report: Report) -> list[tuple[str, str]]:
    request, target = report.request, report.request.target
    return [
        ("Request", request.id),
        ("Model", request.model),
        ("Version", report.model),
        ("Copied from the workspace with ledger head", report.parent or "not a copy"),
        ("Goal", GOALS[request.goal]),
        ("Named by", TARGETS[target.kind]),
        ("Basis", request.basis or "none given"),
        ("Received", when(request.received_at)),
        ("Due", when(request.due_at)),
        ("Withdrawn", when(request.withdrawn_at) if request.withdrawn_at else "not withdrawn"),
        ("From acceptance to withdrawal", _milliseconds(request)),
        ("Exposure window", _exposure(report.exposure_seconds)),
        ("Records", number(target.records)),
        ("Rows, copies included", number(target.copies)),
        ("Test records", number(target.test_records)),
        ("Near duplicates kept", number(target.near_kept)),
        ("Equal rows of other subjects kept", number(target.exact_kept)),
    ]


def _milliseconds(request: Request) -> str:
    taken = request.milliseconds_to_withdraw
    return "not measured" if taken is None else f"{number(taken)} ms"


def _exposure(seconds: float | None) -> str:
    if seconds is None:
        return "not known"
    return f"{duration(seconds)} from receipt to the last answer that could have used a record"


def _timeline(report: Report) -> Block:
    if not report.timeline:
        return Paragraph("The report holds no entry of the ledger for this request.")
    return Timeline(report.timeline)


def _accuracy(report: Report) -> list[Block]:
    names = list(dict.fromkeys(m.name for m in (*report.before, *report.after)))
    told = UNMEASURED[report.unmeasured]
    if not names:
        return [Notice(told) if told else Paragraph(NOT_EVALUATED)]
    before, after = ({m.name: m for m in side} for side in (report.before, report.after))
    # what only compares the two, such as their agreement, has no before: the table has it
    drawn = [name for name in names if name in before or not before]
    pictures = [Intervals(name, before.get(name), after.get(name)) for name in drawn]
    missing = [
        Notice(told or f"The report holds no evaluation from {when_} this request.")
        for when_, told, side in (("before", "", before), ("after", told, after))
        if not side
    ]
    sides = ((("before", before.get(n)), ("after", after.get(n))) for n in names)
    rows = [row for pair in sides for side, m in pair if (row := _row(side, m))]
    head = ("Measurement", "When", "Value", "95 % interval", "n", "Against", "Passed")
    axis = "Each axis shows only the part around the values."
    return [*missing, Paragraph(f"{MEASURED} {axis}"), *pictures, Table(head, rows)]


def _row(side: str, m: Measurement | None) -> tuple[str, ...] | None:
    if m is None:
        return None
    low, high = (shown(m.name, end) for end in m.interval)
    passed = "no threshold" if m.passed is None else "passed" if m.passed else "failed"
    value = (shown(m.name, m.value), f"{low} to {high}", number(m.n))
    return (words(m.name), f"{side} ({m.version})", *value, m.compared_with, passed)


def _judged(report: Report) -> list[Block]:
    goal = Paragraph(f"Goal: {GOALS[report.request.goal]}.")
    found = report.judgement
    if found is None:
        told = report.unjudged or "the report holds no evaluation"
        table = concept_table(report.before, report.after)
        blocks: list[Block] = [Notice(f"Not judged: {told}."), *([table] if table else [])]
    else:
        rate = found.rejection_rate_of_retrained
        rejected = "no metric counts" if rate is None else f"{100 * rate:.0f} %"
        rows = [
            ("Verdict", VERDICTS[found.verdict]),
            ("Because", found.because),
            ("Retrained models", number(found.references)),
            ("Seeds of the unlearned model", number(found.seeds)),
            ("Retrained models that the same rules reject", rejected),
        ]
        passed = warning(report.controls)
        blocks = [Facts(rows), *([Notice(passed)] if passed else []), gap_table(found)]
        blocks += [control_table(found, report.controls)] if report.controls else []
    attempts = [attempt_table(report.attempts)] if report.attempts else []
    return [goal, *blocks, *_costs(report), *attempts]


def _audits(report: Report) -> list[Block]:
    plan = [plan_table(report.audit_plan)] if report.audit_plan else []
    found = report.audit
    if found is None:
        return [Notice(WAITING if plan else NONE), *plan]
    verdict = Facts([("Verdict", words(OUTCOME[found.outcome])), ("Because", found.because)])
    limits: list[Block] = [Paragraph("What these audits cannot show:"), Items(found.not_claimable)]
    curves: list[Block] = [roc_lines(r) for r in found.results if r.curves]
    curves += [rate_table(r) for r in found.results if any(one.rates for one in r.curves)]
    return [verdict, result_table(found.results), *curves, *limits, *plan]


def _costs(report: Report) -> list[Block]:
    if not report.cpu_seconds:
        return []
    rows = [(words(name), f"{number(s)} s") for name, s in report.cpu_seconds.items()]
    told = "Processor seconds, measured. Other evaluations on the same retain set share the models."
    return [Paragraph(told), Facts(rows)]


def _stages(report: Report) -> list[Block]:
    if not report.marks:
        return [Paragraph("The report holds no picture of the trained stages of this model.")]
    how = (
        "Each square is one trained stage, numbered by the slice that it added. Each row is one"
        " order of training, read from left to right: a stage has also seen all slices to its left,"
        " so a cut removes the stage that held a record and everything after it."
    )
    early: list[Block] = [Notice("Nothing has been cut yet: this is what would be cut.")]
    stages = Stages(report.marks, report.plan.shards)
    return [*(early if report.request.withdrawn_at is None else []), Paragraph(how), stages]


def _plan(plan: Plan) -> list[Block]:
    expected = plan.expected_accuracy
    rows = [
        ("Method", plan.method),
        ("Cells touched", f"{len(plan.cells)}: {', '.join(sorted(plan.cells)) or 'none'}"),
        ("Snapshots to cut", number(plan.snapshots_cut)),
        ("Slices still served", f"{100 * plan.retained_share:.1f} %"),
        (
            "Cost of the evidence",
            f"{counted(plan.passes, 'record pass', 'record passes')} of training",
        ),
        (
            "Cost of rebuilding dead shards",
            counted(plan.rebuild_passes, "record pass", "record passes"),
        ),
        (
            "Expected accuracy",
            "no estimate" if expected is None else f"{100 * expected:.1f} %, estimate",
        ),
        ("Would leave an outage", "yes" if plan.outage else "no"),
        ("Due", when(plan.due_at)),
    ]
    shards = [
        (str(s.shard), number(s.slices_before), number(s.slices_after), number(s.orders_after))
        for s in plan.shards
    ]
    head = ("Shard", "Slices served before", "Slices served after", "Orders left")
    table = [Table(head, shards)] if shards else []
    return [*(Notice(text) for text in plan.warnings), Facts(rows), *table]


def _evidence(report: Report) -> list[Block]:
    return [*_meaning(report.guarantee), *_replay(report.proof)]


def _meaning(guarantee: Guarantee | None) -> list[Block]:
    if guarantee is None:
        return [Paragraph("Nothing is claimed of this model for this request.")]
    said = f"Claimed: {claim(guarantee)}."
    if isinstance(guarantee, Exact):
        return [Paragraph(f"{said} {SENSES[guarantee.sense]}")]
    if isinstance(guarantee, Certified):
        return [Paragraph(f"{said} It holds under this assumption: {guarantee.assumption}")]
    return [Notice(f"{said} Why no more is claimed: {guarantee.because}")]


def _replay(proof: Proof | None) -> list[Block]:
    if proof is None:
        return [Paragraph("There is no replay in this report.")]
    rows = [
        ("Replay", OUTCOMES[proof.outcome]),
        ("Stored snapshots compared", number(proof.compared)),
        ("Sense", proof.sense.replace("_", " ") if proof.sense else "none"),
        ("Environment", proof.environment or "not recorded"),
    ]
    why = (
        [Notice(f"Replay {proof.outcome.replace('_', ' ')}: {proof.reason}")]
        if proof.reason
        else []
    )
    digest: list[Block] = [
        Paragraph("Digest of the served selection, reached by the replay by itself:")
    ]
    weights = [*digest, Command(proof.weights)] if proof.weights else []
    return [*why, Facts(rows), *weights]


def _erasure(erasure: ErasureReceipt | None) -> list[Block]:
    if erasure is None:
        return [Paragraph("Nothing has been erased yet: the report holds no receipt.")]
    rows = [(kind, "destroyed", number(n)) for kind, n in sorted(erasure.destroyed.items())]
    rows += [(kind, "rewritten", number(n)) for kind, n in sorted(erasure.rewritten.items())]
    what: Block = Table(("Kind of artifact", "What was done", "How many"), rows)
    how: Block = Paragraph(
        "Each artifact was encrypted under its own key; key and bytes are deleted."
    )
    if not erasure.encrypted:
        how = Notice("Encryption at rest was off: bytes were only unlinked, no key was destroyed.")
    left: list[Block] = [Paragraph("Nothing made from the records is left in the workspace.")]
    if erasure.left:
        left = [Notice("Still stored, although made from the records:"), Items(erasure.left)]
    return [how, what if rows else Paragraph("No artifact was destroyed or rewritten."), *left]


def _exports(report: Report) -> list[Block]:
    told = report.erasure.recipients if report.erasure else ()
    holders = list(dict.fromkeys((*report.exports, *told)))
    if not holders:
        return [Paragraph("The workspace has no record of an export that still holds the records.")]
    text = "These exports still hold what was learnt from the records. Recall them: "
    return [Notice(f"{text}{counted(len(holders), 'recipient')}."), Items(holders)]


def _not_claimed(report: Report) -> list[Block]:
    if not report.not_claimed:
        return [Paragraph("The report lists no limits; those of the certificate hold.")]
    return [Items(report.not_claimed)]


def _certificate(digest: str | None) -> list[Block]:
    if digest is None:
        return [Paragraph("No certificate has been issued for this request.")]
    how = (
        "To verify it, on any machine and without a network. Take the signer's key by another way"
        " than the certificate; whoever has the source and the recipe can run the replay again."
    )
    return [
        Paragraph("Digest of the certificate (SHA-256):"),
        Command(digest),
        Paragraph(how),
        Command(VERIFY),
    ]


def when(text: str) -> str:
    """A time of a record as a reader writes it, in UTC; what is not a time stays as it is."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text
    if "T" not in text:
        return text
    zone = " UTC" if moment.tzinfo else ""
    moment = moment.astimezone(UTC) if moment.tzinfo else moment
    part = f".{moment.microsecond // 1000:03d}" if moment.microsecond else ""
    return f"{moment:%Y-%m-%d %H:%M:%S}{part}{zone}"


def duration(seconds: float) -> str:
    """A span of time in at most two units."""
    if seconds < 1:
        return f"{number(1000 * seconds)} ms"
    if seconds < 60:
        return f"{number(seconds)} s"
    large, small, unit, part = (86400, 3600, "d", "h")
    if seconds < 86400:
        large, small, unit, part = (3600, 60, "h", "min")
    if seconds < 3600:
        large, small, unit, part = (60, 1, "min", "s")
    return f"{seconds // large:.0f} {unit} {seconds % large // small:.0f} {part}"


def counted(n: int, one: str, many: str = "") -> str:
    """How many of something: 1 record, 2 records."""
    return f"{number(n)} {one if n == 1 else many or one + 's'}"
