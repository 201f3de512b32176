"""What every artifact store must do: inherit the class, make a store, run it with pytest."""

from __future__ import annotations

from unittest import TestCase

from rescind.core.errors import DamagedArtifact
from rescind.core.lineage import Artifact
from rescind.core.protocols import Artifacts

A, B = frozenset({"0.0"}), frozenset({"0.1"})

_check = TestCase()


def _names(found: tuple[Artifact, ...]) -> list[str]:
    return [artifact.name for artifact in found]


class ArtifactsContract:
    """Tests over ``make``; a subclass named ``Test...`` in a test module runs them all."""

    def make(self) -> Artifacts:
        """A new, empty store; the subclass sees to its end."""
        raise NotImplementedError

    def test_what_was_put_is_got(self) -> None:
        store = self.make()
        for name, data in (("empty", b""), ("small", b"abc"), ("big", bytes(range(256)) * 4096)):
            made = store.put(name, "snapshot", data, A | B)
            _check.assertEqual(store.get(name), data)
            _check.assertEqual(store.find(name), made)
            _check.assertEqual((made.size, made.cells, made.sealed), (len(data), A | B, False))

    def test_an_unknown_name_is_damaged_for_get_and_none_for_find(self) -> None:
        store = self.make()
        _check.assertIsNone(store.find("nobody"))
        with _check.assertRaises(DamagedArtifact) as caught:
            store.get("nobody")
        _check.assertIn("nobody", str(caught.exception))

    def test_addresses_follow_the_content(self) -> None:
        store = self.make()
        one = store.put("one", "rows", b"same", A)
        two = store.put("two", "rows", b"same", B)
        other = store.put("other", "rows", b"other", A)
        _check.assertEqual(one.address, two.address)
        _check.assertNotEqual(one.address, other.address)

    def test_list_finds_by_any_cell_and_sorts_by_name(self) -> None:
        store = self.make()
        store.put("c", "snapshot", b"1", A)
        store.put("a", "snapshot", b"2", A | B)
        store.put("b", "manifest", b"3", frozenset())
        _check.assertEqual(_names(store.list()), ["a", "b", "c"])
        _check.assertEqual(_names(store.list(A)), ["a", "c"])
        _check.assertEqual(_names(store.list(B)), ["a"])
        _check.assertEqual(_names(store.list(A | B)), ["a", "c"])
        _check.assertEqual(store.list(frozenset()), ())
        _check.assertEqual(store.list(frozenset({"9.9"})), ())

    def test_put_replaces_a_known_name_and_all_that_was_said_of_it(self) -> None:
        store = self.make()
        store.put("n", "rows", b"old", A)
        store.seal(["n"])
        new = store.put("n", "snapshot", b"new one", B)
        _check.assertEqual(store.get("n"), b"new one")
        _check.assertEqual(store.list(), (new,))
        _check.assertEqual((new.kind, new.sealed, store.list(A)), ("snapshot", False, ()))

    def test_putting_equal_bytes_again_changes_only_what_is_said_of_them(self) -> None:
        store = self.make()
        store.put("n", "rows", b"same", A)
        again = store.put("n", "rows", b"same", B)
        _check.assertEqual((store.get("n"), store.list()), (b"same", (again,)))
        _check.assertEqual((store.list(A), store.list(B)), ((), (again,)))

    def test_seal_marks_and_keeps_readable(self) -> None:
        store = self.make()
        store.put("n", "snapshot", b"1", A)
        store.put("m", "snapshot", b"1", A)
        store.seal(["n"])
        found = {a.name: a.sealed for a in store.list()}
        _check.assertEqual((found, store.get("n")), ({"n": True, "m": False}, b"1"))

    def test_seal_passes_over_what_is_gone(self) -> None:
        store = self.make()
        store.put("n", "snapshot", b"1", A)
        store.seal(["nobody", "n"])
        store.seal([])
        _check.assertEqual([a.sealed for a in store.list()], [True])

    def test_destroy_removes_and_may_be_repeated(self) -> None:
        store = self.make()
        store.put("n", "snapshot", b"1", A)
        store.put("m", "snapshot", b"2", A)
        for _ in range(2):
            store.destroy(["n"])
            _check.assertIsNone(store.find("n"))
            _check.assertEqual(_names(store.list()), ["m"])
            with _check.assertRaises(DamagedArtifact):
                store.get("n")
        store.destroy([])
        _check.assertEqual(store.get("m"), b"2")

    def test_shared_bytes_live_until_their_last_name_goes(self) -> None:
        store = self.make()
        for name in "abc":
            store.put(name, "snapshot", b"shared", A)
        store.destroy(["a"])
        store.put("b", "snapshot", b"other", A)
        _check.assertEqual(store.get("c"), b"shared")
        store.destroy(["c"])
        _check.assertEqual(_names(store.list()), ["b"])

    def test_a_destroyed_name_may_be_put_again(self) -> None:
        store = self.make()
        for data in (b"1", b"1", b"2"):
            store.put("n", "snapshot", data, A)
            _check.assertEqual(store.get("n"), data)
            store.destroy(["n"])
        _check.assertEqual(store.list(), ())
