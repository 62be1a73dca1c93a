"""Next-token prediction: the cross-entropy of each labelled position."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from tui_tuner.compute import chunked_loss
from tui_tuner.compute.differences import checked_parameters, compare_gradients, gradient_of
from tui_tuner.compute.forward import ForwardWay, MicroBatch, lay_flat, target_logits
from tui_tuner.compute.precision import computes_in_float32
from tui_tuner.compute.self_check import EXACT, MOST_HALF, Checker, evaluating
from tui_tuner.locales import _
from tui_tuner.objectives.base import Objective, Setup
from tui_tuner.text import one_line

LOUD = 1024.0  # makes logits so large that a cap on them shows, and changes no digit of them


class CausalObjective(Objective):
    """Sum of the cross-entropies of all labels, over their number in the effective batch."""

    def losses(self, model: Any, micro: MicroBatch, way: ForwardWay) -> Any:
        with way.computing():
            logits = target_logits(model, micro, way)
        return cross_entropy(logits.float(), micro.targets, reduction="none")

    def plain_losses(self, model: Any, micro: MicroBatch, way: ForwardWay) -> Any:
        """One sequence without positions, mask or choice of logits, as any user would call the model."""
        with way.computing():
            logits = model(input_ids=micro.input_ids, use_cache=False).logits[:, way.virtual :]
        return cross_entropy(logits[micro.keep].float(), micro.targets, reduction="none")

    def loss(self, model: Any, micro: MicroBatch) -> Any:
        if self.way.chunked:
            head = chunked_loss.head_of(model)
            rows = chunked_loss.chunk_rows(head.out_features, self.way.device)
            if micro.trained_tokens > rows:
                return _chunked(model, micro, self.way, head, rows)
        with self.way.computing():
            logits = target_logits(model, micro, self.way)
        return cross_entropy(logits.float(), micro.targets, reduction="sum")

    def measure(self, model: Any, micro: MicroBatch) -> dict[str, Any]:
        with self.way.computing():
            logits = target_logits(model, micro, self.way)
        loss = cross_entropy(logits.float(), micro.targets, reduction="sum")
        return {"loss": loss.double(), "right": (logits.argmax(-1) == micro.targets).sum().double()}

    def summarise(self, sums: Mapping[str, Any], weight: float) -> dict[str, float]:
        mean = sums["loss"] / weight
        return {"loss": mean, "perplexity": _exp(mean), "accuracy": sums["right"] / weight}

    def prepare(self, setup: Setup) -> None:
        super().prepare(setup)
        self._chunk(setup)

    def _chunk(self, setup: Setup) -> None:
        """Take the logits in chunks, where a micro-batch can ask for so many that it saves memory.

        They must give the sum of the plain losses of two rows, and the model must do nothing to its logits
        but multiply them: one that caps them (Gemma 2) keeps the plain way.
        """
        model, way = setup.model, self.way
        head = chunked_loss.head_of(model)
        if head is None or not (way.packing and way.compact) or way.autocast == torch.float16:
            return
        if head.weight.dtype == torch.float16:
            return
        if setup.tokens <= chunked_loss.chunk_rows(head.out_features, way.device):
            return
        assert self._checker is not None
        try:
            with evaluating(model):
                problem = self._chunks_problem(head)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # a model that is made otherwise computes all logits at once
            problem = f"{type(error).__name__}: {error}"
        if problem:
            setup.voice.log(
                _("All logits are computed at once: in chunks, {problem}.", problem=one_line(problem, 200))
            )
        self.way = replace(way, chunked=not problem)

    def _chunks_problem(self, head: Any) -> str:
        """What is wrong with logits in chunks, in float32 and in the run's numbers; empty if all is well."""
        checker = self._checker
        assert checker is not None
        own = computes_in_float32(checker.model, self.way.autocast)
        tried = [True] if own else [False] if checker.unsure else [True, False]
        for exact in tried:
            with checker.numbers(self.way, exact) as way:
                problem = self._compare_chunks(checker, way, head, exact)
            if problem:
                return problem
        return ""

    def _compare_chunks(self, checker: Checker, way: ForwardWay, head: Any, exact: bool) -> str:
        """The sum of the losses of two rows, and its gradient, in two chunks and at once."""
        model, bounds = checker.model, EXACT if exact else MOST_HALF
        micro = lay_flat(checker.data, checker.rows[:2]).to(checker.device)
        entered: list[Any] = []
        with torch.no_grad(), chunked_loss.hidden_states(head, entered, LOUD), way.computing():
            left = target_logits(model, micro, way)
        if not chunked_loss.proportional(left, entered[0], exact):
            return _("the model does more to its logits than to multiply them")
        parameters = checked_parameters(model)
        half = max(1, micro.trained_tokens // 2)
        with torch.set_grad_enabled(bool(parameters)):
            plain = self.losses(model, micro, way).sum()
            wanted = gradient_of(plain, parameters) if parameters else []
            found = _chunked(model, micro, way, head, half)
            gradient = gradient_of(found, parameters) if parameters else []
        apart = float(abs(found.detach() - plain.detach())) / max(1, micro.trained_tokens)
        if not apart <= bounds.loss / 10:
            return _("the loss differs by {apart:.2g} a token", apart=apart)
        return compare_gradients(gradient, wanted, bounds.gradient)


def _chunked(model: Any, micro: MicroBatch, way: ForwardWay, head: Any, rows: int) -> Any:
    with chunked_loss.hidden_states(head), way.computing():
        hidden = target_logits(model, micro, way)
    return chunked_loss.summed(hidden, head, micro.targets, rows, way.autocast)


def _exp(value: float) -> float:
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf
