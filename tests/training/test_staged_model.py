from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rescind.core.errors import BadParameter, DamagedArtifact, UnsupportedModel
from rescind.core.partition import Partition
from rescind.core.run import Lora, Recipe
from rescind.testing.tiny import TOKENIZER, tiny_recipe, tiny_rows, tiny_task
from rescind.training.encoder import StagedModel
from rescind.training.pretrained import encoder_folder
from rescind.training.snapshots import from_bytes, to_bytes
from rescind.training.tasks import TextClassification

SMALL = {"hidden_size": 32, "num_attention_heads": 2, "vocab_size": 30522}
# name: (config values, LoRA targets); every family names its parts and masks in its own way
FAMILIES: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "Bert": ({**SMALL, "num_hidden_layers": 4, "intermediate_size": 64}, ("query", "value")),
    "Roberta": ({**SMALL, "num_hidden_layers": 4, "intermediate_size": 64}, ("query", "value")),
    "Electra": (
        {**SMALL, "num_hidden_layers": 4, "intermediate_size": 64, "embedding_size": 16},
        ("query",),
    ),
    "DistilBert": (
        {"dim": 32, "n_heads": 2, "n_layers": 4, "hidden_dim": 64, "vocab_size": 30522},
        ("q_lin", "v_lin"),
    ),
    "ModernBert": (
        {**SMALL, "num_hidden_layers": 4, "intermediate_size": 64, "pad_token_id": 0}
        | {"bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2},
        ("Wqkv",),
    ),
}


def build(family: str, folder: Path, **more: Any) -> str:
    import transformers

    values = FAMILIES.get(family, (more, ()))[0]
    config = getattr(transformers, f"{family}Config")(**values)
    torch.manual_seed(0)
    getattr(transformers, f"{family}Model")(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((encoder_folder(TOKENIZER) / name).read_bytes())
    return str(folder)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    return tiny_recipe(tiny_task(tmp_path_factory.mktemp("encoder")))


@pytest.fixture(scope="module")
def model(recipe: Recipe) -> StagedModel:
    return StagedModel(recipe)


def randomised(model: StagedModel) -> dict[str, Tensor]:
    state = {n: 0.2 * torch.randn_like(t) for n, t in model.state(model.adapted).items()}
    model.load(state)
    return state


@pytest.mark.parametrize("family", FAMILIES)
def test_entering_in_the_middle_equals_the_whole_forward(family: str, tmp_path: Path) -> None:
    task = TextClassification(build(family, tmp_path), ("sport", "tech"), max_length=16)
    recipe = replace(tiny_recipe(task), adapter=Lora(targets=FAMILIES[family][1]))
    model = StagedModel(recipe)
    randomised(model)
    rows = [*tiny_rows(5), {"text": "long " * 40, "label": "tech"}]
    assert (model.n_blocks, model.adapted, model.first_block) == (4, (2, 3), 2)
    with torch.no_grad():
        whole = model.forward(task.batch(rows))
        activations = model.activations(rows)
        torch.testing.assert_close(model.forward_from(activations), whole, rtol=0, atol=0)
        lifted = model.lift(activations, 3)
        torch.testing.assert_close(model.forward_from(lifted, 3), whole, rtol=0, atol=0)
    assert whole.std() > 1e-3, "equal constants would prove nothing"


def test_activations_are_the_same_bytes_again_and_after_training(model: StagedModel) -> None:
    rows = tiny_rows(70)  # more than one batch
    model.load({})
    before = to_bytes(model.activations(rows))
    randomised(model)
    assert to_bytes(model.activations(rows)) == before
    assert to_bytes(from_bytes(before)) == before


def test_rows_do_not_see_their_neighbours(model: StagedModel) -> None:
    rows = tiny_rows(6)
    some = model.activations(rows)["hidden"][:2]
    other = model.activations([*rows[:2], *tiny_rows(40)[30:34]])["hidden"][:2]
    assert torch.equal(some, other)


def test_state_comes_back_and_what_is_not_loaded_is_zero(model: StagedModel) -> None:
    state = randomised(model)
    again = model.state(model.adapted)
    assert all(torch.equal(again[name], state[name]) for name in state)
    top = {n: t for n, t in state.items() if not n.startswith("block.2.")}
    model.load(top)
    rest = {n: t for n, t in model.state(model.adapted).items() if n.startswith("block.2.")}
    assert rest
    assert all(not t.any() for t in rest.values())


def test_names_are_canonical(model: StagedModel) -> None:
    assert set(model.state([3])) == {
        "block.3.attention.self.query.lora_A",
        "block.3.attention.self.query.lora_B",
        "block.3.attention.self.value.lora_A",
        "block.3.attention.self.value.lora_B",
        "head.weight",
        "head.bias",
    }


def test_a_foreign_snapshot_is_refused(model: StagedModel) -> None:
    with pytest.raises(DamagedArtifact, match=r"has block\.9"):
        model.load({"block.9.attention.self.query.lora_A": torch.zeros(8, 32)})
    with pytest.raises(DamagedArtifact, match=r"has head\.weight"):
        model.load({"head.weight": torch.zeros(7, 32)})
    with pytest.raises(DamagedArtifact, match="are not a snapshot"):
        from_bytes(b"nothing of the kind")


def test_lora_is_what_the_paper_says(model: StagedModel, recipe: Recipe) -> None:
    state = randomised(model)
    layer = model.blocks.modules[3].get_submodule("attention.self.query")
    inputs = torch.randn(4, 32)
    base = layer.get_submodule("base_layer")
    a = state["block.3.attention.self.query.lora_A"]
    b = state["block.3.attention.self.query.lora_B"]
    by_hand = base(inputs) + recipe.adapter.alpha / recipe.adapter.rank * (inputs @ a.T @ b.T)
    torch.testing.assert_close(layer(inputs), by_hand)


def test_targets_that_are_not_there_are_answered_with_those_that_are(recipe: Recipe) -> None:
    with pytest.raises(UnsupportedModel) as told:
        StagedModel(replace(recipe, adapter=Lora(targets=("query", "q_lin"))))
    assert "no linear projection named q_lin" in str(told.value)
    assert "attention.self.query, attention.self.key" in str(told.value)


def test_targets_are_whole_names_not_parts_of_them(recipe: Recipe) -> None:
    with pytest.raises(UnsupportedModel, match="no linear projection named quer"):
        StagedModel(replace(recipe, adapter=Lora(targets=("quer",))))
    dense = StagedModel(replace(recipe, adapter=Lora(targets=("attention.output.dense",))))
    assert {n.rsplit(".", 1)[0] for n in dense.state([3]) if n.startswith("block")} == {
        "block.3.attention.output.dense"
    }


def test_more_slices_than_blocks_is_refused_with_the_numbers(recipe: Recipe) -> None:
    deep = replace(recipe, partition=Partition(2, 3), blocks_per_slice=2)
    with pytest.raises(BadParameter) as told:
        StagedModel(deep)
    assert "3 slices with 2 block(s) each need 6 blocks, and the encoder has 4" in str(told.value)
    assert "partition.slices to at most 2 or blocks_per_slice to at most 1" in str(told.value)


def test_shared_blocks_are_refused(tmp_path: Path) -> None:
    more = {**SMALL, "num_hidden_layers": 4, "intermediate_size": 64, "embedding_size": 16}
    folder = build("Albert", tmp_path, **more)
    task = TextClassification(folder, ("sport", "tech"), max_length=16)
    with pytest.raises(UnsupportedModel, match="AlbertModel has no list of 4 transformer blocks"):
        StagedModel(tiny_recipe(task))


def test_a_model_without_an_encoder_part_is_refused(
    recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TextClassification, "build", lambda self: nn.Linear(2, 2))
    with pytest.raises(UnsupportedModel, match="has no part 'head'"):
        StagedModel(recipe)
