"""Size and time of a proof of lineage, and of its trees, over records, parts and entries.

    python benchmarks/lineage_proof.py

Trees of manifests of 1,000 to 100,000 records, of 27 to 1,000 parts and of 100 to 10,000 entries of
a ledger: CPU milliseconds to write and to open, bytes of a path, and the microseconds to check it.
It writes benchmarks/results/lineage_proof.json. One thread.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import time
from pathlib import Path

from rescind.core.canonical import dumps, plain
from rescind.proofs import merkle
from rescind.proofs.consistency import consistency
from rescind.proofs.key_tree import KeyTree, verify_absent, verify_present

RESULT = Path(__file__).parent / "results" / "lineage_proof.json"
SECRET = b"s" * 32
REPEATS = 20


def manifest(records: int) -> dict[str, float]:
    """Of a tree by key."""
    contents = {f"record {n}": b'["digest",1,"0.0"]' for n in range(records)}
    start = time.process_time()
    tree = KeyTree.draw(contents, SECRET)
    made = time.process_time() - start
    start = time.process_time()
    there, gone = tree.present("record 7"), tree.absent("another")
    opened = (time.process_time() - start) / 2
    start = time.process_time()
    for _ in range(REPEATS):
        verify_present(tree.head, "record 7", contents["record 7"], there)
        verify_absent(tree.head, "another", gone)
    checked = (time.process_time() - start) / REPEATS / 2
    return {
        "records": records,
        "write_cpu_ms": round(1e3 * made, 1),
        "write_cpu_us_a_record": round(1e6 * made / records, 1),
        "open_cpu_ms": round(1e3 * opened, 2),
        "check_cpu_ms": round(1e3 * checked, 3),
        "present_bytes": len(dumps(plain(there))),
        "absent_bytes": len(dumps(plain(gone))),
    }


def leaves(count: int) -> dict[str, float]:
    """Of a tree over parts or entries."""
    found = [hashlib.sha256(b"%d" % n).hexdigest() for n in range(count)]
    start = time.process_time()
    root, path = merkle.root(found), merkle.inclusion(found, count // 2)
    made = time.process_time() - start
    start = time.process_time()
    for _ in range(REPEATS):
        merkle.verify_inclusion(found[count // 2], count // 2, count, path, root)
    checked = (time.process_time() - start) / REPEATS
    on = consistency(found, count // 3)
    return {
        "leaves": count,
        "root_and_path_cpu_ms": round(1e3 * made, 2),
        "check_cpu_ms": round(1e3 * checked, 3),
        "path_bytes": len(dumps(list(path))),
        "consistency_bytes": len(dumps(list(on))),
    }


def main() -> None:
    """Measure and store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--records", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--leaves", type=int, nargs="+", default=[27, 100, 1_000, 10_000])
    args = parser.parse_args()
    found = {
        "what": "Trees of a proof of lineage.",
        "command": "python benchmarks/lineage_proof.py",
        "system": f"{platform.system()} {platform.machine()}, 1 thread, beside other work",
        "manifests": [manifest(n) for n in args.records],
        "trees": [leaves(n) for n in args.leaves],
    }
    args.out.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
