"""A second verifier of mask proofs: whole numbers of Python, and nothing shared with the prover.

It was written from ``docs/concepts/mask-proof.md``. Field, transforms, hashing, challenges, layout
and equations are its own; it is slow, and says what it checked. Use it where the first verifier is
not to be taken at its word. Only the standard library is imported.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

P = 2**64 - 2**32 + 1
SLACK = 7
CHECKED = (
    "the rows are near code words",
    "the equations hold in every lane: mask, still blocks, compensation, bytes",
    "the change along the forget gradient reaches each tensor's floor",
)
MAGIC = b"rescind mask proof file 1\n"
TREES = ("weights", "gradients", "post", "aux", "helpers")
Ext = tuple[int, ...]
Rows = Sequence[Sequence[int]]
Opened = dict[str, list[int]]
Given = dict[str, list[list[int]]]


class _Drawn(NamedTuple):
    point: Ext
    table: list[Ext]
    rows: list[Ext]
    equations: list[Ext]
    floors: list[Ext]


class Rejected(Exception):
    """The proof does not show the statement; the text says which check failed."""


def verify(
    statement: bytes,
    mask: Sequence[Sequence[int]],
    direction: Sequence[Sequence[int]],
    proof: bytes,
) -> list[str]:
    """What was checked, or an error.

    Args:
        statement: the canonical JSON that the certificate names.
        mask: 0 or 1, a list a block.
        direction: whole numbers from -127 to 127, a list a block.
        proof: the file.

    Raises:
        Rejected: it names the check.
    """
    try:
        s = _Statement(statement)
        s.check_public(mask, direction)
        return _Check(s, mask, direction, proof).run()
    except (ArithmeticError, LookupError, TypeError, ValueError, RecursionError) as error:
        raise Rejected(f"statement: it is malformed: {str(error)[:80]}") from error


class _Statement:
    """The numbers of a statement, and what follows from them."""

    def __init__(self, data: bytes) -> None:
        said: dict[str, Any] = json.loads(data)
        again = json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        if again.encode() != data:
            raise Rejected("statement: its JSON is not canonical")
        if said["version"] != "mask-and-compensate 1":
            raise Rejected("statement: another version")
        self.data, self.said = data, said
        self.d, self.k, self.t = said["degree"], said["size"], said["opened"]
        self.b, self.n, self.bits = said["block"], said["sketches"], said["residual_bits"]
        self.v, self.tensors = said["value_bytes"], said["tensors"]
        two = self.k if self.k % 3 else self.k // 3
        fine = self.d in (2, 3) and not two & (two - 1) and 0 < self.t < self.k
        fine = fine and 8 <= self.bits <= 32 and min(self.b, self.n) >= 1 and self.v in (2, 3)
        for x in self.tensors:
            fine = fine and 1 <= x["damping"] < 2**32 and 0 <= x["pull"] < 2**32
            fine = fine and abs(x["floor"]) < 2**62 and min(x["shape"]) >= 1
        if not fine:
            raise Rejected("statement: numbers out of range")
        self.counts = [-(-prod(x["shape"]) // self.b) for x in self.tensors]
        self.blocks, self.lanes = sum(self.counts), self.k - self.t
        self.stacks, self.columns = -(-self.blocks // self.lanes), 4 * self.k
        self.bytes_, self.partial = -(-self.bits // 8), self.bits % 8
        self.looked = 2 * self.v + self.bytes_ + (self.partial > 0) + self.n
        self.aux = 2 * (self.v - 1) + self.bytes_ + 1
        self.each = {
            "weights": self.b,
            "gradients": self.b * self.n,
            "post": self.b,
            "aux": self.b * self.aux + self.n + 256 + 1 + SLACK,
            "helpers": self.d * (self.b * self.looked + SLACK),
        }
        self.constraints = self.b * (3 + self.looked) + self.n + 2 + SLACK

    def check_public(
        self, mask: Sequence[Sequence[int]], direction: Sequence[Sequence[int]]
    ) -> None:
        shape = f"{self.blocks},{self.b}\n".encode()
        if any(len(x) != self.blocks or {*map(len, x)} != {self.b} for x in (mask, direction)):
            raise Rejected("public: another shape")
        bits = "".join(str(int(x)) for row in mask for x in row)
        packed = (int(bits, 2) << -len(bits) % 8).to_bytes(-(-len(bits) // 8), "big")
        signed = bytes(x & 255 for row in direction for x in row)
        for what, data in (("mask", packed), ("direction", signed)):
            if hashlib.sha256(what.encode() + b"\n" + shape + data).hexdigest() != self.said[what]:
                raise Rejected(f"public: another {what}")


class _Transcript:
    def __init__(self, statement: bytes) -> None:
        self.state = hashlib.sha256(b"rescind mask proof 1\n").digest()
        self.absorb("statement", statement)

    def absorb(self, label: str, data: bytes) -> None:
        head = f"{label}:{len(data)}\n".encode()
        self.state = hashlib.sha256(self.state + head + data).digest()

    def elements(self, label: str, count: int) -> list[int]:
        stream, more, found = hashlib.shake_256(self.state + label.encode()), 8, list[int]()
        while len(found) < count:
            found = [x for x in _words(stream.digest(8 * (count + more)), 8) if x < P]
            more *= 2
        return found[:count]

    def drawn_columns(self, count: int, size: int) -> list[int]:
        stream, words, found = hashlib.shake_256(self.state + b"columns"), 4 * count, list[int]()
        while len(found) < count:
            fine = (w for w in _words(stream.digest(4 * words), 4) if w < 2**32 // size * size)
            found = list(dict.fromkeys(w % size for w in fine))
            words *= 2
        return found[:count]


def _words(data: bytes, size: int) -> list[int]:
    return [int.from_bytes(data[i : i + size], "little") for i in range(0, len(data), size)]


def _times(a: Ext, b: Ext) -> Ext:
    d = len(a)
    found = [0] * d
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            found[(i + j) % d] += x * y * (7 if i + j >= d else 1)
    return tuple(x % P for x in found)


def _inverse(a: Ext) -> Ext:
    found, square, power = (1,) + (0,) * (len(a) - 1), a, P ** len(a) - 2
    while power:
        if power & 1:
            found = _times(found, square)
        square, power = _times(square, square), power >> 1
    return found


def _horner(coefficients: Sequence[int], x: int) -> int:
    total = 0
    for c in reversed(coefficients):
        total = (total * x + c) % P
    return total


def _transform(values: Sequence[int], root: int) -> list[int]:
    """Values of the polynomial with these coefficients at the powers of a root."""
    if len(values) % 2:
        return [_horner(values, pow(root, j, P)) for j in range(len(values))]
    even, odd = (_transform(values[i::2], root * root % P) for i in (0, 1))
    found, power = [0] * len(values), 1
    half = len(even)
    for i in range(half):
        moved = odd[i] * power % P
        found[i], found[i + half] = (even[i] + moved) % P, (even[i] - moved) % P
        power = power * root % P
    return found


class _Check:
    """One proof, step by step."""

    def __init__(self, s: _Statement, mask: Rows, direction: Rows, proof: bytes) -> None:
        self.s, self.mask, self.direction = s, mask, direction
        depth, masks = (s.columns - 1).bit_length(), {"helpers": 3 * s.d}
        self.rows = {tree: s.stacks * n + masks.get(tree, 0) for tree, n in s.each.items()}
        column = sum(8 * r + 32 + 32 * depth for r in self.rows.values())
        length = len(MAGIC) + 64 + 40 * s.d * s.k + s.t * column
        if len(proof) != length or not proof.startswith(MAGIC):
            raise Rejected("file: another length")
        self.data, self.place = proof, len(MAGIC)
        self.roots = {t: bytes.fromhex(s.said[t]) for t in TREES[:3]}
        self.roots |= {t: self.take(32) for t in TREES[3:]}
        self.p, self.q, self.r = ([self.numbers(w * s.k) for _ in range(s.d)] for w in (1, 2, 2))

    def take(self, count: int) -> bytes:
        self.place += count
        return self.data[self.place - count : self.place]

    def numbers(self, count: int) -> list[int]:
        found = _words(self.take(8 * count), 8)
        if any(x >= P for x in found):
            raise Rejected("file: a number is not below p")
        return found

    def run(self) -> list[str]:
        s, transcript = self.s, _Transcript(self.s.data)
        transcript.absorb("aux", self.roots["aux"])
        point = tuple(transcript.elements("point", s.d))
        transcript.absorb("helpers", self.roots["helpers"])
        rows = s.stacks * sum(s.each.values())
        end = rows + s.stacks * s.constraints
        numbers = transcript.elements("factors", s.d * (end + len(s.tensors)))
        factors = [tuple(numbers[i : i + s.d]) for i in range(0, len(numbers), s.d)]
        table = [_inverse(((point[0] - t) % P, *point[1:])) for t in range(256)]
        self.drawn = _Drawn(point, table, factors[:rows], factors[rows:end], factors[end:])
        for name, polynomial in (("p", self.p), ("q", self.q), ("r", self.r)):
            data = b"".join(x.to_bytes(8, "little") for row in polynomial for x in row)
            transcript.absorb(name, data)
        columns = transcript.drawn_columns(s.t, s.columns)
        self.check_sent()
        public = self.public_rows(columns)
        for at, column in enumerate(columns):
            found = {tree: self.column(tree, column) for tree in TREES}
            x = 7 * pow(pow(7, (P - 1) // s.columns, P), column, P) % P
            self.check_rows(x, found)
            self.check_equations(x, at, found, public)
        return [f"{s.t} columns of five trees are under their roots", *CHECKED]

    def check_sent(self) -> None:
        s, floors = self.s, self.drawn.floors
        root = pow(7, (P - 1) // s.k, P)
        for row in self.q:
            folded = [(row[i] + row[i + s.k]) % P for i in range(s.k)]
            if any(_transform(folded, root)[: s.lanes]):
                raise Rejected("equations: they do not hold in every lane")
        for c, row in enumerate(self.r):
            wanted = sum(
                f[c] * tensor["floor"] for f, tensor in zip(floors, s.tensors, strict=True)
            )
            if (row[0] + row[s.k]) * s.k % P != wanted % P:
                raise Rejected("floor: a tensor does not reach it")

    def column(self, tree: str, column: int) -> list[int]:
        s, start = self.s, self.place
        found = self.numbers(self.rows[tree])
        data, salt = self.data[start : self.place], self.take(32)
        node = hashlib.sha256(b"\x00" + tree.encode() + b"\n" + salt + data).digest()
        for up in range((s.columns - 1).bit_length()):
            other = self.take(32)
            pair = other + node if column >> up & 1 else node + other
            node = hashlib.sha256(b"\x01" + pair).digest()
        if node != self.roots[tree]:
            raise Rejected(f"columns: column {column} of {tree} is not under its root")
        return found

    def check_rows(self, x: int, found: Opened) -> None:
        s, factors = self.s, iter(self.drawn.rows)
        total = [found["helpers"][-3 * s.d + c] for c in range(s.d)]
        for tree in TREES:
            for value in found[tree][: s.stacks * s.each[tree]]:
                for c, f in enumerate(next(factors)):
                    total[c] += f * value
        if any(t % P != _horner(self.p[c], x) for c, t in enumerate(total)):
            raise Rejected("proximity: the rows are no code words")

    def public_rows(self, columns: Sequence[int]) -> list[Given]:
        """For each stack mask, freedom, c g, dN and tensors: for each row its opened values."""
        s = self.s
        tensor_of = [i for i, count in enumerate(s.counts) for _ in range(count)]
        still = set(s.said["exceptions"])
        found = []
        for stack in range(s.stacks):
            blocks = range(stack * s.lanes, min(s.blocks, (stack + 1) * s.lanes))
            own = [s.tensors[tensor_of[b]] for b in blocks]
            places, rest = range(s.b), [1] * (s.lanes - len(blocks))
            mask = [[int(self.mask[b][i]) for b in blocks] for i in places]
            free = [int(b in still or not any(self.mask[b])) for b in blocks]
            lanes: dict[str, list[list[int]]] = {
                "mask": mask,
                "free": [
                    [max(f, m) for f, m in zip(free, row, strict=True)] + rest for row in mask
                ],
                "direction": [[self.direction[b][i] for b in blocks] for i in places],
                "lanes": [[t[name] for t in own] for name in ("damping", "pull")],
                "tensors": [[int(t is one) for t in own] for one in s.tensors],
            }
            found.append({n: [self.at(row, columns) for row in rows] for n, rows in lanes.items()})
        return found

    def at(self, row: Sequence[int], columns: Sequence[int]) -> list[int]:
        """The code word of a row, zeros after it, at the opened columns."""
        s = self.s
        values = [x % P for x in row] + [0] * (s.k - len(row))
        over = pow(s.k, -1, P)
        coefficients = _transform(values, pow(pow(7, (P - 1) // s.k, P), -1, P))
        shifted, power = [], over
        for c in coefficients:
            shifted.append(c * power % P)
            power = power * 7 % P
        word = _transform(shifted + [0] * (3 * s.k), pow(7, (P - 1) // s.columns, P))
        return [word[c] for c in columns]

    def check_equations(self, x: int, at: int, found: Opened, public: list[Given]) -> None:
        s, d = self.s, self.s.d
        total, floor = found["helpers"][-2 * d : -d], found["helpers"][-d:]
        for stack in range(s.stacks):
            rows = {t: found[t][stack * s.each[t] : (stack + 1) * s.each[t]] for t in TREES}
            given = {name: [row[at] for row in each] for name, each in public[stack].items()}
            own = self.drawn.equations[stack * s.constraints : (stack + 1) * s.constraints]
            part = _Stack(s, rows, given, self.drawn.point, own)
            value = part.combined(self.drawn.table)
            for c in range(d):
                shares = zip(self.drawn.floors, given["tensors"], strict=True)
                total[c] += value[c]
                floor[c] += part.summed * sum(f[c] * share for f, share in shares)
        for what, values, sent in (("equations", total, self.q), ("floor", floor, self.r)):
            if any(v % P != _horner(sent[c], x) for c, v in enumerate(values)):
                raise Rejected(f"{what}: a polynomial is not what the opened columns give")


class _Stack:
    """The equations of one stack at one column."""

    def __init__(
        self, s: _Statement, rows: Opened, given: Opened, point: Ext, factors: Sequence[Ext]
    ) -> None:
        self.s, self.rows, self.given, self.point, self.factors = s, rows, given, point, factors
        rest = rows["aux"][s.b * s.aux :]
        self.seen, self.counts = rest[: s.n], rest[s.n : s.n + 256]
        self.summed, self.slack = rest[s.n + 256], rest[-SLACK:]
        self.helpers = iter(rows["helpers"])
        self.total, self.held = [0] * s.d, [0] * s.d

    def combined(self, table: Sequence[Ext]) -> list[int]:
        s, n = self.s, self.s.n
        rest = self.factors[s.b * (3 + s.looked) :]
        true_seen, pulled = [0] * n, 0
        for i in range(s.b):
            change, g = self.place(i)
            true_seen = [t + v * change for t, v in zip(true_seen, g, strict=True)]
            pulled += self.given["direction"][i] * change
        for factor, a, b in zip(rest[:n], self.seen, true_seen, strict=True):
            self.add(factor, a - b)
        for value, factor in zip(self.slack, rest[n + 2 :], strict=True):
            self.look(value, factor)
        for t, count in enumerate(self.counts):
            self.held = [h - x * count for h, x in zip(self.held, table[t], strict=True)]
        for c, product in enumerate(_times(rest[n], tuple(h % P for h in self.held))):
            self.total[c] += product
        spare = sum(256**j * v for j, v in enumerate(self.slack))
        self.add(rest[n + 1], pulled - spare - self.summed)
        return self.total

    def place(self, i: int) -> tuple[int, Sequence[int]]:
        """Its equations; D and G of it."""
        s = self.s
        w, post = self.rows["weights"][i], self.rows["post"][i]
        g = self.rows["gradients"][i * s.n : (i + 1) * s.n]
        aux = self.rows["aux"][i * s.aux : (i + 1) * s.aux]
        m, f = self.given["mask"][i], self.given["free"][i]
        own, change = self.factors[i * (3 + s.looked) :], post - w
        low, half = s.v - 1, 2 ** (8 * s.v - 1)
        of_w, of_change, bytes_ = aux[:low], aux[low : 2 * low], aux[2 * low : -1]
        residual = sum(256**j * v for j, v in enumerate(bytes_)) - 2 ** (s.bits - 1)
        damping, pull = self.given["lanes"]
        left = damping * change - pull * self.given["direction"][i]
        left += sum(a * b for a, b in zip(g, self.seen, strict=True))
        self.add(own[0], m * post)
        self.add(own[1], (f - m) * change)
        self.add(own[2], left - residual - f * aux[-1])
        over, looked = pow(256, -low, P), list[int]()
        for number, lower in ((w, of_w), (change, of_change)):
            rest = number + half - sum(256**j * v for j, v in enumerate(lower))
            looked += [*lower, rest * over]
        looked += bytes_ + ([bytes_[-1] * 2 ** (8 - s.partial)] if s.partial else [])
        for value, factor in zip(looked + [v + 128 for v in g], own[3 : 3 + s.looked], strict=True):
            self.look(value, factor)
        return change, g

    def add(self, factor: Ext, value: int) -> None:
        for c, one in enumerate(factor):
            self.total[c] += one * value

    def look(self, value: int, factor: Ext) -> None:
        """A helper times X minus the value is 1."""
        helper = tuple(next(self.helpers) for _ in range(self.s.d))
        product = _times(helper, ((self.point[0] - value) % P, *self.point[1:]))
        one = _times(factor, ((product[0] - 1) % P, *product[1:]))
        for c, h in enumerate(helper):
            self.total[c] += one[c]
            self.held[c] += h
