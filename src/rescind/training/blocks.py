"""Find the transformer blocks of an encoder, and enter the model in their middle.

The model's own forward always runs, so that its mask and position logic is never copied: for a
later start the list of blocks is cut and the hidden state handed to its first block is replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from rescind.core.errors import UnsupportedModel


class _Reached(Exception):
    """Stops a forward at the block whose input is wanted; never leaves this module."""

    def __init__(self, hidden: Tensor) -> None:
        super().__init__()
        self.hidden = hidden


@dataclass(frozen=True)
class Blocks:
    """The blocks, and where their list hangs: ``parent.name``."""

    parent: nn.Module
    name: str
    modules: tuple[nn.Module, ...]

    @contextmanager
    def starting_at(self, block: int, hidden: Tensor) -> Iterator[None]:
        """Within it the model runs only the blocks from ``block`` on, the first on ``hidden``."""

        def replace(_: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
            if args:
                return (hidden, *args[1:]), named
            return args, {**named, "hidden_states": hidden}

        whole = getattr(self.parent, self.name)
        handle = self.modules[block].register_forward_pre_hook(replace, with_kwargs=True)
        setattr(self.parent, self.name, nn.ModuleList(self.modules[block:]))
        try:
            yield
        finally:
            handle.remove()
            setattr(self.parent, self.name, whole)

    def entering(self, block: int, forward: Callable[[], Any]) -> Tensor:
        """The hidden state (n, length, width) that ``forward`` hands to ``block``."""

        def stop(_: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> None:
            raise _Reached(args[0] if args else named["hidden_states"])

        handle = self.modules[block].register_forward_pre_hook(stop, with_kwargs=True)
        try:
            forward()
        except _Reached as reached:
            return reached.hidden
        finally:
            handle.remove()
        raise UnsupportedModel(
            f"Block {block} was never run.",
            "Not yet: the encoder does not call its blocks one after another.",
            "Use an encoder of the BERT family.",
        )


def find_blocks(encoder: nn.Module) -> Blocks:
    """The list of equal blocks that is as long as the encoder's configuration says it is deep.

    Raises:
        UnsupportedModel: there is no such list, as in encoders that share one block.
    """
    depth = getattr(getattr(encoder, "config", None), "num_hidden_layers", None)
    lists = [(n, m) for n, m in encoder.named_modules() if isinstance(m, nn.ModuleList)]
    for path, found in lists:
        if len(found) == depth and len({type(block) for block in found}) == 1:
            parent, _, name = path.rpartition(".")
            return Blocks(encoder.get_submodule(parent), name, tuple(found))
    raise UnsupportedModel(
        f"{type(encoder).__name__} has no list of {depth} transformer blocks.",
        "Never for encoders whose blocks share their weights; not yet for others.",
        "Use an encoder such as BERT, RoBERTa, DistilBERT, ELECTRA or ModernBERT.",
    )
