"""Features of a torch module: what its submodules give, pooled to one row an example.

Everything that compares representations (CKA, nearest neighbours, a linear probe) reads (n, d); the
shapes here are those of "Are We Truly Forgetting?" (arXiv 2503.06991), which averages over places.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from rescind.core.errors import BadData, BadParameter

if TYPE_CHECKING:
    from torch import Tensor, nn

PENULTIMATE = "penultimate"  # the name for the input of the last nn.Linear
MASK = "attention_mask"  # the entry of a batch that says which tokens count
DEPTHS = 5  # layers of a profile besides the penultimate one
ENOUGH = 4  # parts from which a module is not taken further apart


def capture(
    module: nn.Module,
    names: Sequence[str],
    batches: Iterable[Tensor | Sequence[Tensor] | Mapping[str, Tensor]],
    masks: Iterable[Tensor] | None = None,
) -> Iterator[dict[str, Tensor]]:
    """For each batch the pooled features (n, d) by name; one batch is held at a time.

    Args:
        module: in evaluation mode.
        names: of submodules, as ``named_modules`` gives them, or "penultimate". Of a submodule that
            runs several times for one batch the last output is taken.
        batches: what the module is called with: a tensor, several, or named ones. The entry
            "attention_mask" of named ones is also the mask of their tokens.
        masks: (n, t) for each batch, where they do not come with it.

    Raises:
        BadParameter: the module is in training mode, a name is unknown, twice or not of something
            that ran, or there is no nn.Linear whose input could be taken.
        BadData: not one mask for each batch, an output that has not one row an example, or as
            ``pool``.
    """
    _refuse_training(module)
    wanted = _find(module, names)
    return _run(module, wanted, batches, masks)


def collect(
    module: nn.Module,
    names: Sequence[str],
    batches: Iterable[Tensor | Sequence[Tensor] | Mapping[str, Tensor]],
    masks: Iterable[Tensor] | None = None,
) -> dict[str, Tensor]:
    """The features (n, d) of all batches together, by name: ``capture``, kept in memory.

    Raises:
        BadParameter: as ``capture``.
        BadData: as ``capture``, or there are no batches.
    """
    import torch

    found = list(capture(module, names, batches, masks))
    if not found:
        raise BadData(
            "There are no batches.",
            "Nothing has no features.",
            "Pass at least one batch; an iterator can be read only once.",
        )
    return {name: torch.cat([features[name] for features in found]) for name in found[0]}


@contextmanager
def listen(
    module: nn.Module, names: Sequence[str], mask: Tensor | None = None
) -> Iterator[dict[str, Tensor]]:
    """Within, the pooled features (n, d) of whatever the module is called with, by name.

    For a pass that is made anyway, such as that of ``Task.outputs``. Names and ``mask`` are as in
    ``capture``; no hook is left behind.

    Raises:
        BadParameter: as ``capture``.
    """
    _refuse_training(module)
    found: dict[str, Tensor] = {}
    with ExitStack() as hooks:
        for name, (part, is_input) in _find(module, names).items():
            hooks.callback(part.register_forward_hook(_keep(found, name, is_input, mask)).remove)
        yield found


def pool(output: Any, mask: Tensor | None = None) -> Tensor:
    """One row an example: (n, c, h, w) and (n, t, d) averaged over places, (n, d) as it is.

    Of a tuple, list or mapping, such as a ModelOutput, the first tensor is taken. ``mask`` (n, t)
    is not 0 where a token counts; it bears on (n, t, d) alone. Halves are averaged in float32.

    Raises:
        BadData: no tensor, another number of dimensions, a mask of another shape or one that leaves
            an example nothing.
    """
    import torch

    found = _first_tensor(output)
    if found is None or found.dim() not in (2, 3, 4):
        shape = "no tensor" if found is None else f"shape {tuple(found.shape)}"
        raise BadData(
            f"A submodule gave {shape}.",
            "Only (n, d), (n, t, d) and (n, c, h, w) can be pooled.",
            "Name another submodule.",
        )
    if found.dim() == 2:
        return found
    exact = found if found.dtype in (torch.float32, torch.float64) else found.float()
    if found.dim() == 4:
        return exact.mean((2, 3))
    return exact.mean(1) if mask is None else _masked_mean(exact, mask)


def penultimate_width(module: nn.Module) -> int:
    """How many units "penultimate" has.

    Raises:
        BadParameter: the module has no ``nn.Linear``.
    """
    return int(_last_linear(module).in_features)  # type: ignore[arg-type]


def layers_of(module: nn.Module) -> tuple[str, ...]:
    """Names for a profile from shallow to deep: up to five submodules, then "penultimate".

    The module is taken apart, the part with most parameters first, until there are four parts or
    the blocks of a list. Of many parts five are taken at even distances, in the order in which they
    were assigned. Normalisation and what holds the last nn.Linear are left out.

    Raises:
        BadParameter: there is no nn.Linear.
    """
    from torch import nn

    head, enough = _last_linear(module), ENOUGH
    parts = _parts("", module, head)
    while (opened := _next_to_open(parts, head, enough)) is not None:
        enough = 0 if isinstance(opened[1], nn.ModuleList) else enough
        at = parts.index(opened)
        parts[at : at + 1] = _parts(opened[0], opened[1], head)
    names = [name for name, _ in parts]
    if len(names) > DEPTHS:
        names = [names[round(i * (len(names) - 1) / (DEPTHS - 1))] for i in range(DEPTHS)]
    return (*names, PENULTIMATE)


Part = tuple[str, "nn.Module"]
Wanted = dict[str, tuple["nn.Module", bool]]  # the submodule, and whether its input is meant


def _parts(name: str, module: nn.Module, head: nn.Module) -> list[Part]:
    """Named children that hold weights and are neither the head nor a normalisation."""
    dot = f"{name}." if name else ""
    return [
        (dot + child, part)
        for child, part in module.named_children()
        if part is not head and _size(part) and "norm" not in type(part).__name__.lower()
    ]


def _next_to_open(parts: Sequence[Part], head: nn.Module, enough: int) -> Part | None:
    """A list, or what holds the head and so gives no features; else the largest, if too few."""
    from torch import nn

    for part in parts:
        is_list = isinstance(part[1], nn.ModuleList | nn.ModuleDict)
        if is_list or any(m is head for m in part[1].modules()):
            return part
    if len(parts) >= enough:
        return None
    largest = sorted(parts, key=lambda part: -_size(part[1]))
    return next((part for part in largest if _parts(part[0], part[1], head)), None)


def _size(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _last_linear(module: nn.Module) -> nn.Module:
    from torch import nn

    found = [m for m in module.modules() if isinstance(m, nn.Linear)]
    if not found:
        raise BadParameter(
            f"{type(module).__name__} has no nn.Linear.",
            'The input of the last one is what "penultimate" means.',
            "Name the submodules whose outputs are the features.",
        )
    return found[-1]


def _find(module: nn.Module, names: Sequence[str]) -> Wanted:
    """The submodules by name; all that are unknown are told at once."""
    known = dict(module.named_modules())
    unknown = [n for n in names if n not in known and n != PENULTIMATE]
    if unknown or not names or len(set(names)) < len(names):
        raise BadParameter(
            f"The names are {', '.join(map(repr, names)) or 'none'}"
            + (f"; unknown: {', '.join(map(repr, unknown))}." if unknown else "."),
            "Each must name another submodule.",
            "Take names from layers_of(module) or module.named_modules().",
        )
    return {n: (known[n], False) if n in known else (_last_linear(module), True) for n in names}


def _run(
    module: nn.Module,
    wanted: Wanted,
    batches: Iterable[Any],
    masks: Iterable[Tensor] | None,
) -> Iterator[dict[str, Tensor]]:
    given = None if masks is None else iter(masks)
    for batch in batches:
        mask = _mask(batch, given)
        yield _outputs(module, wanted, batch, mask)
    if given is not None and next(given, None) is not None:
        raise _not_one_mask_each()


def _outputs(
    module: nn.Module, wanted: Wanted, batch: Any, mask: Tensor | None
) -> dict[str, Tensor]:
    """What the wanted submodules gave for one batch, pooled; no hook is left behind."""
    import torch

    found: dict[str, Tensor] = {}
    with torch.no_grad(), ExitStack() as hooks:
        for name, (part, is_input) in wanted.items():
            hooks.callback(part.register_forward_hook(_keep(found, name, is_input, mask)).remove)
        if isinstance(batch, Mapping):
            module(**batch)
        elif isinstance(batch, torch.Tensor):
            module(batch)
        else:
            module(*batch)
    silent = [name for name in wanted if name not in found]
    if silent:
        raise BadParameter(
            f"These submodules did not run: {', '.join(silent)}.",
            "What does not run has no output; a list of blocks is never called itself.",
            "Name submodules that the forward pass calls.",
        )
    _refuse_other_rows(found, batch)
    return {name: found[name] for name in wanted}


def _keep(
    found: dict[str, Tensor], name: str, is_input: bool, mask: Tensor | None
) -> Callable[..., None]:
    """A hook that keeps the pooled output, as a copy: a later layer may write into it."""

    def hook(part: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        found[name] = pool(inputs if is_input else output, mask).detach().clone()

    return hook


def _first_tensor(output: Any) -> Tensor | None:
    import torch

    if isinstance(output, torch.Tensor):
        return output
    parts = output.values() if isinstance(output, Mapping) else output
    if not isinstance(output, Mapping | tuple | list):
        return None
    return next((t for t in map(_first_tensor, parts) if t is not None), None)


def _masked_mean(features: Tensor, mask: Tensor) -> Tensor:
    counted = (mask != 0).to(features)
    if counted.shape != features.shape[:2]:
        raise BadData(
            f"A mask of shape {tuple(mask.shape)} for outputs of shape {tuple(features.shape)}.",
            "It needs one entry for each token.",
            "Pass masks of shape (n, t), or name submodules that keep the tokens.",
        )
    if not counted.any(1).all():
        raise BadData(
            "A mask leaves an example no token.",
            "The mean of nothing is no feature.",
            "Leave out empty examples.",
        )
    # what is masked may be NaN, and 0 * NaN is NaN
    kept = features.masked_fill(counted.unsqueeze(2) == 0, 0.0)
    mean: Tensor = kept.sum(1) / counted.sum(1, keepdim=True)
    return mean


def _mask(batch: Any, given: Iterator[Tensor] | None) -> Tensor | None:
    if given is None:
        return batch.get(MASK) if isinstance(batch, Mapping) else None
    mask = next(given, None)
    if mask is None:
        raise _not_one_mask_each()
    return mask


def _refuse_other_rows(found: Mapping[str, Tensor], batch: Any) -> None:
    first = _first_tensor(batch)
    other = [name for name, rows in found.items() if first is not None and len(rows) != len(first)]
    if other:
        raise BadData(
            f"The first dimension of these outputs is not the batch: {', '.join(other)}.",
            "Their rows are windows, tokens or heads, and no examples.",
            "Name submodules that give (n, ...) for a batch of n.",
        )


def _not_one_mask_each() -> BadData:
    return BadData(
        "There are not as many masks as batches.",
        "A mask says which tokens of its batch count.",
        "Pass one mask for each batch, or none at all.",
    )


def _refuse_training(module: nn.Module) -> None:
    training = [name or "the module" for name, m in module.named_modules() if m.training]
    if training:
        more = f" and {len(training) - 3} more" if len(training) > 3 else ""
        raise BadParameter(
            f"In training mode: {', '.join(training[:3])}{more}.",
            "Dropout and batch statistics would change the features, and the features the model.",
            "Call module.eval() first.",
        )
