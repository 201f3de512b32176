"""A result as JSON and back, and one result out of parts that were computed apart."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from rescind.benchmarks.result import Part, Point, Result
from rescind.core.canonical import build, plain
from rescind.core.errors import BadData, BadParameter

DIGITS = 6  # significant; a figure holds fewer, and another machine differs in the last
EXACT = {"parameters", "chosen"}  # what was put in and not measured: it must run again as it was


def to_json(result: Result) -> bytes:
    """UTF-8 with sorted keys: equal results, equal bytes.

    Floats have 6 significant digits; parameters of methods are as they were.

    Raises:
        BadData: a number that is not finite, or a value that JSON does not know.
    """
    try:
        text = json.dumps(
            _rounded(plain(result)), indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False
        )
    except (TypeError, ValueError) as error:
        raise BadData(
            f"The result of {result.benchmark!r} cannot be stored: {error}.",
            "JSON knows text, finite numbers, lists and mappings.",
            "Leave out what was not measured instead of storing it as nan.",
        ) from error
    return f"{text}\n".encode()


def from_json(data: bytes) -> Result:
    """The result that ``to_json`` wrote.

    Raises:
        BadData: no JSON, or not the fields of a result; the first wrong one is named.
    """
    try:
        found = json.loads(data)
    except ValueError as error:
        raise BadData("The stored result is no JSON.", str(error), "Compute it again.") from error
    if not isinstance(found, dict):
        raise BadData("The stored result is no mapping.", do="Pass what to_json wrote.")
    try:
        return build(Result, found)
    except BadParameter as error:
        raise BadData(
            f"The stored result cannot be read: {error.what}", error.why, error.do
        ) from error


def rounded(result: Result) -> Result:
    """The result as it reads once it has been stored, so that a page shows the stored figures."""
    return from_json(to_json(result))


def merge(results: Sequence[Result]) -> Result:
    """One result of parts that were computed apart; what is there twice is taken from the later.

    Parts are told apart by benchmark, model and forget set, points of a sequence by model, method,
    number of requests and metric. Commands and systems that differ are all listed.

    Raises:
        BadData: no result; results of several benchmarks, sizes or numbers of threads.
    """
    if not results:
        raise BadData("There is no result to merge.", do="Pass at least one.")
    _refuse_several("benchmarks", {r.benchmark for r in results})
    _refuse_several("sizes", {"quick" if r.quick else "full" for r in results})
    _refuse_several("numbers of threads", {str(r.threads) for r in results})
    last = results[-1]
    parts: dict[Any, Part] = {
        (p.benchmark, p.model, p.forget_set): p for r in results for p in r.parts
    }
    points: dict[Any, Point] = {
        (p.model, p.method, p.requests, p.metric): p for r in results for p in r.sequence
    }
    rankings = {(k.model, k.downstream): k for r in results for k in r.rankings}
    return Result(
        benchmark=last.benchmark,
        what=last.what,
        quick=last.quick,
        command=_all("\n", (r.command for r in results)),
        system=_all("; ", (r.system for r in results)),
        threads=last.threads,
        parts=tuple(parts.values()),
        sequence=tuple(points.values()),
        rankings=tuple(rankings.values()),
        not_applicable=tuple(dict.fromkeys(text for r in results for text in r.not_applicable)),
    )


def _all(between: str, texts: Iterable[str]) -> str:
    """Each text once; a text may itself be such a list, of results that were merged before."""
    return between.join(dict.fromkeys(part for text in texts for part in text.split(between)))


def _refuse_several(what: str, found: set[str]) -> None:
    if len(found) > 1:
        raise BadData(
            f"The results are of several {what}: {', '.join(sorted(found))}.",
            "Their figures cannot stand in one table.",
            "Merge those of each by themselves.",
        )


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    if isinstance(value, dict):
        return {name: v if name in EXACT else _rounded(v) for name, v in value.items()}
    return value
