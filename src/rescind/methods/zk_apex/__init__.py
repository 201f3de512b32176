"""Mask and compensate (ZK-APEX, arXiv 2512.09953), with a directed step that forgets."""

from __future__ import annotations

from rescind.methods.zk_apex.method import ZkApex

__all__ = ["ZkApex"]
