from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rescind.core.errors import BadData, BadParameter
from rescind.metrics.features import capture, collect, layers_of, listen, pool


class Block(nn.Module):
    def __init__(self, wide: int) -> None:
        super().__init__()
        self.inner = nn.Linear(wide, wide)
        self.norm = nn.LayerNorm(wide)

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        return self.norm(x + self.inner(x)), None


class Words(nn.Module):
    """A small encoder like those of transformers: named inputs, a list of blocks, a ModelOutput."""

    def __init__(self, blocks: int = 6) -> None:
        super().__init__()
        self.blocks = blocks
        self.embeddings = nn.Embedding(20, 8)
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(Block(8) for _ in range(blocks))})
        self.dropout = nn.Dropout(0.5)
        self.classifier = nn.Sequential(nn.Linear(8, 7), nn.Tanh(), nn.Linear(7, 3))

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None
    ) -> OrderedDict[str, Any]:
        x = self.embeddings(input_ids)
        for i in range(self.blocks):
            x, _ = self.get_submodule(f"encoder.layer.{i}")(x)
        return OrderedDict(loss=None, logits=self.classifier(self.dropout(x[:, 0])))


def picture_net() -> nn.Sequential:
    parts: list[tuple[str, nn.Module]] = [
        ("conv", nn.Conv2d(3, 4, 3)),
        ("bn", nn.BatchNorm2d(4)),
        ("relu", nn.ReLU(inplace=True)),
        ("stage1", nn.Sequential(nn.Conv2d(4, 5, 3), nn.ReLU())),
        ("stage2", nn.Conv2d(5, 6, 3)),
        ("stage3", nn.Conv2d(6, 6, 1)),
        ("pool", nn.AdaptiveAvgPool2d(1)),
        ("flat", nn.Flatten()),
        ("fc", nn.Linear(6, 3)),
    ]
    return nn.Sequential(OrderedDict(parts)).eval()


PICTURES = torch.randn(5, 3, 9, 9, generator=torch.Generator().manual_seed(0))
IDS = torch.arange(12).reshape(3, 4)
MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [0, 1, 0, 1]])


def test_pictures_are_averaged_over_places_and_the_input_of_the_head_is_taken() -> None:
    net = picture_net()
    names = layers_of(net)
    assert names == ("conv", "stage1", "stage2", "stage3", "penultimate")
    found = collect(net, names, [PICTURES])
    x = PICTURES
    for name, part in net.named_children():
        if name == "fc":
            assert torch.equal(found["penultimate"], x)
        x = part(x.clone())
        if name in found:
            # also where the ReLU that follows writes into the output
            assert torch.allclose(found[name], x.mean((2, 3)), atol=1e-6)
    assert list(found) == list(names)


def test_tokens_are_averaged_where_the_mask_says_so() -> None:
    net = Words().eval()
    [found] = capture(
        net, ["embeddings", "encoder.layer.0"], [{"input_ids": IDS, "attention_mask": MASK}]
    )
    x = net.embeddings(IDS)
    expected = [x[i][MASK[i] == 1].mean(0) for i in range(3)]
    assert torch.allclose(found["embeddings"], torch.stack(expected), atol=1e-6)
    assert found["encoder.layer.0"].shape == (3, 8)  # the first tensor of a tuple
    [given] = capture(net, ["embeddings"], [IDS], [MASK])
    assert torch.equal(given["embeddings"], found["embeddings"])
    [plain] = capture(net, ["embeddings"], [IDS])
    assert torch.allclose(plain["embeddings"], x.mean(1), atol=1e-6)
    assert not torch.allclose(plain["embeddings"], found["embeddings"], atol=1e-3)


@pytest.mark.parametrize("batch", [IDS, (IDS,), [IDS, MASK], {"input_ids": IDS}])
def test_modules_are_called_as_the_batch_asks(batch: Any) -> None:
    [found] = capture(Words().eval(), ["penultimate"], [batch])
    assert found["penultimate"].shape == (3, 7)


def test_the_module_itself_and_its_model_output_can_be_named() -> None:
    net = Words().eval()
    assert torch.equal(collect(net, [""], [IDS])[""], net(IDS)["logits"])


def test_a_submodule_that_runs_twice_gives_its_last_output() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.step = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Any:
            return self.step(self.step(x))

    net, x = Twice().eval(), torch.randn(3, 4)
    found = collect(net, ["step", "penultimate"], [x])
    assert torch.equal(found["step"], net.step(net.step(x)))
    assert torch.equal(found["penultimate"], net.step(x))


def test_flat_outputs_are_copied_before_a_later_layer_writes_into_them() -> None:
    net, x = nn.Sequential(nn.Linear(4, 5), nn.ReLU(inplace=True)).eval(), torch.randn(6, 4)
    found = collect(net, ["0"], [x])["0"]
    assert (found < 0).any()
    assert torch.equal(found, net[0](x))


def test_no_graph_is_built_on_the_way() -> None:
    class Watched(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            assert not torch.is_grad_enabled()
            return super().forward(x)

    assert collect(Watched(4, 5).eval(), [""], [torch.ones(2, 4)])[""].shape == (2, 5)


def test_batches_are_read_one_at_a_time_and_joined_in_order() -> None:
    net, read = picture_net(), []

    def batches() -> Iterator[Tensor]:
        for i in range(5):
            read.append(i)
            yield PICTURES[i : i + 1]

    stream = capture(net, ["stage2"], batches())
    assert read == []
    next(stream)
    assert read == [0]
    whole = collect(net, ["stage2"], [PICTURES])["stage2"]
    assert torch.allclose(collect(net, ["stage2"], batches())["stage2"], whole, atol=1e-6)


def test_no_gradient_no_hook_and_no_change_is_left() -> None:
    net = picture_net()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    found = collect(net, layers_of(net), [PICTURES])
    assert not any(v.requires_grad or v.is_inference() for v in found.values())
    with pytest.raises(RuntimeError):
        collect(net, ["stage1"], [torch.ones(1, 1)])
    assert not any(m._forward_hooks for m in net.modules())
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


@pytest.mark.parametrize("part", ["", "stage1.1"])
def test_a_module_in_training_mode_is_refused_and_not_switched(part: str) -> None:
    net = picture_net()
    net.get_submodule(part).train()
    with pytest.raises(BadParameter, match=f"In training mode: {part or 'the module'}"):
        capture(net, ["stage1"], [PICTURES])
    assert net.get_submodule(part).training


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["stage1", "stage9", "x"], "unknown: 'stage9', 'x'"),
        ([], "names are none"),
        (["stage1", "stage1"], "another submodule"),
    ],
)
def test_names_must_be_known_and_different(names: list[str], said: str) -> None:
    with pytest.raises(BadParameter, match=said):
        capture(picture_net(), names, [PICTURES])


def test_a_list_of_blocks_never_runs() -> None:
    with pytest.raises(BadParameter, match=r"did not run: encoder.layer\."):
        collect(Words().eval(), ["encoder.layer", "embeddings"], [IDS])


def test_outputs_need_one_row_an_example() -> None:
    class Windows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.head = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.inner(x.flatten(0, 1)).view_as(x).mean(1))  # type: ignore[no-any-return]

    x = torch.ones(3, 6, 4)
    assert collect(Windows().eval(), ["penultimate"], [x])["penultimate"].shape == (3, 4)
    with pytest.raises(BadData, match=r"not the batch: inner\."):
        collect(Windows().eval(), ["penultimate", "inner"], [x])


@pytest.mark.parametrize("masks", [[], [MASK], [MASK] * 3])
def test_there_is_one_mask_for_each_batch(masks: list[Tensor]) -> None:
    with pytest.raises(BadData, match="as many masks"):
        collect(Words().eval(), ["embeddings"], [IDS, IDS], masks)


def test_no_batches_are_refused() -> None:
    with pytest.raises(BadData, match="no batches"):
        collect(picture_net(), ["stage1"], [])


def test_pooling() -> None:
    flat = torch.randn(3, 4)
    assert torch.equal(pool(flat), flat)
    assert torch.equal(pool((None, [flat], flat + 1)), flat)
    assert torch.equal(pool(OrderedDict(loss=None, out=flat)), flat)
    assert torch.equal(pool(torch.tensor([[[1.0, 2.0], [5.0, 4.0]]])), torch.tensor([[3.0, 3.0]]))
    assert torch.equal(pool(torch.arange(8.0).reshape(1, 2, 2, 2)), torch.tensor([[1.5, 5.5]]))


def test_halves_are_averaged_in_float32() -> None:
    large = torch.full((1, 4096, 1), 3.0, dtype=torch.float16)
    assert pool(large).dtype == torch.float32
    assert float(pool(large, torch.ones(1, 4096))) == 3.0


def test_what_is_masked_may_be_nan_and_masks_may_be_true_and_false() -> None:
    x = torch.tensor([[[1.0], [math.nan], [4.0]]])
    assert pool(x, torch.tensor([[True, False, True]])).tolist() == [[2.5]]
    assert pool(x, torch.tensor([[0.25, 0.0, -1.0]])).tolist() == [[2.5]]
    assert pool(x[:, 0], torch.zeros(9, 9)).tolist() == [[1.0]]  # it bears on tokens alone


@pytest.mark.parametrize(
    ("output", "mask", "said"),
    [
        (None, None, "no tensor"),
        ((None, "text"), None, "no tensor"),
        (torch.ones(3), None, "shape"),
        (torch.ones(1, 2, 3, 4, 5), None, "shape"),
        (torch.ones(3, 4, 2), torch.ones(3, 5), "one entry for each token"),
        (torch.ones(2, 2, 2), torch.tensor([[1, 0], [0, 0]]), "no token"),
    ],
)
def test_what_cannot_be_pooled_is_refused(output: Any, mask: Tensor | None, said: str) -> None:
    with pytest.raises(BadData, match=said):
        pool(output, mask)


@pytest.mark.parametrize(
    ("net", "names"),
    [
        (
            Words(6),
            ("embeddings", "encoder.layer.1", "encoder.layer.3", "encoder.layer.4", "classifier.0"),
        ),
        (Words(2), ("embeddings", "encoder.layer.0", "encoder.layer.1", "classifier.0")),
        (
            nn.Sequential(
                *(nn.Conv2d(3, 3, 1) for _ in range(3)),
                nn.ModuleList([nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)]),
                nn.Linear(3, 2),
            ),
            ("0", "1", "2", "3.0", "3.1"),
        ),
        (Words(1), ("embeddings", "encoder.layer.0", "classifier.0")),  # blocks stay whole
        (nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)), ("0",)),
        (nn.Linear(4, 2), ()),
        (
            # a part that holds nothing but the head gives no features
            nn.Sequential(
                nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3)),
                nn.Sequential(nn.Dropout(), nn.Linear(4, 2)),
            ),
            ("0.0", "0.2"),
        ),
    ],
)
def test_profiles_go_from_shallow_to_deep(net: nn.Module, names: tuple[str, ...]) -> None:
    assert layers_of(net) == (*names, "penultimate")


def test_without_a_linear_layer_there_is_no_penultimate_one() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3)).eval()
    for call in (lambda: layers_of(net), lambda: capture(net, ["penultimate"], [PICTURES])):
        with pytest.raises(BadParameter, match=r"no nn\.Linear"):
            call()
    assert collect(net, ["0"], [PICTURES])["0"].shape == (5, 4)


def test_listening_to_a_pass_gives_what_collect_gives_and_leaves_no_hook() -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
    inputs = torch.randn(5, 3)
    with torch.no_grad(), listen(module, ["0", "penultimate"]) as heard:
        module(inputs)
    alone = collect(module, ["0", "penultimate"], [inputs])
    assert all(torch.equal(heard[name], alone[name]) for name in alone)
    heard.clear()
    module(inputs)
    assert not heard


def test_listening_refuses_a_module_in_training() -> None:
    with pytest.raises(BadParameter, match="training"), listen(nn.Linear(2, 2), [""]):
        pass
