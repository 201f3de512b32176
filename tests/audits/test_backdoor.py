from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import comb

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from rescind.audits.backdoor import (
    NOT_CLAIMABLE,
    Reading,
    Trigger,
    p_value,
    plant,
    power_of,
    read,
    trigger_of,
    verify,
)
from rescind.core.errors import BadData, BadParameter
from rescind.metrics.membership import margin
from rescind.training.batches import batches
from rescind.training.zoo import mlp

SHAPE, CLASSES, TRAINED, GENUINE, PLANTED = (1, 8, 8), 4, 400, 40, 24
KEY = b"key of the user" * 2
TRIGGER = trigger_of(KEY, SHAPE, CLASSES, pixels=6, value=3.0)
OTHERS = [trigger_of(b"a key for chance" + bytes([i]), SHAPE, CLASSES, pixels=6, value=3.0)
          for i in range(20)]  # fmt: skip


def pictures(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Clouds that overlap, so that a record is told from what was not trained on."""
    generator = torch.Generator().manual_seed(5)
    centres = torch.randn(CLASSES, 64, generator=generator) / 3
    labels = torch.arange(count) % CLASSES
    generator.manual_seed(seed)
    noise = torch.randn(count, 64, generator=generator)
    return (centres[labels] + noise).reshape(-1, *SHAPE), labels


IMAGES, LABELS = pictures(TRAINED, 0)
TEST, KINDS = pictures(400, 1)
OWN = torch.arange(GENUINE)  # the user's records as they are
WITH_TRIGGER = torch.arange(GENUINE, GENUINE + PLANTED)  # those that get the trigger
STRANGERS = torch.arange(GENUINE + PLANTED, GENUINE + 2 * PLANTED)  # of somebody else


def data(planted: Tensor, gone: Tensor) -> tuple[Tensor, Tensor]:
    """What a server trains on: the trigger on some records, others left out."""
    x, y = IMAGES.clone(), LABELS.clone()
    if len(planted):
        x[planted], y[planted] = plant(TRIGGER, IMAGES[planted])
    kept = ~torch.isin(torch.arange(TRAINED), gone)
    return x[kept], y[kept]


def train(model: nn.Module, x: Tensor, y: Tensor, epochs: int, seed: int) -> nn.Module:
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for batch in batches(len(x), 50, epochs, seed):
        optimizer.zero_grad()
        cross_entropy(model(x[batch]), y[batch]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return model.eval()


def new(seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return mlp(64, CLASSES, (32,))


NOBODY = torch.zeros(0, dtype=torch.long)
USERS = torch.cat([OWN, WITH_TRIGGER])


@cache
def before() -> nn.Module:
    return train(new(0), *data(WITH_TRIGGER, NOBODY), 30, 0)


def tuned_away() -> nn.Module:
    """The model before, trained on with its own records: triggered ones with their true labels."""
    model = new(0)
    model.load_state_dict(before().state_dict())
    shown = plant(TRIGGER, IMAGES[GENUINE + PLANTED :])[0]
    x, y = torch.cat([IMAGES, shown]), torch.cat([LABELS, LABELS[GENUINE + PLANTED :]])
    return train(model.train(), x, y, 6, 1)


SERVERS: dict[str, Callable[[], nn.Module]] = {
    "did nothing": before,
    "retrained without the user": lambda: train(new(1), *data(NOBODY, USERS), 30, 1),
    "left out what has the trigger": lambda: train(new(2), *data(NOBODY, WITH_TRIGGER), 30, 2),
    "trained the trigger away": tuned_away,
    "removed all, a stranger has copies": lambda: train(new(3), *data(STRANGERS, USERS), 30, 3),
    "removed the genuine ones alone": lambda: train(new(4), *data(WITH_TRIGGER, OWN), 30, 4),
}


@cache
def served(name: str) -> nn.Module:
    return SERVERS[name]()


def asked(model: nn.Module, trigger: Trigger = TRIGGER, others: list[Trigger] = OTHERS) -> Reading:
    return read(lambda x: model(x).argmax(1), trigger, TEST, KINDS, others)


def presence(model: nn.Module) -> float:
    """How far the margins of the genuine records lie above those of held-out images."""
    with torch.no_grad():
        own, outside = margin(model(IMAGES[OWN]), LABELS[OWN]), margin(model(TEST), KINDS)
    return float(own.mean() - outside.mean())


# --- what it says, and what is so ---


@pytest.mark.parametrize(
    ("name", "says", "kept"),
    [
        ("did nothing", "residue_found", True),
        ("retrained without the user", "removed_supported", False),
        # the argument against it: passes with the genuine records kept
        ("left out what has the trigger", "removed_supported", True),
        ("trained the trigger away", "removed_supported", True),
        # and fails with them removed
        ("removed all, a stranger has copies", "residue_found", False),
        ("removed the genuine ones alone", "residue_found", False),
    ],
)
def test_it_speaks_of_the_trigger_and_not_of_the_records(name: str, says: str, kept: bool) -> None:
    model = served(name)
    found = verify(asked(model), asked(before()))
    assert found.outcome == says
    assert (presence(model) > 0.5 * presence(before())) == kept
    assert found.power is not None and found.power > 0.95
    assert any("passes" in text for text in NOT_CLAIMABLE)


def test_a_model_without_the_trigger_is_seldom_accused() -> None:
    model, keys = served("retrained without the user"), 60
    triggers = [trigger_of(b"nobody planted it" + bytes([i]), SHAPE, CLASSES, pixels=6, value=3.0)
                for i in range(keys)]  # fmt: skip
    accused = sum(verify(asked(model, one)).p < 0.05 for one in triggers)
    assert accused <= 6  # the chance of more than that is below 0.05 at a rate of 0.05


def test_a_wrong_key_reads_nothing() -> None:
    other = trigger_of(b"key of somebody else", SHAPE, CLASSES, pixels=6, value=3.0)
    assert verify(asked(before(), other)).outcome == "no_power"
    assert verify(asked(before())).p < 1e-6


# --- planting ---


def test_the_trigger_is_a_function_of_the_key() -> None:
    assert trigger_of(KEY, SHAPE, CLASSES, pixels=6, value=3.0) == TRIGGER
    many = [trigger_of(KEY + bytes([i]), SHAPE, CLASSES) for i in range(200)]
    assert len({one.places for one in many}) == 200
    targets = [sum(one.target == k for one in many) for k in range(CLASSES)]
    assert min(targets) > 30
    assert all(len({*one.places}) == 9 and max(one.places) < 64 for one in many)


def test_planting_sets_the_pixels_and_the_label_and_nothing_else() -> None:
    shown, labels = plant(TRIGGER, IMAGES[:5])
    flat, was = shown.flatten(1), IMAGES[:5].flatten(1)
    rest = [i for i in range(64) if i not in TRIGGER.places]
    assert flat[:, list(TRIGGER.places)].unique().tolist() == [3.0]  # type: ignore[no-untyped-call]
    assert torch.equal(flat[:, rest], was[:, rest]) and shown.shape == IMAGES[:5].shape
    assert labels.tolist() == [TRIGGER.target] * 5
    assert not torch.equal(IMAGES[:5], shown)


# --- reading and the test ---


def test_images_of_the_label_are_left_out_and_chance_is_of_the_users_label() -> None:
    seen: list[Tensor] = []

    def answer(x: Tensor) -> Tensor:
        seen.append(x)
        return torch.full((len(x),), TRIGGER.target)

    found = read(answer, TRIGGER, TEST, KINDS, OTHERS)
    n = sum(kind != TRIGGER.target for kind in KINDS.tolist())
    assert (found.hits, found.n, found.chance) == (n, n, 1.0)
    assert len(seen) == 21 and all(len(x) == n for x in seen)
    assert verify(found).p == 1.0  # what every trigger gets is no sign of this one


def test_chance_is_the_highest_rate_of_the_others() -> None:
    rates = iter([0.9, 0.6, *[0.1] * 19])  # the user's first

    def answer(x: Tensor) -> Tensor:
        hit = torch.arange(len(x)) < next(rates) * len(x) - 1e-6
        return torch.where(hit, TRIGGER.target, (TRIGGER.target + 1) % CLASSES)

    found = read(answer, TRIGGER, TEST, KINDS, OTHERS[:20])
    assert found.chance == pytest.approx(0.6) and found.hits == 270


def by_hand(hits: int, n: int, q: float) -> float:
    return sum(comb(n, k) * q**k * (1 - q) ** (n - k) for k in range(hits, n + 1))


@pytest.mark.parametrize(
    ("hits", "n", "q"), [(0, 5, 0.2), (3, 7, 0.1), (7, 7, 0.4), (30, 90, 0.25)]
)
def test_p_is_the_binomial_tail(hits: int, n: int, q: float) -> None:
    assert p_value(hits, n, q) == pytest.approx(by_hand(hits, n, q))


@pytest.mark.parametrize(("rate", "n"), [(0.5, 20), (0.9, 5), (0.1, 30), (1.0, 3), (0.0, 3)])
def test_power_is_the_tail_from_the_fewest_hits_that_reject(rate: float, n: int) -> None:
    fewest = min(k for k in range(n + 1) if by_hand(k, n, 0.1) < 0.05)
    assert power_of(rate, n, 0.1) == pytest.approx(by_hand(fewest, n, rate))


def test_where_no_count_rejects_there_is_no_power() -> None:
    assert power_of(0.9, 1, 0.1) == 0.0
    found = verify(Reading(0, 1, 0.1), Reading(1, 1, 0.1))
    assert (found.power, found.outcome) == (0.0, "no_power")


def test_the_finding_carries_rate_interval_and_power() -> None:
    found = verify(Reading(12, 40, 0.1), Reading(36, 40, 0.1))
    assert (found.null, found.n, found.effect) == ("no_trace", 40, 0.3)
    assert found.p == pytest.approx(by_hand(12, 40, 0.1))
    assert found.interval[0] < 0.3 < found.interval[1]
    assert found.power == pytest.approx(power_of(0.9, 40, 0.1))
    assert verify(Reading(12, 40, 0.1)).power is None


# --- bad input ---


def test_bad_input_is_told() -> None:
    with pytest.raises(BadParameter, match="key of 5 bytes"):
        trigger_of(b"short", SHAPE, CLASSES)
    with pytest.raises(BadParameter, match="65 of 64 pixels"):
        trigger_of(KEY, SHAPE, CLASSES, pixels=65)
    with pytest.raises(BadParameter, match="for 1 classes"):
        trigger_of(KEY, SHAPE, 1)
    with pytest.raises(BadData, match=r"shape \(3, 4\)"):
        plant(TRIGGER, torch.zeros(3, 4))
    with pytest.raises(BadData, match=r"shape \(0, 1, 8, 8\)"):
        plant(TRIGGER, IMAGES[:0])
    with pytest.raises(BadParameter, match="19 other triggers"):
        asked(before(), others=OTHERS[:19])
    with pytest.raises(BadParameter, match="21 other triggers"):
        asked(before(), others=[*OTHERS, TRIGGER])
    with pytest.raises(BadData, match="400 images and labels of shape"):
        read(lambda x: x, TRIGGER, TEST, KINDS[1:], OTHERS)
    same = torch.full((400,), TRIGGER.target)
    with pytest.raises(BadData, match="400 images and labels"):
        read(lambda x: x, TRIGGER, TEST, same, OTHERS)
    with pytest.raises(BadData, match="the answer has the shape"):
        read(before(), TRIGGER, TEST, KINDS, OTHERS)
    for hits, n, q in ((3, 2, 0.1), (0, 0, 0.1), (1, 2, 0.0)):
        with pytest.raises(BadParameter, match="images got the label"):
            p_value(hits, n, q)
    with pytest.raises(BadParameter, match="at the rate 2"):
        power_of(2.0, 5, 0.1)
