"""Read JSON and statements that a stranger wrote: strictly, and without ever a traceback."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, NoReturn, TypeVar

from rescind.core.audit import AuditResult, AuditVerdict, Curve
from rescind.core.canonical import Json, build, plain
from rescind.core.certificate import ADDED, PREDICATE_TYPE, STATEMENT_TYPE, Statement
from rescind.core.control import Control, ControlGap
from rescind.core.errors import BadParameter, VerificationFailed
from rescind.core.evidence import ErasureReceipt, Measurement, Proof
from rescind.core.guarantee import Certified, Empirical, Exact
from rescind.core.judgement import Attempt, Gap, Judgement
from rescind.core.request import Target

T = TypeVar("T")
DIGESTS = ("original", "unlearned", "run", "forgotten", "ledger_head", "key_id")
TIMES = ("received_at", "withdrawn_at", "issued_at", "valid_until")
CLAIMS: dict[str, type] = {"exact": Exact, "certified": Certified, "empirical": Empirical}
NESTED: dict[str, type] = {"target": Target, "proof": Proof, "erasure": ErasureReceipt}
LARGEST = 4 * 2**20  # bytes of a file; a certificate has a few thousand
MALFORMED = (BadParameter, TypeError, ValueError, AttributeError, OverflowError)


def parse_json(data: bytes) -> Json:
    """JSON in UTF-8 in which every reader sees the same: no name twice, no NaN, no half character.

    Raises:
        ValueError: it is not, or it is nested too deeply to read.
    """
    try:
        value = json.loads(
            data.decode(),
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_float=_number,
        )
        json.dumps(value, ensure_ascii=False).encode()
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    return value


def read_header(payload: bytes) -> dict[str, Any]:
    """The in-toto statement around the predicate, its two types checked.

    Raises:
        VerificationFailed: it is not JSON, or no deletion certificate of this schema.
    """
    try:
        header = parse_json(payload)
    except ValueError as error:
        raise _refused(f"The statement is not JSON: {str(error)[:80]}.") from error
    if not isinstance(header, dict):
        raise _refused("The statement is not a JSON object.")
    for name, known in (("_type", STATEMENT_TYPE), ("predicateType", PREDICATE_TYPE)):
        if header.get(name) != known:
            raise _refused(f"Its {name} is not {known}.")
    return header


def read_statement(payload: bytes) -> Statement:
    """The statement in the signed bytes.

    Fields that this version does not know are passed over, as in-toto asks of readers, except in
    the guarantee, where an unread word could take back the claim. Every known field must be there,
    those with defaults too: an absent ``left`` must not read as nothing left. Only judgement,
    attempts, controls and audit, which older certificates lack, may be absent: that reads as not
    judged and not audited.

    Raises:
        VerificationFailed: it is no deletion certificate, or a field is missing or malformed.
    """
    predicate = read_header(payload).get("predicate")
    try:
        return _statement(predicate)
    except RecursionError as error:
        raise _refused("The statement is nested too deeply.") from error
    except MALFORMED as error:
        raise _refused(f"The statement is malformed: {str(error)[:200]}") from error


def moment(text: str) -> datetime:
    """A time with its zone.

    Raises:
        ValueError: the text is no ISO 8601 time, or names no zone.
    """
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(f"{text} names no time zone.")
    return at


def _statement(predicate: object) -> Statement:
    data = _fields(Statement, predicate, ADDED)
    data["judgement"] = _judgement(data.get("judgement"))
    data["attempts"] = [_attempt(item) for item in _list(data.get("attempts", []), "attempts")]
    data["controls"] = [_control(item) for item in _list(data.get("controls", []), "controls")]
    data.setdefault("unjudged", "")
    data.setdefault("ledger_root", "")
    data.setdefault("mask_seals", [])
    data["audit"] = _audit(data.get("audit"))
    data["guarantee"] = _claim(data["guarantee"])
    data["measurements"] = [
        _fields(Measurement, item) for item in _list(data["measurements"], "measurements")
    ]
    data |= {name: _fields(record, data[name]) for name, record in NESTED.items()}
    statement = build(Statement, data)
    if plain(statement) != data:
        raise BadParameter("A list or a text stands where the other belongs.")
    _check_maps(statement)
    _check_texts(data)
    return statement


def _fields(record: type[Any], value: object, may_lack: Collection[str] = ()) -> dict[str, Any]:
    """The known fields of a record, none of them missing but those that may be."""
    if not isinstance(value, dict):
        raise BadParameter(f"{record.__name__} is not an object.")
    names = [field.name for field in dataclasses.fields(record)]
    missing = [name for name in names if name not in value and name not in may_lack]
    if missing:
        raise BadParameter(f"{record.__name__} lacks {', '.join(missing)}.")
    return {name: value[name] for name in names if name in value}


def _judgement(value: object) -> dict[str, Any] | None:
    if value is None:
        return None
    found = _fields(Judgement, value)
    return found | {"gaps": [_fields(Gap, gap) for gap in _list(found["gaps"], "gaps")]}


def _control(value: object) -> dict[str, Any]:
    found = _fields(Control, value)
    return found | {"gaps": [_fields(ControlGap, gap) for gap in _list(found["gaps"], "gaps")]}


def _audit(value: object) -> dict[str, Any] | None:
    if value is None:
        return None
    found = _fields(AuditVerdict, value)
    results = [_audit_result(item) for item in _list(found["results"], "results")]
    return found | {"results": results}


def _audit_result(value: object) -> dict[str, Any]:
    found = _fields(AuditResult, value)
    curves = _list(found["curves"], "curves")
    # certificates from before they were told lack them
    return found | {"curves": [_fields(Curve, one, ("rates",)) for one in curves]}


def _attempt(value: object) -> dict[str, Any]:
    found = _fields(Attempt, value)
    if not isinstance(found["parameters"], dict):
        raise BadParameter("The parameters of an attempt are not an object.")
    return found | {"judgement": _judgement(found["judgement"])}


def _claim(value: object) -> dict[str, Any]:
    kind = value.get("kind") if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(kind, str) or kind not in CLAIMS:
        raise BadParameter("The guarantee is of no known kind.")
    known = _fields(CLAIMS[kind], value)
    if known != value:
        raise BadParameter("The guarantee has a field that this version cannot read.")
    return known


def _list(value: object, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise BadParameter(f"The {name} are not a list.")
    return value


def _check_maps(statement: Statement) -> None:
    """``build`` takes any value for a mapping."""
    erasure = statement.erasure
    for name, counts in (("destroyed", erasure.destroyed), ("rewritten", erasure.rewritten)):
        if not isinstance(counts, Mapping) or not all(_count(n) for n in counts.values()):
            raise BadParameter(f"{name} is not a list of counts.")
    if not isinstance(statement.parameters, Mapping):
        raise BadParameter("The parameters are not an object.")
    target = statement.target
    counted = (target.records, target.copies, target.test_records, target.near_kept)
    if not all(_count(n) for n in (*counted, target.exact_kept, statement.ledger_seq)):
        raise BadParameter("A count is negative.")


def _count(value: object) -> bool:
    return type(value) is int and value >= 0


def _check_texts(data: Mapping[str, Any]) -> None:
    for name in DIGESTS:
        value = data[name]
        absent = value is None and name == "forgotten"  # the suppression list may be turned off
        if not absent and not re.fullmatch("[0-9a-f]{64}", value):
            raise BadParameter(f"{name} is not a SHA-256 digest.")
    if data["ledger_root"] and not re.fullmatch("[0-9a-f]{64}", data["ledger_root"]):
        raise BadParameter("ledger_root is not a SHA-256 digest.")
    if not all(re.fullmatch("[0-9a-f]{64}", seal) for seal in data["mask_seals"]):
        raise BadParameter("A seal is not a SHA-256 digest.")
    for name in TIMES:
        moment(data[name])


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return found


def _constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is too large")
    return value


def _refused(what: str) -> VerificationFailed:
    return VerificationFailed(
        "statement",
        what,
        "So it cannot be told what is certified.",
        "Ask the signer for a certificate of this schema, or update rescind.",
    )
