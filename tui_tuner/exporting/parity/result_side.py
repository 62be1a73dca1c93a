"""The answers of the result itself, computed as this program loads it; runs in a process of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tui_tuner.exporting.parity.answers import Answers, answer_prompts, score_answer
from tui_tuner.exporting.parity.prompts import LEAST, Prompt, collect_prompts
from tui_tuner.inference.loading import ModelKeeper
from tui_tuner.inference.origin import Origin
from tui_tuner.methods.attached import count_virtual_positions

_MOST_TEXTS = 64


def answer_as_result(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Compute and keep the answers of a model.

    Args:
        arguments: `origin` (an `Origin` in plain values), `folder` (where answers are kept), `device`,
            `changes` (fields of the config that are loaded with other values, such as model.dtype);
            `prompts` (plain values) and `follow` (the folder of other answers) to compare with those,
            else prompts are collected, at least `count`.

    Returns:
        How many prompts there were, and the mean `loss` of the data's own answers, if it has any.
    """
    from importlib.metadata import version

    from tui_tuner.exporting.parity.answers import read_answers

    (loaded,) = ModelKeeper(arguments["device"], arguments.get("changes") or {}).load_all(
        [Origin.from_values(arguments["origin"])]
    )
    model, tokenizer, writes = loaded.model, loaded.tokenizer, loaded.config.task_kind.writes
    follow = read_answers(Path(arguments["follow"])) if arguments.get("follow") else None
    prompts = follow.prompts if follow else collect_prompts(loaded, int(arguments.get("count", LEAST)))
    virtual = count_virtual_positions(model)
    answers = answer_prompts(
        model, tokenizer, prompts, follow.answers if follow else None, writes=writes, virtual=virtual
    )
    found = Answers(prompts, answers, f"transformers {version('transformers')}")
    found.details["dtype"] = str(next(model.parameters()).dtype).removeprefix("torch.")
    device = next(model.parameters()).device
    if writes and follow is None:
        import torch

        with _without_adapter(model) as off, torch.inference_mode():
            if off:
                found.without = [score_answer(model, one.ids, one.greedy, device) for one in answers]
    found.save_to(Path(arguments["folder"]))
    return {"prompts": len(prompts), "loss": _measure_loss(loaded, prompts, virtual) if writes else None}


@contextlib.contextmanager
def _without_adapter(model: Any) -> Iterator[bool]:
    """Within it a model of peft computes without its adapter; yields whether it can."""
    if not hasattr(model, "disable_adapter") or count_virtual_positions(model):
        yield False
        return
    with model.disable_adapter():
        yield True


def _measure_loss(loaded: Any, prompts: list[Prompt], virtual: int) -> float | None:
    """Return the mean loss per token of the answers that the data has; None without any."""
    import torch

    device = next(loaded.model.parameters()).device
    total, count = 0.0, 0
    with torch.inference_mode():
        for prompt in prompts[:_MOST_TEXTS]:
            if not prompt.reference:
                continue
            wanted = list(loaded.tokenizer(prompt.reference, add_special_tokens=False)["input_ids"])[:256]
            if not wanted:
                continue
            logits = score_answer(loaded.model, prompt.encode(loaded.tokenizer), wanted, device, virtual)
            total += float(torch.nn.functional.cross_entropy(logits, torch.tensor(wanted), reduction="sum"))
            count += len(wanted)
    return total / count if count else None
