"""A second verifier, from the format alone. Arguments: CERTIFICATE KEY.pem EXPORT HEAD TIME."""

import hashlib
import json
import math
import sys
from base64 import b64decode
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

KIND = "application/vnd.in-toto+json"
TYPES = ("https://in-toto.io/Statement/v1", "urn:rescind:deletion-certificate:1")
UNUSED = ("basis", "goal", "ledger_seq", "method", "parameters", "run", "scope")
FOUND = "residue_found"
RANGES = {"test_accuracy": (0, 1), "agreement": (0, 1), "accuracy_change": (-1, 1)}


def failed(envelope: bytes, pem: bytes, folder: Path, head: str, at: str) -> list[str]:
    try:
        outer = json.loads(envelope)
        kind, payload = outer["payloadType"], b64decode(outer["payload"], validate=True)
        signed = [(s["keyid"], s["sig"], bytes.fromhex(s["public"])) for s in outer["signatures"]]
    except (KeyError, TypeError, ValueError):
        return ["envelope"]
    pinned = load_pem_public_key(pem)
    message = b"DSSEv1 %d %b %d %b" % (len(kind), kind.encode(), len(payload), payload)
    known = isinstance(pinned, Ed25519PublicKey) and pinned.public_bytes_raw()
    results = {
        "envelope": kind == KIND,
        "signature": bool(signed) and all(holds(public, sig, message) for _, sig, public in signed),
        "signer": not signed or known in [public for _, _, public in signed],
    }
    try:
        results |= content(json.loads(payload), [(n, p) for n, _, p in signed], folder, head, at)
    except (KeyError, TypeError, ValueError):
        results["statement"] = False
    return [name for name, good in results.items() if not good]


def content(header: Any, keys: Any, folder: Path, head: str, at: str) -> dict[str, bool]:
    said = header["predicate"]
    if (header["_type"], header["predicateType"]) != TYPES or not set(UNUSED) <= set(said):
        raise ValueError("not a deletion certificate")
    subject = [{"name": said["model"], "digest": {"sha256": said["unlearned"]}}]
    times = [datetime.fromisoformat(t) for t in (said["issued_at"], at, said["valid_until"])]
    named = not keys or said["key_id"] in [name for name, _ in keys]
    audit = said.get("audit") or {"results": [], "outcome": "no_power"}
    seen = [r["outcome"] for r in audit["results"] if not r["exploratory"] or r["outcome"] == FOUND]
    return {
        "key": named and all(hashlib.sha256(public).hexdigest() == name for name, public in keys),
        "statement": header["subject"] == subject,
        "validity": times == sorted(times),
        "model": exported(folder) == [said["model"], said["unlearned"]],
        "ledger head": said["ledger_head"] == head,
        # by name, a residue comes after support, and support after too little power
        "evidence": coherent(said)
        and all(map(follows, audit["results"]))
        and audit["outcome"] == max(["no_power", *seen]),
        "claim": carried(said["guarantee"], said["proof"], audit["outcome"] != FOUND),
    }


def holds(public: bytes, signature: str, message: bytes) -> bool:
    try:
        return not Ed25519PublicKey.from_public_bytes(public).verify(b64decode(signature), message)
    except (InvalidSignature, ValueError):
        return False


def exported(folder: Path) -> list[str | None]:
    """The model's name, whatever lies in the folder beside the model, and the weights' digest."""
    selection = json.loads((folder / "selection.json").read_text(), object_pairs_hook=once)
    parts = selection.get("parts", [])
    named = {"selection.json", "recipe.json", *(p["file"] for p in parts)}
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
    found = [hashlib.sha256((folder / p["file"]).read_bytes()).hexdigest() for p in parts]
    rows = [[p["shard"], p["slices"], d, p["records"]] for p, d in zip(parts, found, strict=True)]
    digest = hashlib.sha256(json.dumps(rows, separators=(",", ":")).encode()).hexdigest()
    return [selection.get("model"), *(there - named), digest]


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return dict(pairs) if len(dict(pairs)) == len(pairs) else {}


def coherent(said: dict[str, Any]) -> bool:
    times = [datetime.fromisoformat(said[f"{t}_at"]) for t in ("received", "withdrawn", "issued")]
    why, same = said["unchanged"], said["original"] == said["unlearned"]
    counts = [said["target"][n] for n in ("test_records", "records", "copies")]
    asked = bool(said["request"]) and counts == sorted(counts) and counts[1] > 0
    proof, empty = said["proof"], hashlib.sha256().hexdigest()
    replayed = proof["weights"] == said["unlearned"] and not proof["reason"]
    met = (proof["outcome"] != "identical" or replayed) and said["forgotten"] != empty
    excused = why == "not_served" or (why == "test_only" and counts[0] == counts[1])
    changed = (excused if same else why == "no") and times == sorted(times)
    done = [*said["erasure"]["destroyed"].values(), *said["erasure"]["rewritten"].values()]
    whole = asked and met and changed and sum(done) > 0 and not said["erasure"]["left"]
    values, reason = said["measurements"], said["unmeasured"]
    unserved = said["unlearned"] == hashlib.sha256(b"[]").hexdigest()
    seen = (reason == "nothing_served") == unserved and (reason == "no_test_record") <= (not values)
    return whole and seen and bool(values or reason != "no") and all(map(possible, values))


def possible(one: dict[str, Any]) -> bool:
    (least, most), (low, high) = RANGES.get(one["name"], (-math.inf, math.inf)), one["interval"]
    return bool(one["n"] > 0 and least <= low <= one["value"] <= high <= most)


def follows(one: dict[str, Any]) -> bool:
    p, trace = one["p" if one["exploratory"] else "p_corrected"], one["null"] == "no_trace"
    told = True if trace else None if one["as_removal"] is None else False
    told = told if (one["power"] or 0) >= 0.8 else None
    if one["refused"] or p is None:
        told = None
    elif p < one["level"]:
        told = False if trace else one["as_removal"]
    names = {None: "no_power", True: "removed_supported", False: FOUND}
    return bool(one["outcome"] == names[told])


def carried(claim: dict[str, Any], proof: dict[str, Any], clean: bool) -> bool:
    sense = proof["sense"] in ("retrain", claim.get("sense", "retrain"))
    met = sense and proof["outcome"] == "identical" and proof["compared"] > 0
    if claim["kind"] == "certified" and (met := clean and (met or proof["outcome"] == "not_run")):
        met = claim["epsilon"] >= 0 and 0 <= claim["delta"] <= 1 and claim["assumption"].strip()
    return bool(claim["kind"] == "empirical" or met)


if __name__ == "__main__":
    CERTIFICATE, KEY, FOLDER = (Path(argument) for argument in sys.argv[1:4])
    FAILED = failed(CERTIFICATE.read_bytes(), KEY.read_bytes(), FOLDER, *sys.argv[4:])
    print(*FAILED, sep="\n")
    sys.exit(bool(FAILED))
