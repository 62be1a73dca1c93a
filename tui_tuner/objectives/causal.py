"""Next-token prediction: the cross-entropy of each labelled position."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch.nn.functional import cross_entropy, pad

from tui_tuner.compute import chunked_loss, router_loss
from tui_tuner.compute.check_rows import shorten
from tui_tuner.compute.differences import checked_parameters, compare_gradients, gradient_of
from tui_tuner.compute.forward import ForwardWay, MicroBatch, lay_flat, target_logits
from tui_tuner.compute.precision import computes_in_float32
from tui_tuner.compute.self_check import EXACT, MOST_HALF, Checker
from tui_tuner.config.schema import RunConfig
from tui_tuner.data.records import IGNORE
from tui_tuner.locales import _
from tui_tuner.models.evaluating import evaluating
from tui_tuner.models.out_of_memory import free_memory_of, is_out_of_memory
from tui_tuner.objectives.base import EachLoss, Objective, Setup
from tui_tuner.text import one_line

CHUNKED_TOKENS = 64  # of a row that logits in chunks are tried on: they know nothing of its length
LOUD = 1024.0  # makes logits so large that a cap on them shows, and changes no digit of them


class CausalObjective(Objective):
    """Sum of the cross-entropies of all labels, over their number in the effective batch.

    Where the model's config asks for it, the loss of a mixture's router is added (`compute.router_loss`).
    """

    def __init__(self, config: RunConfig) -> None:
        super().__init__(config)
        self._router: list[tuple[Any, int]] = []  # of each micro-batch of the step, with its labels

    def losses(self, model: Any, micro: MicroBatch, way: ForwardWay) -> Any:
        with way.computing():
            logits = target_logits(model, micro, way)
        return cross_entropy(logits.float(), micro.targets, reduction="none")

    def plain_losses(self, model: Any, micro: MicroBatch, way: ForwardWay) -> Any:
        """One sequence without positions, mask or choice of logits, as any user would call the model.

        Only its head is entered with the labelled positions alone: nobody looks at the logits of the others,
        and of a long row they may be more than the memory holds.
        """
        keep = pad(micro.keep, (way.virtual, 0))
        head = model.get_output_embeddings()
        chosen: contextlib.AbstractContextManager[list[bool]] = contextlib.nullcontext([])
        if head is not None:
            chosen = chunked_loss.labelled_only(head, keep)
        with way.computing(), chosen as entered:
            logits = model(input_ids=micro.input_ids, use_cache=False).logits
        logits = logits[0] if entered else logits[keep]
        return cross_entropy(logits.float(), micro.targets, reduction="none")

    def begin_step(self) -> None:
        self._router.clear()

    def metrics(self) -> Mapping[str, Any]:
        if not self._router:
            return {}
        targets = sum(count for _unused, count in self._router)
        return {"router_loss": sum(loss * count for loss, count in self._router) / targets}

    def loss(self, model: Any, micro: MicroBatch) -> Any:
        if not self.way.router:
            return self._cross_entropy(model, micro)
        with router_loss.catch_router_loss(model) as caught:
            loss = self._cross_entropy(model, micro)
        balance = caught[-1].float()
        self._router.append((balance.detach(), micro.trained_tokens))
        return loss + self.way.router * micro.trained_tokens * balance

    def _cross_entropy(self, model: Any, micro: MicroBatch) -> Any:
        chunks = self._chunks(model, micro)
        if chunks is not None:
            return _chunked(model, micro, self.way, *chunks)
        with self.way.computing():
            logits = target_logits(model, micro, self.way)
        return cross_entropy(logits.float(), micro.targets, reduction="sum")

    def measure(self, model: Any, micro: MicroBatch) -> dict[str, Any]:
        chunks = self._chunks(model, micro)
        if chunks is not None:
            head, rows = chunks
            hidden = _entering_head(model, micro, self.way, head)
            losses, right = chunked_loss.measured(hidden, head, micro.targets, rows, self.way.autocast)
            return {"loss": losses.double().sum(), "right": right, "each": EachLoss(losses)}
        with self.way.computing():
            logits = target_logits(model, micro, self.way)
        losses = cross_entropy(logits.float(), micro.targets, reduction="none")
        right = (logits.argmax(-1) == micro.targets).sum().double()
        return {"loss": losses.double().sum(), "right": right, "each": EachLoss(losses)}

    def _chunks(self, model: Any, micro: MicroBatch) -> tuple[Any, int] | None:
        """The head, and how many positions go through it at a time; None where all do at once."""
        if not self.way.chunked:
            return None
        head = chunked_loss.head_of(model)
        rows = chunked_loss.chunk_rows(head.out_features, self.way.device)
        return (head, rows) if micro.trained_tokens > rows else None

    def summarise(self, sums: Mapping[str, Any], weight: float) -> dict[str, float]:
        mean = sums["loss"] / weight
        return {"loss": mean, "perplexity": _exp(mean), "accuracy": sums["right"] / weight}

    def prepare(self, setup: Setup) -> None:
        super().prepare(setup)
        if self.way.router:
            self._check_router(setup)
        self._chunk(setup)

    def _check_router(self, setup: Setup) -> None:
        """Leave the router's loss out where it is not what the model itself adds, and say so."""
        assert self._checker is not None
        try:
            with evaluating(setup.model), torch.no_grad():
                problem = self._router_problem(self._checker)
        except Exception as error:  # whatever a model's own code makes of labels
            problem = f"{type(error).__name__}: {error}"
            if is_out_of_memory(error):
                problem = _("memory ran out while it was tried")
                free_memory_of(error)
        if problem:
            setup.voice.warn(
                "router_loss",
                _(
                    "The loss of the model's router is left out, though its config asks for it: {problem}.",
                    problem=one_line(problem, 200),
                ),
                _("Its experts may become unequally busy where many of its weights are trained."),
            )
            self.way = replace(self.way, router=0.0)

    def _router_problem(self, checker: Checker) -> str:
        """What is wrong with the loss of one row, against what the model computes from its labels itself."""
        micro = checker.lay(checker.rows[:1], self.way)
        ids, keep = (whole[:, : micro.tokens] for whole in (micro.input_ids, micro.keep))
        labels = ids.new_full(ids.shape, IGNORE)
        labels[:, 1:][keep[:, :-1]] = micro.targets
        with self.way.computing():
            wanted = checker.model(input_ids=ids, labels=labels).loss.float()
        found = self.loss(checker.model, micro) / micro.trained_tokens
        self.begin_step()
        apart = float(abs(found - wanted))
        if not apart <= (EXACT if computes_in_float32(checker.model, self.way.autocast) else MOST_HALF).loss:
            return _("it differs from the model's own by {apart:.2g}", apart=apart)
        return ""

    def wanted_way(self, setup: Setup) -> ForwardWay:
        coefficient = router_loss.router_coefficient(setup.model)
        if coefficient is None:
            setup.voice.warn(
                "router_loss",
                _(
                    "The model's config asks for its router's loss (output_router_logits), but does not say "
                    "what to multiply it by: it is left out."
                ),
                _("Its experts may become unequally busy where many of its weights are trained."),
            )
        elif coefficient:
            setup.voice.log(
                _(
                    "The loss of the model's router is added, {coefficient:g} times, as its config asks "
                    "(output_router_logits). It is that of each forward pass, so it depends a little on the "
                    "micro-batch.",
                    coefficient=coefficient,
                )
            )
        return replace(super().wanted_way(setup), router=coefficient or 0.0)

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
        except Exception as error:  # a model that is made otherwise computes all logits at once
            problem = f"{type(error).__name__}: {error}"
            if is_out_of_memory(error):
                problem = _("memory ran out while it was tried")
                free_memory_of(error)
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
        short = shorten(checker.data, checker.rows[:2], CHUNKED_TOKENS, 2 * CHUNKED_TOKENS)
        micro = lay_flat(short, range(len(short))).to(checker.device)
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
    hidden = _entering_head(model, micro, way, head)
    return chunked_loss.summed(hidden, head, micro.targets, rows, way.autocast)


def _entering_head(model: Any, micro: MicroBatch, way: ForwardWay, head: Any) -> Any:
    with chunked_loss.hidden_states(head), way.computing():
        return target_logits(model, micro, way)


def _exp(value: float) -> float:
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf
