"""What a case asks of a card by computing: FLOPs of a token, and launches counted without a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gpu.cases import MEAN_TOKENS, SHAPES, Case


def flops_a_token(folder: Path, case: Case) -> float:
    """Model FLOPs: forward, the gradients of activations, and those of weights where they are trained.

    Nothing is counted for computing a layer again.
    """
    from tui_tuner.config.load import build_config
    from tui_tuner.planning.data_facts import DataFacts
    from tui_tuner.planning.duration import work_of

    config = build_config(
        {
            "model": {"name": str(folder / case.model)},
            "method": {"kind": case.method},
            "training": {"batch_size": case.batch, "gradient_checkpointing": False},
        }
    )
    data = DataFacts(case.batch, tokens=case.batch * MEAN_TOKENS)
    work = work_of(config, facts_of(case), data)
    return work.flops / work.tokens


def facts_of(case: Case) -> Any:
    from tui_tuner.models.facts import facts_from_config

    shape = {"model_type": "llama", "max_position_embeddings": 8192, "dtype": "bfloat16"}
    return facts_from_config({**shape, **SHAPES[case.model]}, case.model)


def counted_launches(folder: Path, case: Case) -> dict[str, Any]:
    """Launches of a step in one forward pass, through tensors without data, checkpointing on.

    Compiled regions are not known without a GPU, so with them a profiler sees fewer.
    """
    from tui_tuner.launch.helper import Helper
    from tui_tuner.planning.memory.setup import Setup
    from tui_tuner.planning.memory.stack import installed
    from tui_tuner.planning.trace import request_for
    from tui_tuner.training.tracing.launches import total

    facts = facts_of(case)
    more: dict[str, Any] = {"targets": frozenset(["all-linear"]), "quantization": case.quantization}
    if case.method == "full":
        more = {"method": "full", "rank": 0, "autocast": False}
    setup = Setup(
        facts,
        installed(),
        case.batch,
        MEAN_TOKENS,
        logits="supervised",
        checkpointing=case.checkpointing,
        **more,
    )
    with Helper() as process:
        request = {**request_for(setup), "layers": [2, 3]}
        counts = process.request("launches", request, seconds=240).wait()
    few, many = (total(counts[key]["phases"]) for key in ("2", "3"))
    return {"counted_launches": few + (facts.layers - 2) * (many - few)}
