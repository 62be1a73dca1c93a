"""The objective of next-token prediction: the cross-entropy of each labelled position."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import cross_entropy, pad

from tui_tuner.compute import chunked_loss, router_loss
from tui_tuner.compute.check_rows import shorten_rows
from tui_tuner.compute.differences import compare_gradients, compute_gradient, find_checked_parameters
from tui_tuner.compute.forward import ForwardWay, MicroBatch, compute_target_logits, lay_flat_row
from tui_tuner.compute.precision import computes_in_float32
from tui_tuner.compute.self_check import EXACT, MOST_HALF, Checker
from tui_tuner.config.schema import RunConfig
from tui_tuner.data.records import IGNORE
from tui_tuner.locales import _
from tui_tuner.models.evaluation_mode import use_evaluation_mode
from tui_tuner.models.out_of_memory import free_attempt_memory, is_out_of_memory
from tui_tuner.models.vocabulary import count_embedding_rows
from tui_tuner.objectives.objective import Objective, Setup, SingleLosses
from tui_tuner.objectives.row_losses import compute_perplexity
from tui_tuner.objectives.token_characters import compute_bits, count_token_characters, has_new_tokens
from tui_tuner.text import one_line

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

# Tokens of the rows that chunked logits are checked on: their length makes no difference to logits.
CHUNKED_TOKENS = 64
# Scales logits up so far that a cap on them shows; a power of two changes no digit.
LOUD = 1024.0


class CausalObjective(Objective):
    """Sum of the cross-entropies of all labels, over their number (or weight) in the effective batch.

    If the model's config requests it, the loss of a mixture's router is added (`compute.router_loss`).
    """

    def __init__(self, config: RunConfig) -> None:
        super().__init__(config)
        # The router's loss and the weight of the labels, for each micro-batch of the step
        self._router: list[tuple[Tensor, Tensor | int]] = []
        # Of each token, where the vocabulary has grown
        self._characters: Tensor | None = None

    def compute_losses(self, model: Module, micro: MicroBatch, way: ForwardWay) -> Tensor:
        with way.open_autocast():
            logits = compute_target_logits(model, micro, way)
        return cross_entropy(logits.float(), micro.targets, reduction="none")

    def compute_plain_losses(self, model: Module, micro: MicroBatch, way: ForwardWay) -> Tensor:
        """Compute one sequence without positions, mask or choice of logits, as users call the model."""
        keep = pad(micro.keep, (way.virtual, 0))
        head = model.get_output_embeddings()
        # Only the head is given the labelled positions alone: the other logits are not used, and those of a
        # long row may not fit into memory.
        chosen: contextlib.AbstractContextManager[list[bool]] = contextlib.nullcontext([])
        if head is not None:
            chosen = chunked_loss.compute_labelled_logits_only(head, keep)
        with way.open_autocast(), chosen as entered:
            logits = model(input_ids=micro.input_ids, use_cache=False).logits
        logits = logits[0] if entered else logits[keep]
        return cross_entropy(logits.float(), micro.targets, reduction="none")

    def begin_step(self) -> None:
        self._router.clear()

    def step_metrics(self) -> Mapping[str, Tensor]:
        if not self._router:
            return {}
        targets = sum(count for _unused, count in self._router)
        return {"router_loss": sum(loss * count for loss, count in self._router) / targets}

    def sum_losses(self, model: Module, micro: MicroBatch) -> Tensor:
        if not self.way.router:
            return self._cross_entropy(model, micro)
        with router_loss.catch_router_loss(model) as caught:
            loss = self._cross_entropy(model, micro)
        balance = caught[-1].float()
        self._router.append((balance.detach(), micro.label_weight))
        # The sum is divided by all labels later, so the router's mean is weighted by those of this pass.
        return loss + self.way.router * micro.label_weight * balance

    def _cross_entropy(self, model: Module, micro: MicroBatch) -> Tensor:
        chunks = self._chunk_settings(model, micro)
        if chunks is not None:
            return _chunked_loss(model, micro, self.way, *chunks)
        with self.way.open_autocast():
            logits = compute_target_logits(model, micro, self.way)
        if micro.weights is None:
            return cross_entropy(logits.float(), micro.targets, reduction="sum")
        return micro.weigh_losses(cross_entropy(logits.float(), micro.targets, reduction="none")).sum()

    def measure_batch(self, model: Module, micro: MicroBatch) -> dict[str, Any]:
        chunks = self._chunk_settings(model, micro)
        if chunks is not None:
            head, rows = chunks
            hidden = _states_at_head(model, micro, self.way, head)
            losses, right = chunked_loss.measure_chunked_losses(
                hidden, head, micro.targets, rows, self.way.autocast
            )
        else:
            with self.way.open_autocast():
                logits = compute_target_logits(model, micro, self.way)
            losses = cross_entropy(logits.float(), micro.targets, reduction="none")
            right = logits.argmax(-1) == micro.targets
        losses, right = micro.weigh_losses(losses), micro.weigh_losses(right)
        found = {
            "loss": losses.double().sum(),
            "right": right.double().sum(),
            "each": SingleLosses(losses),
        }
        if self._characters is not None:
            characters = self._characters.to(micro.targets.device)[micro.targets]
            found["characters"] = micro.weigh_losses(characters).double().sum()
        return found

    def _chunk_settings(self, model: Module, micro: MicroBatch) -> tuple[Module, int] | None:
        """Return the head and how many positions it computes at a time; None for all at once."""
        if not self.way.chunked:
            return None
        head = chunked_loss.find_linear_head(model)
        vocabulary = chunked_loss.open_head(head).linear.out_features
        rows = chunked_loss.count_chunk_rows(vocabulary, self.way.device)
        return (head, rows) if micro.trained_tokens > rows else None

    def summarise_sums(self, sums: Mapping[str, Any], weight: float) -> dict[str, float]:
        mean = sums["loss"] / weight
        found = {"loss": mean, "perplexity": compute_perplexity(mean), "accuracy": sums["right"] / weight}
        if "characters" in sums:
            found["bits_per_character"] = compute_bits(sums["loss"], sums["characters"])
        return found

    def prepare_way(self, setup: Setup) -> None:
        super().prepare_way(setup)
        if self.way.router:
            self._check_router(setup)
        self._choose_chunks(setup)
        if setup.tokenizer is not None and has_new_tokens(setup.tokenizer):
            rows = count_embedding_rows(setup.model)
            self._characters = torch.from_numpy(count_token_characters(setup.tokenizer, rows))

    def _check_router(self, setup: Setup) -> None:
        """Drop the router's loss if it differs from what the model itself adds, and warn about it."""
        assert self._checker is not None
        try:
            with use_evaluation_mode(setup.model), torch.no_grad():
                problem = self._router_problem(self._checker)
        # The model's own code may fail in any way if it is given labels.
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
            if is_out_of_memory(error):
                problem = _("memory ran out during the check")
                free_attempt_memory(error)
        if problem:
            setup.voice.report_warning(
                "router_loss",
                _(
                    "The loss of the model's router is left out although its config requests it: {problem}.",
                    problem=one_line(problem, 200),
                ),
                _("Its experts may be used unevenly if many of its weights are trained."),
            )
            self.way = replace(self.way, router=0.0)

    def _router_problem(self, checker: Checker) -> str:
        """Compare the loss of one row with what the model computes from labels; empty if they agree."""
        micro = checker.lay_micro_batch(checker.rows[:1], self.way)
        ids, keep = (whole[:, : micro.example_tokens] for whole in (micro.input_ids, micro.keep))
        labels = ids.new_full(ids.shape, IGNORE)
        # `keep` marks the positions that predict; a model's labels mark the predicted tokens, one later.
        labels[:, 1:][keep[:, :-1]] = micro.targets
        with self.way.open_autocast():
            wanted = checker.model(input_ids=ids, labels=labels).loss.float()
        found = self.sum_losses(checker.model, replace(micro, weights=None)) / micro.trained_tokens
        self.begin_step()
        apart = float(abs(found - wanted))
        if not apart <= (EXACT if computes_in_float32(checker.model, self.way.autocast) else MOST_HALF).loss:
            return _("it differs from the model's own by {apart:.2g}", apart=apart)
        return ""

    def wanted_way(self, setup: Setup) -> ForwardWay:
        coefficient = router_loss.find_router_coefficient(setup.model)
        if coefficient is None:
            setup.voice.report_warning(
                "router_loss",
                _(
                    "The model's config requests its router's loss (output_router_logits) but gives no "
                    "coefficient for it, so it is left out."
                ),
                _("Its experts may be used unevenly if many of its weights are trained."),
            )
        elif coefficient:
            setup.voice.report_log(
                _(
                    "The loss of the model's router is added with the coefficient {coefficient:g}, as its "
                    "config requests (output_router_logits). It is computed per forward pass, so it depends "
                    "slightly on the micro-batch.",
                    coefficient=coefficient,
                )
            )
        return replace(super().wanted_way(setup), router=coefficient or 0.0)

    def _choose_chunks(self, setup: Setup) -> None:
        """Compute the logits in chunks if a micro-batch can have so many that this saves memory.

        They must reproduce the sum of the plain losses of two rows, and the model may only scale its logits:
        one that caps them (Gemma 2) computes all of them at once.
        """
        model, way = setup.model, self.way
        head = chunked_loss.find_linear_head(model)
        # The loss scaler of float16 multiplies the loss, but chunks compute their gradients before that.
        if head is None or not (way.packing and way.compact) or way.autocast == torch.float16:
            return
        linear = chunked_loss.open_head(head).linear
        if linear.weight.dtype == torch.float16:
            return
        if setup.tokens <= chunked_loss.count_chunk_rows(linear.out_features, way.device):
            return
        assert self._checker is not None
        try:
            with use_evaluation_mode(model):
                problem = self._chunks_problem(head)
        # A model with another structure may fail in any way, and then computes all logits at once.
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
            if is_out_of_memory(error):
                problem = _("memory ran out during the check")
                free_attempt_memory(error)
        if problem:
            setup.voice.report_log(
                _("All logits are computed at once: in chunks, {problem}.", problem=one_line(problem, 200))
            )
        self.way = replace(way, chunked=not problem)

    def _chunks_problem(self, head: Module) -> str:
        """Check logits in chunks, in float32 and in the run's own dtype; empty if they agree."""
        checker = self._checker
        assert checker is not None
        own = computes_in_float32(checker.model, self.way.autocast)
        tried = [True] if own else [False] if checker.unsure else [True, False]
        for exact in tried:
            with checker.use_numbers(self.way, exact) as way:
                problem = self._compare_chunks(checker, way, head, exact)
            if problem:
                return problem
        return ""

    def _compare_chunks(self, checker: Checker, way: ForwardWay, head: Module, exact: bool) -> str:
        """Compare the summed loss of two rows and its gradient, computed in two chunks and at once."""
        model, bounds = checker.model, EXACT if exact else MOST_HALF
        short = shorten_rows(checker.data, checker.rows[:2], CHUNKED_TOKENS, 2 * CHUNKED_TOKENS)
        micro = lay_flat_row(short, range(len(short))).to(checker.device)
        entered: list[Tensor] = []
        # With a head that only multiplies its input by LOUD, a cap changes the proportions of the result.
        with torch.no_grad(), chunked_loss.return_hidden_states(head, entered, LOUD), way.open_autocast():
            left = compute_target_logits(model, micro, way)
        if not chunked_loss.are_logits_proportional(left, entered[0], exact):
            return _("the model does more with its logits than scale them")
        parameters = find_checked_parameters(model)
        half = max(1, micro.trained_tokens // 2)
        with torch.set_grad_enabled(bool(parameters)):
            plain = micro.weigh_losses(self.compute_losses(model, micro, way)).sum()
            wanted = compute_gradient(plain, parameters) if parameters else []
            found = _chunked_loss(model, micro, way, head, half)
            gradient = compute_gradient(found, parameters) if parameters else []
        apart = float(abs(found.detach() - plain.detach())) / max(1, micro.trained_tokens)
        if not apart <= bounds.loss / 10:
            return _("the loss differs by {apart:.2g} a token", apart=apart)
        return compare_gradients(gradient, wanted, bounds.gradient)


def _chunked_loss(model: Module, micro: MicroBatch, way: ForwardWay, head: Module, rows: int) -> Tensor:
    hidden = _states_at_head(model, micro, way, head)
    return chunked_loss.sum_chunked_losses(hidden, head, micro.targets, rows, way.autocast, micro.weights)


def _states_at_head(model: Module, micro: MicroBatch, way: ForwardWay, head: Module) -> Tensor:
    with chunked_loss.return_hidden_states(head), way.open_autocast():
        return compute_target_logits(model, micro, way)
