"""Bars where somebody looks, nothing where nobody does."""

from __future__ import annotations

import io
import sys

import pytest

from rescind.progress import Bars


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    with Bars() as progress:
        progress("shard 0", 1, 2)
        progress("shard 1", 1, 4)
        progress("shard 0", 2, 2)
    said = screen.getvalue()
    assert "shard 0" in said
    assert "shard 1" in said


def test_a_pipe_gets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = io.StringIO()
    monkeypatch.setattr(sys, "stderr", pipe)
    with Bars() as progress:
        progress("shard 0", 1, 2)
    assert pipe.getvalue() == ""
