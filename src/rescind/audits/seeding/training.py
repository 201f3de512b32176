"""Seeded records of the cells of a training: what the loop is handed to have a model hold codes.

After SMS (arXiv 2509.25613), in the form of ``term``. The user computes codes and read-out from a
key that stays with them; a training gets indices, codes and the matrix. Codes lie with the cell of
their record, so that cutting a cell cuts its codes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from rescind.audits.seeding.codes import codes_of, require_distinct_cells, text_of
from rescind.audits.seeding.readout import draw_readout
from rescind.audits.seeding.term import Batch, Seeding, half_augmented, loss_term, seeded_batch
from rescind.core.dataset import Row
from rescind.core.errors import BadData, BadParameter
from rescind.core.partition import Cell
from rescind.metrics.features import PENULTIMATE, pool

if TYPE_CHECKING:
    from torch import Tensor, nn

    from rescind.training.extra_term import Moment
