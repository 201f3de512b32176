"""What a hostile signer, client or provider sends: refused, and nothing else happens."""

from __future__ import annotations

import io
import json
import random
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from parties import made, received

from rescind.cli import opening
from rescind.core.canonical import dumps
from rescind.core.certificate import PAYLOAD_TYPE
from rescind.core.errors import BadData, BadParameter, RescindError
from rescind.proofs.reading import parse_json
from rescind.proofs.signing import KeySigner, from_envelope
from rescind.zk import files, signed
from rescind.zk.certificate import Brought, issue, verify
from rescind.zk.check import check
from rescind.zk.signed import sealed
from rescind.zk.tensors import load_public, save_public
from rescind.zk.terms import Epoch, MaskOrder

SIGNER = KeySigner(b"k" * 32)
HOSTILE: tuple[Any, ...] = (
    None, True, -1, 0, 1, 255, 2**31, 2**63, 2**64, 10**400, -(10**30), 0.5, 1e308, -0.0,
    "", "x", "0" * 64, "\x00", "é" * 70, [], [[]], {}, [1, 2], {"a": 1}, [0] * 5000,
)  # fmt: skip


@cache
def certificate() -> Any:
    """The signed payload of an honest certificate, as plain values."""
    got, _, _ = received()
    return parse_json(from_envelope(parse_json(issue(got, check(got), SIGNER))).payload)


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Ways to all values within a value, the inner ones too."""
    if at:
        yield at
    if isinstance(value, (dict, list)):
        for name, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(item, (*at, name))


def damaged(value: Any, draw: random.Random) -> tuple[Any, tuple[Any, ...]]:
    """A copy with one value left out, twice there, or another one, and where."""
    value = json.loads(json.dumps(value))
    where = draw.choice(list(places(value)))
    owner = value
    for name in where[:-1]:
        owner = owner[name]
    how = draw.randrange(8)
    if how == 0:
        owner.pop(where[-1])
    elif how == 1 and isinstance(owner, list):
        owner.append(owner[where[-1]])
    elif how == 2 and isinstance(owner, dict):
        owner["more"] = owner[where[-1]]
        where = (*where[:-1], "more")
    elif how == 3 and type(owner[where[-1]]) is int:
        owner[where[-1]] += draw.choice([-1, 1])
    else:
        owner[where[-1]] = draw.choice(HOSTILE)
    return value, where


@pytest.mark.parametrize("seed", [*range(8), 1006, 1055, 1152])  # three that once crashed
def test_whatever_a_signer_signs_is_a_failed_check_and_no_crash(seed: int) -> None:
    """Forty certificates each, changed at a drawn place and signed again by who knows the key."""
    draw, (got, _, _) = random.Random(seed), received()
    whole = len(list(places(certificate())))
    brought = Brought(key=bytes.fromhex(public()), proof=got.proof, public=got.public)
    for _ in range(40):
        value, where = damaged(certificate(), draw)
        if value == certificate():
            continue
        envelope = sealed(PAYLOAD_TYPE, dumps(value), SIGNER)
        found = verify(envelope, brought)
        failed = [c.name for c in found.checks if c.outcome == "failed"]
        left_out = where[-1] in DEFAULTS and len(list(places(value))) < whole
        assert failed or where in ATTESTED or left_out, (where, found.checks)


@cache
def public() -> str:
    """The signer's public key, as in its own envelopes."""
    got, _, _ = received()
    return from_envelope(parse_json(issue(got, check(got), SIGNER))).signatures[0].public


# a field that is left out where it has a default says the same
DEFAULTS = {"floor", "pull", "post", "spot"}
# what the signer states and nothing contradicts; unknown fields are passed over, as in-toto asks
ATTESTED = {
    ("predicate", "issued_at"),
    ("predicateType",),
    ("predicate", "more"),
    ("more",),
}


@pytest.mark.parametrize("kind", [Epoch, MaskOrder])
def test_whatever_a_provider_publishes_is_refused_or_read(kind: Any) -> None:
    got, _, _ = received()
    said = got.epoch if kind is Epoch else got.order
    draw, key = random.Random(7), bytes.fromhex(public())
    envelope = from_envelope(parse_json(signed.sign(said, SIGNER)))
    honest, refused = parse_json(envelope.payload), 0
    for _ in range(400):
        value, _ = damaged(honest, draw)
        data = sealed(envelope.payload_type, dumps(value), SIGNER)
        try:
            assert isinstance(signed.opened(kind, data, key), kind)
        except RescindError:
            refused += 1
    assert refused > 100


def bomb(shape: tuple[int, ...], size: int) -> bytes:
    """A mask.npz that says it has a shape, over ``size`` zeros."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as found:
        for name, kind in (("mask", "|b1"), ("direction", "|i1")):
            head = io.BytesIO()
            said = {"descr": kind, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(head, said)
            found.writestr(f"{name}.npy", head.getvalue() + bytes(size))
    return held.getvalue()


def pickled() -> bytes:
    held = io.BytesIO()
    np.savez(held, mask=np.array([{"a": 1}]), direction=np.zeros((1, 1), np.int8))
    return held.getvalue()


def written() -> bytes:
    held = io.BytesIO()
    np.savez_compressed(held, mask=made().public.mask, direction=made().public.direction)
    return held.getvalue()


def npy() -> bytes:
    held = io.BytesIO()
    np.save(held, made().public.mask)
    return held.getvalue()


def twos() -> bytes:
    held = io.BytesIO()
    np.savez(held, mask=np.full((2, 2), 2, np.uint8).view(bool), direction=np.ones((2, 2), "i1"))
    return held.getvalue()


MASKS: dict[str, Callable[[], bytes]] = {
    "terabytes that are not there": lambda: bomb((10**6, 10**6), 100),
    "more than a mask has": lambda: bomb((2**20, 2**11), 100),
    "gigabytes behind a small shape": lambda: bomb((2, 2), 10**8),
    "fewer than it says": lambda: bomb((100, 100), 99),
    "a negative shape": lambda: bomb((-1, -4), 4),
    "no shape": lambda: bomb((), 1),
    "pickled objects": pickled,
    "an array by itself": npy,
    "neither true nor false": twos,
    "nothing": lambda: b"",
    "no zip": lambda: b"PK\x03\x04" + b"x" * 100,
}


@pytest.mark.parametrize("what", MASKS)
def test_a_hostile_mask_is_refused_in_little_memory(tmp_path: Path, what: str) -> None:
    path = tmp_path / "mask.npz"
    path.write_bytes(MASKS[what]())
    tracemalloc.start()
    try:
        with pytest.raises(BadData, match="holds no mask"):
            load_public(path)
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("seed", range(4))
def test_a_damaged_mask_is_refused_or_is_another_one(tmp_path: Path, seed: int) -> None:
    draw, path, whole = random.Random(seed), tmp_path / "mask.npz", written()
    for _ in range(60):
        data = bytearray(whole[: draw.randrange(len(whole))] if draw.random() < 0.3 else whole)
        for _ in range(draw.randrange(4)):
            if data:
                data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        path.write_bytes(bytes(data))
        try:
            found = load_public(path)
            found.digests()
        except BadData:
            pass


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    save_public(tmp_path / "mask.npz", made().public)
    found = load_public(tmp_path / "mask.npz")
    assert found.digests() == made().public.digests()
    assert found.mask.dtype == np.bool_ and found.direction.dtype == np.int8


def test_a_file_that_is_larger_than_any_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "proof.bin"
    path.write_bytes(bytes(101))
    for module, read in ((files, files.read_bytes), (opening, lambda p: opening.bytes_of(p, "x"))):
        monkeypatch.setattr(module, "LARGEST", 100)
        with pytest.raises(BadParameter, match="101 bytes"):
            read(path)
        monkeypatch.setattr(module, "LARGEST", 101)
        assert read(path) == bytes(101)
