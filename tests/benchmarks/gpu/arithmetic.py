"""What a case asks of a card by computing: FLOPs of a token, and launches counted without a GPU."""

from __future__ import annotations

from typing import Any

from gpu.cases import MEAN_TOKENS, SHAPES, Case


def flops_a_token(case: Case, trained: float = 1.0) -> float:
    """Model FLOPs of a token: what is computed again for checkpointing is not counted.

    Args:
        trained: Share of the positions that have a label.
    """
    from tui_tuner.config.schema import MethodSection
    from tui_tuner.planning.flops import flops_of

    more = {} if case.method == "full" else {"rank": 16, "targets": "all-linear"}
    flops = flops_of(facts_of(case), MethodSection(kind=case.method, **more))
    return flops.step([MEAN_TOKENS] * case.batch, trained * case.batch * MEAN_TOKENS) / (
        case.batch * MEAN_TOKENS
    )


def facts_of(case: Case) -> Any:
    from tui_tuner.models.facts import facts_from_config

    shape = {"model_type": "llama", "max_position_embeddings": 8192, "dtype": "bfloat16"}
    return facts_from_config({**shape, **SHAPES[case.model]}, case.model)


def counted_launches(case: Case) -> dict[str, Any]:
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
