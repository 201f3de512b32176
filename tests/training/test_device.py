"""Batches go where their module lies; a device that is not there is refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rescind.core.errors import BadParameter
from rescind.training.device import beside, checked


def test_tensors_that_are_there_already_are_not_copied() -> None:
    batch = {"array": torch.ones(2, 3)}
    assert beside(nn.Linear(3, 1), batch)["array"] is batch["array"]


def test_a_batch_follows_its_module() -> None:
    module = nn.Linear(3, 1, device="meta")  # a device that every machine has
    found = beside(module, {"array": torch.ones(2, 3), "labels": torch.zeros(2)})
    assert {t.device.type for t in found.values()} == {"meta"}


def test_a_module_without_weights_lies_on_the_processor() -> None:
    assert beside(nn.ReLU(), {"array": torch.ones(1)})["array"].device.type == "cpu"


@pytest.mark.parametrize("name", ["cuda:99", "warp"])
def test_a_device_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(BadParameter, match=f"no device '{name}'"):
        checked(name)


def test_the_processor_is_always_there() -> None:
    assert checked("cpu") == "cpu"
