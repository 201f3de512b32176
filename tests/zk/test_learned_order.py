"""An order along a learned direction: carried out, proved and checked like any other."""

from __future__ import annotations

import copy
from functools import cache

import torch
from parties import accuracy, client, forgetting, made, part, party, points, provider, trained
from parties import workspace as workspace_of
from torch import Tensor

from rescind.methods.zk_apex.learned import Learning, learned_pull
from rescind.methods.zk_apex.simulated import SimulatedClient
from rescind.zk import receipts
from rescind.zk.check import Received, check
from rescind.zk.client import commit, compensate, prove_once
from rescind.zk.provider import Made, Wish, make, pulled_terms

WISH = Wish(goal="class", records=600, alpha=0.02, block=16, bits=40.0)


def simulated(seed: int) -> SimulatedClient:
    """On points of the provider's own, shifted by a guess."""
    data = points(600, 50 + seed, shift=0.2 * seed)
    own = party(trained(copy.deepcopy(provider().model), data, 40, 50 + seed), data)
    gone = data["labels"] == 2
    seen = {n: torch.from_numpy(g) for n, g in own.gradients.items()}
    return SimulatedClient(
        model=own.model, sketches=seen, forget=part(data, gone), retain=part(data, ~gone)
    )


@cache
def learned() -> Made:
    own, (mask, direction) = provider(), forgetting()
    terms = pulled_terms(own.weights, own.gradients, list(mask), WISH)
    masks: dict[str, Tensor] = {n: torch.from_numpy(m != 0) for n, m in mask.items()}
    start = {n: torch.from_numpy(g) for n, g in direction.items()}
    clients = [simulated(seed) for seed in (1, 2)]
    found = learned_pull(clients, masks, start, terms, Learning(steps=60), WISH.block)
    arrays = {n: g.numpy() for n, g in found.items()}
    return make(own.weights, own.gradients, mask, arrays, WISH)


def test_terms_to_learn_for_are_those_of_the_order() -> None:
    own, (mask, _) = provider(), forgetting()
    terms = pulled_terms(own.weights, own.gradients, list(mask), WISH)
    found = learned()
    assert [t.pull for t in terms.values()] == list(found.order.pulls)
    bare = [(t.damping, t.weight_bits, t.gradient_step) for t in terms.values()]
    assert bare == [(t.damping, t.weight_bits, t.gradient_step) for t in found.epoch.tensors]


def test_a_client_proves_it_and_forgets_more_than_along_the_gradient() -> None:
    found, own = learned(), client()
    committed, opening = commit(found.epoch, own.weights, own.gradients)
    sent = found.epoch, found.order, found.public, own.weights, own.gradients
    new, _ = compensate(*sent)
    statement, proof, _ = prove_once(*sent, opening, lambda *told: None)
    receipt = receipts.enter(workspace_of().backends, found.epoch, committed, "learned")
    got = Received(found.epoch, found.order, committed, receipt, statement, found.public, proof)
    assert check(got, model=new, post_seed=opening.seeds.post).share <= 0.05
    assert all(floor > 0 for floor in found.order.floors)
    plain, _ = compensate(made().epoch, made().order, made().public, own.weights, own.gradients)
    assert accuracy(own.model, new, 2) < accuracy(own.model, plain, 2)
    kept = [accuracy(own.model, w, 0) + accuracy(own.model, w, 1) for w in (new, plain)]
    assert kept[0] > kept[1] - 0.05
