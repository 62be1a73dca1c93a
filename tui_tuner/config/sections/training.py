"""How the weights are trained: rate, batch, optimizer, precision."""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import field_validator

from tui_tuner.config.sections.base import Auto, Section, option
from tui_tuner.locales import N_, _
from tui_tuner.text import one_line

EVERY_SECOND: Final = "every_second"
OFFLOAD: Final = "offload"
Checkpointing = bool | Literal["every_second", "offload"]
DEGREES: tuple[Checkpointing, ...] = (False, EVERY_SECOND, True, OFFLOAD)  # each keeps less on the device
Optimizer = Literal["adamw", "adamw_8bit", "paged_adamw_8bit", "sgd", "adafactor"]
MOST_WEIGHT = 1_000_000  # of a class in the loss


class TrainingSection(Section):
    """How the weights are trained."""

    learning_rate: float | Auto = option(
        "auto",
        N_("Learning rate at its peak."),
        N_(
            "The size of each step. Too high and the loss jumps or explodes; too low and nothing is learnt. "
            "auto takes a value that is usual for the method, and says which."
        ),
        gt=0,
        le=10,
    )
    epochs: float = option(3.0, N_("Passes over the training rows."), unit=N_("epochs"), gt=0, le=10_000)
    max_steps: int | None = option(
        None, N_("Stop after this many optimizer steps."), unit=N_("steps"), ge=1, le=10**9
    )
    batch_size: int = option(
        16,
        N_("Sequences per optimizer step."),
        N_("The effective batch: what the gradient is averaged over, whatever fits into memory at once."),
        unit=N_("sequences"),
        ge=1,
        le=1_000_000,
    )
    micro_batch: int | Auto = option(
        "auto",
        N_("Sequences per forward pass; the gradients of several are accumulated."),
        N_("Lower it if memory runs out: the result stays the same."),
        unit=N_("sequences"),
        ge=1,
        le=1_000_000,
    )
    gradient_checkpointing: Auto | Checkpointing = option(
        "auto",
        N_("Compute activations twice instead of keeping them."),
        N_(
            "Saves much memory; a step takes about 1.4 times as long. every_second is half of both. offload "
            "keeps even less on the GPU, and the rest in the machine's memory. auto takes the fastest that "
            "fits."
        ),
    )
    optimizer: Auto | Optimizer = option(
        "auto", N_("Optimizer."), N_("8-bit AdamW keeps its state in a quarter of the memory.")
    )
    schedule: Literal["cosine", "linear", "constant", "inverse_sqrt", "warmup_stable_decay"] = option(
        "cosine", N_("How the learning rate falls.")
    )
    warmup: float = option(
        0.03,
        N_("Share of the steps in which the learning rate rises from zero (warm-up)."),
        ge=0,
        le=1,
        unit=N_("share"),
    )
    weight_decay: float = option(0.0, N_("Weight decay (decoupled)."), ge=0, le=10)
    max_grad_norm: float = option(
        1.0, N_("Gradients are clipped to this norm; 0 is off."), ge=0, le=1_000_000
    )
    adam_beta1: float = option(0.9, N_("AdamW beta 1."), ge=0, lt=1, advanced=True)
    adam_beta2: float = option(0.999, N_("AdamW beta 2."), ge=0, lt=1, advanced=True)
    loss: Literal["auto", "full_logits"] = option(
        "auto",
        N_("Where logits are computed."),
        N_("auto computes them for trained tokens only: the same loss with less time and memory."),
        advanced=True,
    )
    class_weights: dict[str, float] | Literal["none", "balanced"] = option(
        "none",
        N_("How much each class counts in the loss."),
        N_(
            "balanced makes rare classes count more, by how rare they are; {class: weight} says it for each. "
            "none counts every row alike."
        ),
        advanced=True,
    )
    neftune_alpha: float | None = option(
        None, N_("Noise on the embeddings (NEFTune, arXiv 2310.05914)."), gt=0, le=1000, advanced=True
    )
    autocast: bool | Auto = option(
        "auto", N_("Mixed precision: compute in 16 bits over float32 weights."), advanced=True
    )
    compile: bool | Auto = option(
        "auto",
        N_("Compile the model's layers when the run begins."),
        N_(
            "PyTorch's compiler brings many small operations together. It takes a while before the first "
            "step, and gains where steps are small. auto compiles only where a measured gain pays that back."
        ),
        advanced=True,
    )
    tf32: bool = option(
        False,
        N_("TensorFloat-32 on GPUs."),
        N_("float32 matrix products with 10 bits of mantissa: quicker on Ampere and newer, and less exact."),
        advanced=True,
    )
    deterministic: bool = option(False, N_("Only kernels that repeat bit for bit."), advanced=True)
    on_out_of_memory: Literal["retry", "stop"] = option(
        "retry",
        N_("retry halves the micro-batch and keeps the effective batch; stop ends the run."),
        advanced=True,
    )
    on_bad_numbers: Literal["warn", "skip", "rollback", "stop"] = option(
        "stop",
        N_("What a NaN or infinite loss or gradient does."),
        N_("skip leaves the batch out; rollback goes back to the last checkpoint with a lower rate."),
        advanced=True,
    )
    report_every: float = option(
        1.0,
        N_("Steps are read from the device and written in batches this far apart."),
        unit=N_("seconds"),
        gt=0,
        le=60,
        advanced=True,
    )
    seed: int = option(42, N_("Seed of initialisation, order and dropout."), ge=0, le=2**32 - 1)

    @field_validator("class_weights", mode="before")
    @classmethod
    def _weights_of_classes(cls, value: Any) -> Any:
        """Names of classes are text: YAML makes a number or a truth value of 0 or true."""
        if not isinstance(value, dict):
            return value
        if not value:
            raise ValueError(_("names no class; use none, balanced, or a weight for each class"))
        found = {str(name): weight for name, weight in value.items()}
        for name, weight in found.items():
            number = isinstance(weight, int | float) and not isinstance(weight, bool)
            if not number or not 0 < weight <= MOST_WEIGHT:  # NaN is neither above nor below
                raise ValueError(
                    _(
                        "the weight of class {name} is {weight}, and has to be a number above 0 and at most "
                        "{most:,}",
                        name=one_line(name, 40),
                        weight=one_line(repr(weight), 40),
                        most=MOST_WEIGHT,
                    )
                )
        return found
