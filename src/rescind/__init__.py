"""rescind: make trained models forget data on request, and show it with evidence.

Public names are resolved when first used, so that ``import rescind`` needs no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rescind.core.certificate import Certificate, Statement
    from rescind.core.errors import RescindError
    from rescind.core.guarantee import Certified, Empirical, Exact
    from rescind.core.partition import Partition
    from rescind.core.request import Request
    from rescind.core.run import AdamW, Lora, Recipe, Run, Snapshot
    from rescind.methods.retrain import Retrain
    from rescind.methods.s3t import S3T
    from rescind.methods.sisa import Sisa
    from rescind.proofs.verifier import verify
    from rescind.training.modules import CausalLM, Classification, Regression
    from rescind.training.tasks import TextClassification
    from rescind.workspace import Ask, Workspace
    from rescind.workspace import open_workspace as open  # noqa: A004 rescind.open(folder)

    __version__: str

__all__ = [  # noqa: RUF022 in the order a reader meets them
    "open",
    "Workspace",
    "Ask",
    "Recipe",
    "Lora",
    "AdamW",
    "Partition",
    "TextClassification",
    "Classification",
    "Regression",
    "CausalLM",
    "Run",
    "Snapshot",
    "Request",
    "S3T",
    "Sisa",
    "Retrain",
    "Exact",
    "Certified",
    "Empirical",
    "Certificate",
    "Statement",
    "verify",
    "RescindError",
    "__version__",
]

_WHERE: dict[str, str] = {
    "open": "rescind.workspace:open_workspace",
    "Workspace": "rescind.workspace:Workspace",
    "Ask": "rescind.workspace:Ask",
    "Recipe": "rescind.core.run:Recipe",
    "Lora": "rescind.core.run:Lora",
    "AdamW": "rescind.core.run:AdamW",
    "Partition": "rescind.core.partition:Partition",
    "TextClassification": "rescind.training.tasks:TextClassification",
    "Classification": "rescind.training.modules:Classification",
    "Regression": "rescind.training.modules:Regression",
    "CausalLM": "rescind.training.modules:CausalLM",
    "Run": "rescind.core.run:Run",
    "Snapshot": "rescind.core.run:Snapshot",
    "Request": "rescind.core.request:Request",
    "S3T": "rescind.methods.s3t:S3T",
    "Sisa": "rescind.methods.sisa:Sisa",
    "Retrain": "rescind.methods.retrain:Retrain",
    "Exact": "rescind.core.guarantee:Exact",
    "Certified": "rescind.core.guarantee:Certified",
    "Empirical": "rescind.core.guarantee:Empirical",
    "Certificate": "rescind.core.certificate:Certificate",
    "Statement": "rescind.core.certificate:Statement",
    "verify": "rescind.proofs.verifier:verify",
    "RescindError": "rescind.core.errors:RescindError",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value: Any = importlib.import_module("importlib.metadata").version("rescind")
    elif name in _WHERE:
        module, _, attribute = _WHERE[name].partition(":")
        value = getattr(importlib.import_module(module), attribute)
    else:
        raise AttributeError(f"module 'rescind' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
