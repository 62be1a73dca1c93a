"""What a case asks of a card by computing: FLOPs of a token, and launches counted without a GPU."""

from __future__ import annotations

from typing import Any

from gpu.cases import MEAN_TOKENS, SHAPES, Case

COUNTED = (2, 4)  # layers of the models that are counted: of two more, one may be checkpointed


def flops_a_token(case: Case, trained: float = 1.0) -> float:
    """Model FLOPs of a token: what is computed again for checkpointing is not counted.

    Args:
        trained: Share of the positions that have a label.
    """
    from tui_tuner.config.schema import MethodSection
    from tui_tuner.planning.flops import count_flops

    more = {} if case.method == "full" else {"rank": 16, "targets": "all-linear"}
    flops = count_flops(facts_of(case), MethodSection(kind=case.method, **more))
    return flops.count_step([MEAN_TOKENS] * case.batch, trained * case.batch * MEAN_TOKENS) / (
        case.batch * MEAN_TOKENS
    )


def facts_of(case: Case) -> Any:
    from tui_tuner.models.facts import read_config_facts

    shape = {"model_type": "llama", "max_position_embeddings": 8192, "dtype": "bfloat16"}
    return read_config_facts({**shape, **SHAPES[case.model]}, case.model)


def counted_launches(case: Case) -> dict[str, Any]:
    """Launches of a step in one forward pass, through tensors without data.

    Compiled regions are not known without a GPU, so with them a profiler sees fewer.
    """
    from tui_tuner.launch.helper import Helper
    from tui_tuner.training.tracing.launches import sum_launches

    with Helper() as process:
        counts = process.prepare_request("launches", request_of(case), seconds=240).wait_for_result()
    few, many = (sum_launches(counts[str(layers)]["phases"]) for layers in COUNTED)
    more = (facts_of(case).layers - COUNTED[0]) / (COUNTED[1] - COUNTED[0])
    return {"counted_launches": round(few + more * (many - few))}


def request_of(case: Case) -> dict[str, Any]:
    """What is to be counted for a case: the model as a run on a GPU makes it."""
    from tui_tuner.config.sections.training import EVERY_SECOND, OFFLOAD
    from tui_tuner.planning.memory.setup import Setup
    from tui_tuner.planning.memory.stack import find_installed_stack
    from tui_tuner.planning.trace_check import make_trace_request

    more: dict[str, Any] = {"targets": frozenset(["all-linear"]), "quantization": case.quantization}
    if case.method == "full":
        more = {"kind": "full", "whole_model": True, "rank": 0, "autocast": False}
    setup = Setup(
        facts_of(case),
        find_installed_stack(),
        case.batch,
        MEAN_TOKENS,
        logits="supervised",
        checkpointing=case.checkpointing is not False,
        every_second=case.checkpointing == EVERY_SECOND,
        offload=case.checkpointing == OFFLOAD,
        quick=True,
        **more,
    )
    return {**make_trace_request(setup), "layers": list(COUNTED)}
