"""How the model does on rows it never trains on: loss, and the answers it gives."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tui_tuner.compute.batches import Micro, MicroSize, Rows, flat, pack, pad_groups, padded
from tui_tuner.compute.loss import LossPath, target_logits
from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import OutOfMemoryError
from tui_tuner.runs.events import Evaluation, OutOfMemory, Sample
from tui_tuner.training.step.recovery import Recovery
from tui_tuner.training.watching.reporting import Reporter

DURING = 2  # prompts answered at an evaluation, of those answered before and after


class Interrupted(Exception):
    """A stop was asked for in the middle of an evaluation; what was measured so far is not reported."""


@dataclass(frozen=True)
class Prompt:
    """A prompt to answer: its tokens up to where the answer begins, and the data set's answer."""

    ids: list[int]
    text: str
    reference: str = ""


class Evaluator:
    """Evaluates one model on one set of held-out rows."""

    def __init__(
        self,
        config: RunConfig,
        tokenizer: Any,
        reporter: Reporter,
        recovery: Recovery,
        device: Any,
        pad: int,
        rows: Rows | None,
        held_out: Callable[[int], list[Any]],
        generates: bool = True,
        interrupted: Callable[[], bool] = lambda: False,
    ) -> None:
        self.config = config
        self.tokenizer = tokenizer
        self.reporter = reporter
        self.recovery = recovery
        self.device = device
        self.pad = pad
        self.rows = rows
        self.generates = generates
        self.interrupted = interrupted
        self._held_out = held_out

    def validation(self, model: Any, path: LossPath, size: MicroSize, step: int) -> dict[str, float] | None:
        """Loss over all targets of the held-out rows, its exponential, and the share predicted right.

        None without held-out rows. The model is left in the mode it was in.

        Raises:
            OutOfMemoryError: one sequence alone does not fit.
            Interrupted: a stop was asked for meanwhile.
        """
        import torch

        if self.rows is None or not len(self.rows):
            return None
        training = model.training
        model.eval()
        try:
            with torch.no_grad():
                loss, right, count = self._sums(model, path, size, step)
        finally:
            model.train(training)
        if not count:
            return None
        mean = loss / count
        return {"loss": mean, "perplexity": _exp(mean), "accuracy": right / count}

    def _sums(self, model: Any, path: LossPath, size: MicroSize, step: int) -> tuple[float, float, int]:
        """(summed loss, right predictions, targets); read from the device once."""
        import torch

        assert self.rows is not None
        sums = torch.zeros(2, dtype=torch.float64, device=self.device)
        group = pack if path.packing else pad_groups
        todo = group(range(len(self.rows)), self.rows.lengths, size)
        done = count = 0
        total = len(self.rows)
        while todo:
            if self.interrupted():
                raise Interrupted
            rows = todo.pop(0)
            try:
                self.recovery.enter("evaluation", rows)
                micro = self._micro(rows, path)
                if micro.supervised:
                    sums += self._measure(model, micro, path)
            except Exception as error:
                if not self.recovery.is_out_of_memory(error):
                    raise
                todo[:0] = self._halves(rows, step, size)
                self.recovery.free()
                continue
            count += micro.supervised
            done += len(rows)
            self.reporter.phase("evaluating", done, total)
        loss, right = sums.tolist()
        return loss, right, count

    def _measure(self, model: Any, micro: Micro, path: LossPath) -> Any:
        import torch
        from torch.nn.functional import cross_entropy

        micro = micro.to(self.device)
        with path.computing():
            logits = target_logits(model, micro, path)
        loss = cross_entropy(logits.float(), micro.targets, reduction="sum")
        return torch.stack([loss.double(), (logits.argmax(-1) == micro.targets).sum().double()])

    def _micro(self, rows: list[int], path: LossPath) -> Micro:
        assert self.rows is not None
        return flat(self.rows, rows) if path.packing else padded(self.rows, rows, self.pad)

    def _halves(self, rows: list[int], step: int, size: MicroSize) -> list[list[int]]:
        if len(rows) == 1:
            raise OutOfMemoryError(
                f"memory ran out in the evaluation at step {step} with a single sequence.",
                hint="Lower data.max_length.",
            )
        self.recovery.announce("evaluation", step, size, size.halved())
        half = len(rows) // 2
        return [rows[:half], rows[half:]]

    def prompts(self) -> list[Prompt]:
        """Prompts of the config first, then held-out rows."""
        settings = self.config.evaluation
        own = [Prompt(self._encode(text), text) for text in settings.prompts or []]
        return own + [
            Prompt(list(item.prompt_ids), item.prompt_text, item.reference)
            for item in (self._held_out(settings.samples) if settings.samples else [])
        ]

    def _encode(self, text: str) -> list[int]:
        if self.config.task == "pretraining" or not getattr(self.tokenizer, "chat_template", None):
            return list(self.tokenizer(text)["input_ids"])
        found = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": text}], add_generation_prompt=True, tokenize=True, return_dict=True
        )
        return list(found["input_ids"])

    def answer(self, model: Any, path: LossPath, step: int, stage: str) -> None:
        """Answer the sample prompts, and score held-out answers before and after.

        Without memory for it, the answers are left out and the journal says so.

        Raises:
            Interrupted: a stop was asked for meanwhile.
        """
        if not self.generates:
            return
        prompts = self.prompts()
        shown = prompts[:DURING] if stage == "during" else prompts
        settings = self.config.evaluation
        scored: list[Prompt] = []
        if stage != "during" and settings.metric_rows:
            scored = [
                Prompt(list(item.prompt_ids), item.prompt_text, item.reference)
                for item in self._held_out(settings.metric_rows)
            ]
        if not shown and not scored:
            return
        try:
            answers = self._generate(model, path, [*shown, *scored])
        except Exception as error:
            if not self.recovery.is_out_of_memory(error):
                raise
            self.recovery.free()
            message = f"Memory ran out while answering prompts at step {step}; they are left out."
            self.reporter.emit(OutOfMemory(step, "generation", (1, 0), message))
            return
        for index, (prompt, found) in enumerate(zip(shown, answers, strict=False)):
            self.reporter.emit(
                Sample(
                    step=step,
                    index=index,
                    stage=stage,
                    prompt=prompt.text,
                    text=found.text,
                    reference=prompt.reference,
                    stopped=found.stopped,
                )
            )
        if scored:
            self._score(scored, answers[len(shown) :], step, stage)

    def _generate(self, model: Any, path: LossPath, prompts: list[Prompt]) -> list[Any]:
        from tui_tuner.evaluation.generation import generate

        def progress(done: int, total: int) -> None:
            self.reporter.phase("sampling", done, total)
            if self.interrupted():
                raise Interrupted

        self.recovery.enter("generation")
        unique: dict[tuple[int, ...], int] = {}
        for prompt in prompts:
            unique.setdefault(tuple(prompt.ids), len(unique))
        self.reporter.phase("sampling", 0, len(unique))
        with path.computing():
            found = generate(
                model,
                self.tokenizer,
                [list(ids) for ids in unique],
                self.config.evaluation.max_new_tokens,
                on_progress=progress,
            )
        return [found[unique[tuple(prompt.ids)]] for prompt in prompts]

    def _score(self, prompts: list[Prompt], answers: list[Any], step: int, stage: str) -> None:
        from tui_tuner.evaluation.metrics import Scored, score

        rows = [
            Scored(prompt=prompt.text, reference=prompt.reference, text=found.text, stopped=found.stopped)
            for prompt, found in zip(prompts, answers, strict=True)
        ]
        metrics = score(self.config.evaluation.metrics, rows)
        self.reporter.emit(Evaluation(step, stage, metrics, rows=len(rows)))


def _exp(value: float) -> float:
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf
