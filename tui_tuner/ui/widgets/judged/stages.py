"""The stages at which a held-out prompt was answered, and the two that are shown side by side."""

from __future__ import annotations

from dataclasses import dataclass

from tui_tuner.locales import N_, _
from tui_tuner.runs.events import Sample

STAGES = {"before": N_("before training"), "after": N_("after training")}
REFERENCE = "reference"
Key = tuple[str, int]  # a stage and its step


def group_samples_by_prompt(samples: tuple[Sample, ...]) -> dict[int, list[Sample]]:
    """Group samples by prompt, in order; a repeated stage and step replaces the older one."""
    found: dict[int, dict[Key, Sample]] = {}
    for sample in samples:
        found.setdefault(sample.index, {})[make_sample_key(sample)] = sample
    return {index: list(stages.values()) for index, stages in sorted(found.items())}


def make_sample_key(sample: Sample) -> Key:
    return sample.stage, sample.step


def name_answer_stage(sample: Sample) -> str:
    """Name the stage of an answer."""
    if sample.stage == REFERENCE:
        return _("the data's own answer")
    return _(STAGES[sample.stage]) if sample.stage in STAGES else _("at step {step:,}", step=sample.step)


@dataclass
class AnswerSides:
    """The answers at the left and the right: the first and the newest, until others are chosen."""

    left: Key | None = None
    right: Key | None = None

    def choose_samples(self, stages: list[Sample]) -> tuple[Sample, Sample | None]:
        """Return the answers of a prompt to show; the second is None if there is only one."""
        known = {make_sample_key(sample): sample for sample in stages}
        # The data's answer comes last in the list, but is only shown when it is chosen.
        last = next((sample for sample in reversed(stages) if sample.stage != REFERENCE), stages[-1])
        right = known.get(self.right or make_sample_key(last), last)
        left = known.get(self.left or make_sample_key(stages[0]), stages[0])
        return (left, right) if left is not right else (left, None)

    def turn_side(self, side: str, stages: list[Sample]) -> None:
        """Show the next answer on one side, wrapping around and skipping the other side's."""
        left, right = self.choose_samples(stages)
        shown, other = (left, right) if side == "left" else (right or left, left)
        # The answer of the other side is skipped: the same answer twice would compare nothing.
        order = [sample for sample in stages if sample is not other or sample is shown]
        if len(order) < 2 and shown in order:
            return
        turned = order[(order.index(shown) + 1) % len(order)] if shown in order else order[0]
        setattr(self, side, make_sample_key(turned))


def add_reference_answer(stages: list[Sample]) -> list[Sample]:
    """Return the answers to a prompt, followed by the data's answer if it has one."""
    first = stages[0]
    if not first.reference.strip():
        return stages
    own = Sample(first.step, first.index, REFERENCE, first.prompt, first.reference, first.reference, True)
    return [*stages, own]
