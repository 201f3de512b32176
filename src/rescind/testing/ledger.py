"""What every ledger must do: inherit the class, make a ledger, run it with pytest."""

from __future__ import annotations

import threading
from datetime import datetime
from unittest import TestCase

from rescind.core.canonical import digest, plain
from rescind.core.errors import Busy
from rescind.core.protocols import Entry, Ledger, Write

_check = TestCase()


class LedgerContract:
    """Tests over ``make``; a subclass named ``Test...`` in a test module runs them all."""

    def make(self) -> Ledger:
        """A new, empty ledger; the subclass sees to its end."""
        raise NotImplementedError

    def test_an_empty_ledger_has_no_head(self) -> None:
        ledger = self.make()
        _check.assertEqual(ledger.head(), (0, ""))
        _check.assertEqual(list(ledger.entries()), [])
        ledger.verify()

    def test_append_links_each_entry_to_the_one_before(self) -> None:
        ledger = self.make()
        first = ledger.append(Entry("a"))
        second = ledger.append(Entry("b"))
        _check.assertEqual((first.seq, first.previous), (1, ""))
        _check.assertEqual((second.seq, second.previous), (2, first.digest))
        _check.assertEqual(ledger.head(), (2, second.digest))

    def test_the_digest_covers_every_other_field(self) -> None:
        entry = self.make().append(Entry("a", "r1", {"n": 1}, (Write("t", "k", [1]),)))
        fields = plain(entry)
        del fields["digest"]
        _check.assertEqual(entry.digest, digest(fields))

    def test_the_time_is_filled_in_or_kept(self) -> None:
        ledger = self.make()
        filled = datetime.fromisoformat(ledger.append(Entry("a")).at)
        offset = filled.utcoffset()
        _check.assertTrue(offset is not None and not offset)
        _check.assertEqual(ledger.append(Entry("a", at="2026-01-02")).at, "2026-01-02")

    def test_entries_come_back_as_append_returned_them(self) -> None:
        ledger = self.make()
        facts = {"text": "ä\u2028\x00", "list": (1, 2.5, None, True), "map": {"b": 1, "a": {}}}
        made = [
            ledger.append(Entry("a", "r1", facts, (Write("t", "k", {"x": (1,)}),))),
            ledger.append(Entry("b", None)),
            ledger.append(Entry("c", "r2")),
        ]
        _check.assertEqual(list(ledger.entries()), made)
        _check.assertEqual(list(ledger.entries("r1")), made[:1])
        _check.assertEqual(list(ledger.entries("nobody")), [])

    def test_appending_while_reading_is_fine(self) -> None:
        ledger = self.make()
        for _ in range(3):
            ledger.append(Entry("a"))
        for entry in ledger.entries():
            if entry.seq < 3:
                ledger.append(Entry("b"))
        ledger.verify()
        _check.assertEqual(ledger.head()[0], 5)

    def test_writes_change_projections_and_none_removes(self) -> None:
        ledger = self.make()
        ledger.append(Entry("a", writes=(Write("t", "k", 1), Write("u", "k", "other"))))
        ledger.append(Entry("b", writes=(Write("t", "j", {"deep": [1]}), Write("t", "k", 2))))
        _check.assertEqual(ledger.get("t", "k"), 2)
        _check.assertEqual(ledger.items("t"), {"j": {"deep": [1]}, "k": 2})
        ledger.append(Entry("c", writes=(Write("t", "k", None), Write("t", "never", None))))
        _check.assertIsNone(ledger.get("t", "k"))
        _check.assertEqual(ledger.items("t"), {"j": {"deep": [1]}})
        _check.assertEqual(ledger.items("nothing"), {})
        ledger.verify()

    def test_the_last_of_two_writes_to_a_key_counts(self) -> None:
        ledger = self.make()
        ledger.append(Entry("a", writes=(Write("t", "k", 1), Write("t", "k", 2))))
        ledger.append(Entry("b", writes=(Write("t", "j", 1), Write("t", "j", None))))
        _check.assertEqual(ledger.items("t"), {"k": 2})
        ledger.verify()

    def test_an_entry_that_cannot_be_stored_leaves_nothing(self) -> None:
        ledger = self.make()
        ledger.append(Entry("a", writes=(Write("t", "k", 1),)))
        head = ledger.head()
        with _check.assertRaises(ValueError):
            ledger.append(Entry("b", facts={"x": float("nan")}, writes=(Write("t", "k", 2),)))
        _check.assertEqual((ledger.head(), ledger.get("t", "k")), (head, 1))

    def test_threads_append_one_chain(self) -> None:
        ledger = self.make()

        def work(thread: int) -> None:
            for n in range(10):
                ledger.append(Entry("a", writes=(Write("t", f"{thread}.{n}", n),)))

        threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        ledger.verify()
        _check.assertEqual((ledger.head()[0], len(ledger.items("t"))), (40, 40))

    def test_a_request_is_claimed_once_at_a_time(self) -> None:
        ledger = self.make()
        with ledger.claim("r1"):
            with _check.assertRaises(Busy), ledger.claim("r1"):
                _check.fail("two claims of one request were granted")
            with ledger.claim("r2"):
                pass
        with ledger.claim("r1"):
            pass

    def test_an_error_inside_a_claim_frees_it(self) -> None:
        ledger = self.make()
        with _check.assertRaises(ZeroDivisionError), ledger.claim("r1"):
            raise ZeroDivisionError
        with ledger.claim("r1"):
            pass
