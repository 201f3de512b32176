from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, cross_entropy

from rescind.audits.matched import Groups
from rescind.audits.permutation import permuted
from rescind.audits.posterior_difference import difference, directions, first_order, posteriors
from rescind.audits.reconstructor import Reconstruction, measure, resemblance
from rescind.audits.reconstructor_network import Fitting, Reconstructor, fit
from rescind.audits.utility_check import utility
from rescind.core.errors import BadData, BadParameter
from rescind.training.batches import batches
from rescind.training.zoo import mlp

SIDE, CLASSES, TRAINED, OWN, ASKED, CONTROLS, DRAWS = 8, 3, 300, 150, 12, 8, 999


@dataclass(frozen=True, slots=True, eq=False)
class Pictures:
    """Made-up pictures (n, 1, 8, 8): what a class has in common, and six ways to differ."""

    images: Tensor
    labels: Tensor

    def at(self, *rows: int) -> dict[str, Tensor]:
        return {"array": self.images[list(rows)], "labels": self.labels[list(rows)]}


def pictures(count: int, seed: int) -> Pictures:
    generator = torch.Generator().manual_seed(5)
    centres = torch.randn(CLASSES, SIDE * SIDE, generator=generator) / 2
    ways = torch.randn(6, SIDE * SIDE, generator=generator) / 2
    generator.manual_seed(seed)
    labels = torch.arange(count) % CLASSES
    own = torch.randn(count, 6, generator=generator) @ ways
    noise = 0.2 * torch.randn(count, SIDE * SIDE, generator=generator)
    return Pictures((centres[labels] + own + noise).reshape(-1, 1, SIDE, SIDE), labels)


DATA, PUBLIC, TEST = pictures(TRAINED, 0), pictures(60, 1), pictures(600, 2)
QUERIES = [PUBLIC.at(*range(30)), PUBLIC.at(*range(30, 60))]


def answers(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    found: Tensor = model(batch["array"]).softmax(1)
    return found


def losses(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    return cross_entropy(model(batch["array"]), batch["labels"], reduction="none")


@cache
def trained(seed: int) -> nn.Module:
    """On all records; both initialisation and order by the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = mlp(SIDE * SIDE, CLASSES, (24,))
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for batch in batches(TRAINED, 50, 25, seed):
        loss = losses(model, DATA.at(*batch.tolist())).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return model.eval()


def asked_of(model: nn.Module) -> Tensor:
    return posteriors(model, answers, QUERIES)


def shadows(*rows: int) -> Tensor:
    """The imitated removal of each of these records, alone."""
    return first_order(trained(0), losses, answers, [DATA.at(row) for row in rows], QUERIES)


@cache
def reconstructor(seed: int = 0) -> Reconstructor:
    """Fitted on the auditor's own records, the first ones."""
    rows = torch.arange(OWN)
    return fit(shadows(*range(OWN)), DATA.images, rows, Fitting(epochs=30, seed=seed))


@cache
def groups() -> Groups:
    """The requested records after those of the auditor, each with others of its class."""
    requested = range(OWN, OWN + ASKED)
    rest = {k: [i for i in range(OWN + ASKED, TRAINED) if i % CLASSES == k] for k in range(CLASSES)}
    return Groups(torch.tensor([[row, *rest[row % CLASSES][:CONTROLS]] for row in requested]))


REQUESTED = range(OWN, OWN + ASKED)


@cache
def kept() -> Tensor:
    """Models trained again on everything."""
    before = asked_of(trained(0))
    return torch.stack([difference(before, asked_of(trained(seed))) for seed in (1, 2, 3)])


@cache
def others() -> Tensor:
    return shadows(*range(TRAINED - ASKED, TRAINED))


def measured(differences: Tensor, seed: int = 0, of: Tensor | None = None) -> Reconstruction:
    imitated = shadows(*REQUESTED)[: len(differences)]
    return measure(
        reconstructor(),
        DATA.images,
        groups(),
        differences,
        others=others(),
        kept=kept(),
        imitated=imitated,
        of=of,
        draws=DRAWS,
        seed=seed,
    )


def stepped(model: nn.Module, batch: dict[str, Tensor], length: float) -> nn.Module:
    """A server that takes one step of this length up the loss of the records."""
    after = mlp(SIDE * SIDE, CLASSES, (24,)).eval()
    after.load_state_dict(model.state_dict())
    parts = torch.autograd.grad(losses(after, batch).sum(), list(after.parameters()))
    size = sum(float(part.square().sum()) for part in parts) ** 0.5
    with torch.no_grad():
        for weight, part in zip(after.parameters(), parts, strict=True):
            weight.add_(part, alpha=length / size)
    return after


@cache
def one_after_the_other(length: float) -> tuple[Tensor, nn.Module]:
    """The requests served in turn by steps alone: each difference, and the last model."""
    found, model = [], trained(0)
    for row in REQUESTED:
        after = stepped(model, DATA.at(row), length)
        found.append(difference(asked_of(model), asked_of(after)))
        model = after
    return torch.stack(found), model


# --- posterior differences ---


def test_the_imitated_difference_is_that_of_a_small_step() -> None:
    before = asked_of(trained(0))
    for row in (OWN, OWN + 1):
        after = asked_of(stepped(trained(0), DATA.at(row), 1e-2))
        assert float(shadows(row)[0] @ difference(before, after)) > 0.99


def test_a_batch_of_records_is_imitated_by_the_sum_of_their_gradients() -> None:
    pair = first_order(trained(0), losses, answers, [DATA.at(OWN, OWN + 1)], QUERIES)[0]
    after = asked_of(stepped(trained(0), DATA.at(OWN, OWN + 1), 1e-2))
    assert float(pair @ difference(asked_of(trained(0)), after)) > 0.99


def test_a_difference_has_no_length() -> None:
    before, after = torch.tensor([0.5, 0.5, 0.0]), torch.tensor([0.5, 3.5, 4.0])
    assert difference(before, after).tolist() == pytest.approx([0, 0.6, 0.8])
    assert difference(before, before).tolist() == [0, 0, 0]
    assert directions(torch.tensor([[3e-12, 4e-12]]))[0].tolist() == pytest.approx([0.6, 0.8])


# --- what is found ---


def test_a_planted_leak_is_found_and_never_taken_for_a_removal() -> None:
    found = measured(one_after_the_other(0.05)[0])
    assert found.told == "resembles"
    assert found.difference.p < 0.01
    assert 0 < found.difference.interval[0] < found.difference.effect
    assert found.finding(power=0.99).outcome == "no_power"


def test_no_control_fires() -> None:
    found = measured(one_after_the_other(0.05)[0])
    assert found.fired == () and set(found.controls) == {"zeros", "others", "kept", "shuffled"}
    assert all(one.effect < found.difference.effect / 2 for one in found.controls.values())
    assert found.imitated.p < 0.01


def test_retraining_without_deletion_shows_no_record() -> None:
    found = measured(kept().repeat(4, 1))
    assert found.told == "nothing_seen"
    assert found.finding(power=0.9).outcome == "no_power"  # how much is missing is not known
    assert found.finding().outcome == "no_power"


def test_a_server_that_changed_nothing_gives_the_zeros() -> None:
    found = measured(torch.zeros(ASKED, kept().shape[1]))
    assert found.difference.p == found.controls["zeros"].p
    assert found.difference.effect == pytest.approx(found.controls["zeros"].effect)
    assert found.told == "nothing_seen"


@pytest.mark.parametrize("what", ["zeros", "others", "kept", "noise"])
def test_the_null_of_each_control_gives_a_uniform_p(what: str) -> None:
    runs, generator = 100, torch.Generator().manual_seed(3)
    noise = torch.randn(ASKED, kept().shape[1], generator=generator)
    given = {"zeros": torch.zeros_like(noise), "others": others(), "kept": kept(), "noise": noise}
    made, p = reconstructor()(given[what]), []
    for _ in range(runs):
        # who of a group is the requested record is drawn, as under the null
        rows = torch.stack([r[torch.randperm(len(r), generator=generator)] for r in groups().rows])
        alike = resemblance(made, DATA.images, rows, torch.arange(ASKED) % len(made))
        p.append(permuted(alike, DRAWS).above)
    for level in (0.05, 0.1, 0.25, 0.5, 0.75):
        share, error = sum(x <= level for x in p) / runs, (level * (1 - level) / runs) ** 0.5
        assert abs(share - level) < 3 * error, level


def test_a_server_that_only_steps_is_told_by_its_utility_and_not_here() -> None:
    differences, after = one_after_the_other(0.6)
    found = measured(differences)
    assert found.told == "resembles" and found.difference.p < 0.01
    with torch.no_grad():
        right = [(m(TEST.images).argmax(1) == TEST.labels).tolist() for m in (trained(0), after)]
    assert utility(*right).told == "fell"
    # the one that the audit cannot tell from it has lost nothing
    with torch.no_grad():
        small = one_after_the_other(0.05)[1](TEST.images).argmax(1) == TEST.labels
    assert utility(right[0], small.tolist()).told == "kept"


# --- controls that fire, and a reconstructor that sees nothing ---


def test_a_control_that_resembles_the_records_makes_the_audit_void() -> None:
    imitated = shadows(*REQUESTED)
    for name in ("others", "kept"):
        given = {"others": others(), "kept": kept(), name: imitated}
        found = measure(
            reconstructor(),
            DATA.images,
            groups(),
            imitated,
            others=given["others"],
            kept=given["kept"],
            imitated=imitated,
            draws=DRAWS,
        )
        assert found.fired == (name,) and found.told == "void"
        assert found.finding(power=0.99).power is None


@dataclass(frozen=True, slots=True)
class Leaky:
    """Gives the requested pictures for any first-order step, whose ever it is, in their order."""

    rows: Tensor
    queried: int
    steps: Tensor

    def __call__(self, differences: Tensor) -> Tensor:
        known = (differences[:, None] == self.steps).all(2).any(1)
        pictures = DATA.images[groups().rows[: len(differences), 0]]
        return pictures * known[:, None, None, None]


def test_a_step_of_another_request_must_not_give_the_record() -> None:
    imitated = shadows(*REQUESTED)
    made = reconstructor()
    leaky: Any = Leaky(made.rows, made.queried, imitated)
    found = measure(
        leaky,
        DATA.images,
        groups(),
        imitated,
        others=others(),
        kept=kept(),
        imitated=imitated,
        draws=DRAWS,
    )
    assert found.imitated.p < 0.01
    assert found.fired == ("shuffled",) and found.told == "void"


def test_records_that_are_like_the_mean_make_the_zeros_fire() -> None:
    rows = groups().rows
    alike = DATA.images.clone()
    alike[rows[:, 0]] = DATA.images[:OWN].mean(0) + 0.02 * alike[rows[:, 0]]
    found = resemblance(
        reconstructor()(torch.zeros(1, 180)), alike, rows, torch.zeros(ASKED, dtype=torch.long)
    )
    assert float(found[:, 0].mean() - found[:, 1:].mean()) > 0.3


def test_without_the_imitated_removal_the_audit_is_blind() -> None:
    found = measure(
        reconstructor(),
        DATA.images,
        groups(),
        kept().repeat(4, 1),
        others=others(),
        kept=kept(),
        imitated=torch.zeros(ASKED, kept().shape[1]),
        draws=DRAWS,
    )
    assert found.told == "blind" and found.finding(power=0.99).outcome == "no_power"


# --- nothing leaks in ---


def test_the_reconstructor_is_shown_the_difference_alone() -> None:
    assert list(inspect.signature(Reconstructor.__call__).parameters) == ["self", "differences"]
    fed = shadows(OWN)
    changed = DATA.images.clone()
    changed[OWN:] = 7.0  # pixels of everything that is asked about
    other = fit(shadows(*range(OWN)), changed, torch.arange(OWN), Fitting(epochs=30))
    torch.testing.assert_close(other(fed), reconstructor()(fed), rtol=0, atol=0)
    zeros = reconstructor()(torch.zeros(2, fed.shape[1]))
    torch.testing.assert_close(zeros[0], zeros[1], rtol=0, atol=0)
    torch.testing.assert_close(reconstructor()(5 * fed), reconstructor()(fed))


def test_records_that_fitted_the_reconstructor_are_refused() -> None:
    rows = groups().rows.clone()
    rows[0, 3] = OWN - 1
    with pytest.raises(BadData, match="has fitted the reconstructor"):
        measure(
            reconstructor(),
            DATA.images,
            Groups(rows),
            kept().repeat(4, 1),
            others=others(),
            kept=kept(),
            imitated=shadows(*REQUESTED),
        )


def test_the_same_seed_gives_the_same() -> None:
    again = fit(shadows(*range(OWN)), DATA.images, torch.arange(OWN), Fitting(epochs=30))
    fed = shadows(*REQUESTED)
    torch.testing.assert_close(again(fed), reconstructor()(fed), rtol=0, atol=0)
    assert measured(fed, seed=4).difference == measured(fed, seed=4).difference
    other = fit(shadows(*range(OWN)), DATA.images, torch.arange(OWN), Fitting(epochs=30, seed=1))
    assert not torch.equal(other(fed), again(fed))


# --- how alike ---


def test_resemblance_is_the_cosine_about_the_mean_of_the_group() -> None:
    generator = torch.Generator().manual_seed(0)
    images, made = (
        torch.rand(9, 2, 2, generator=generator),
        torch.rand(2, 2, 2, generator=generator),
    )
    rows, of = torch.tensor([[0, 3, 4], [1, 5, 6], [2, 7, 8]]), torch.tensor([0, 1, 1])
    found = resemblance(made, images, rows, of)
    for i in range(3):
        centre = sum(images[j] for j in rows[i].tolist()) / 3
        for j in range(3):
            a, b = (made[of[i]] - centre).flatten(), (images[rows[i, j]] - centre).flatten()
            assert float(found[i, j]) == pytest.approx(
                float(cosine_similarity(a, b, dim=0)), abs=1e-6
            )


def test_records_of_one_request_share_what_is_reconstructed() -> None:
    of = torch.arange(ASKED) // 6
    found = measured(shadows(*REQUESTED)[:2], of=of)
    assert found.found.shape == (2, 1, SIDE, SIDE) and found.difference.n == ASKED
    by_hand = resemblance(found.found, DATA.images, groups().rows, of)
    gap = by_hand[:, 0] - by_hand[:, 1:].mean(1)
    assert found.difference.effect == pytest.approx(float(gap.mean()))


# --- bad input ---


def test_bad_input_is_told() -> None:
    model = trained(0)
    with pytest.raises(BadData, match="There are no queries"):
        posteriors(model, answers, [])
    with pytest.raises(BadData, match="0 batches of records"):
        first_order(model, losses, answers, [], QUERIES)
    with pytest.raises(BadData, match="1 batches of records and 0 of queries"):
        first_order(model, losses, answers, [DATA.at(0)], [])
    with pytest.raises(BadData, match=r"\(3,\) before and \(2,\) after"):
        difference(torch.zeros(3), torch.zeros(2))
    with pytest.raises(BadParameter, match="in training mode"):
        posteriors(mlp(SIDE * SIDE, CLASSES).train(), answers, QUERIES)
    with pytest.raises(BadData, match="2 differences and 3 rows"):
        fit(torch.zeros(2, 4), DATA.images, torch.arange(3))
    with pytest.raises(BadData, match="do not vary"):
        fit(torch.zeros(2, 4), torch.ones(5, 3), torch.arange(2))
    with pytest.raises(BadData, match="fitted on 180 answers"):
        reconstructor()(torch.zeros(1, 3))
    with pytest.raises(BadData, match="2 differences belong to 12 requested"):
        measured(kept()[:2])
    with pytest.raises(BadParameter, match="No reconstructor"):
        replace(Fitting(), epochs=0)
