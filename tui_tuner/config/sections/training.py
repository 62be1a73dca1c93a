"""The section `training`: learning rate, batch size, optimizer, precision and error handling."""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import field_validator

from tui_tuner.config.sections.field_options import Auto, Section, declare_option
from tui_tuner.locales import N_, _
from tui_tuner.text import one_line

EVERY_SECOND: Final = "every_second"
OFFLOAD: Final = "offload"
Checkpointing = bool | Literal["every_second", "offload"]
DEGREES: tuple[Checkpointing, ...] = (False, EVERY_SECOND, True, OFFLOAD)  # each keeps less on the device
Optimizer = Literal[
    "adamw",
    "adamw_8bit",
    "paged_adamw_8bit",
    "sgd",
    "adafactor",
    "lion",
    "muon",
    "schedule_free",
    "galore",
    "apollo",
]
MOST_WEIGHT = 1_000_000  # of a class in the loss


class TrainingSection(Section):
    """How the weights are trained: learning rate, batches, optimizer and precision."""

    learning_rate: float | Auto = declare_option(
        "auto",
        N_("Peak learning rate."),
        N_(
            "The size of each update. If it is too high, the loss jumps or diverges; if it is too low, "
            "the model hardly learns. auto chooses a value that is usual for the method and reports it."
        ),
        gt=0,
        le=10,
    )
    epochs: float = declare_option(
        3.0, N_("Passes over the training rows."), unit=N_("epochs"), gt=0, le=10_000
    )
    max_steps: int | None = declare_option(
        None, N_("Stop after this many optimizer steps."), unit=N_("steps"), ge=1, le=10**9
    )
    batch_size: int = declare_option(
        16,
        N_("Sequences per optimizer step."),
        N_(
            "The effective batch size: the gradient is averaged over this many, however many fit into "
            "memory at once."
        ),
        unit=N_("sequences"),
        ge=1,
        le=1_000_000,
    )
    micro_batch: int | Auto = declare_option(
        "auto",
        N_("Sequences per forward pass; the gradients of several are accumulated."),
        N_("Lower it if memory runs out: the result stays the same."),
        unit=N_("sequences"),
        ge=1,
        le=1_000_000,
    )
    gradient_checkpointing: Auto | Checkpointing = declare_option(
        "auto",
        N_("Recompute activations in the backward pass instead of keeping them."),
        N_(
            "Saves a lot of memory; a step takes about 1.4 times as long. every_second recomputes every "
            "other layer, for half the saving at half the cost. offload moves what remains from the GPU "
            "to main memory. auto chooses the fastest setting that fits."
        ),
    )
    optimizer: Auto | Optimizer = declare_option(
        "auto",
        N_("Optimizer."),
        N_(
            "How a gradient becomes an update. AdamW is the usual one; 8-bit AdamW keeps its state in a "
            "quarter of the memory, and GaLore and APOLLO save more where whole matrices are trained."
        ),
    )
    optimizer_rank: int = declare_option(
        16,
        N_("Dimensions in which GaLore and APOLLO keep the state of a weight matrix."),
        N_(
            "Less memory if it is lower, and closer to AdamW if it is higher. The papers use 4 to 8 for "
            "fine-tuning and up to a quarter of the matrix for pretraining. Matrices with a side no longer "
            "than this are trained with AdamW."
        ),
        ge=1,
        le=4096,
        advanced=True,
    )
    optimizer_interval: int = declare_option(
        200,
        N_("GaLore and APOLLO choose new dimensions after so many steps."),
        N_("The papers use 200; with short runs, take about a tenth of the steps."),
        unit=N_("steps"),
        ge=1,
        le=1_000_000,
        advanced=True,
    )
    lora_plus_ratio: float | None = declare_option(
        None,
        N_("The second matrices of LoRA learn at so many times the learning rate (LoRA+, arXiv 2402.12354)."),
        N_(
            "The two matrices of an update do not learn equally well at one rate: the second one, which "
            "begins as zero, bears a higher one. 16 is usual, with a somewhat lower learning rate. Empty is "
            "one rate for both."
        ),
        ge=1,
        le=1000,
        advanced=True,
    )
    schedule: Literal["cosine", "linear", "constant", "inverse_sqrt", "warmup_stable_decay"] = declare_option(
        "cosine", N_("How the learning rate decreases.")
    )
    warmup: float = declare_option(
        0.03,
        N_("Share of the steps in which the learning rate rises from zero (warm-up)."),
        ge=0,
        le=1,
        unit=N_("share"),
    )
    weight_decay: float = declare_option(0.0, N_("Weight decay (decoupled)."), ge=0, le=10)
    max_grad_norm: float = declare_option(
        1.0, N_("Clip gradients to this norm; 0 turns clipping off."), ge=0, le=1_000_000
    )
    adam_beta1: float = declare_option(0.9, N_("AdamW beta 1."), ge=0, lt=1, advanced=True)
    adam_beta2: float = declare_option(0.999, N_("AdamW beta 2."), ge=0, lt=1, advanced=True)
    loss: Literal["auto", "full_logits"] = declare_option(
        "auto",
        N_("Positions at which logits are computed."),
        N_("auto computes them for trained tokens only: the same loss with less time and memory."),
        advanced=True,
    )
    class_weights: dict[str, float] | Literal["none", "balanced"] = declare_option(
        "none",
        N_("How much each class counts in the loss."),
        N_(
            "balanced weights each class by the inverse of its frequency; {class: weight} sets the "
            "weights one by one. none gives every row the same weight."
        ),
        advanced=True,
    )
    label_smoothing: float = declare_option(
        0.0,
        N_("Share of each target that is spread over all tokens of the vocabulary."),
        N_(
            "The model is kept from being too sure of one wording (arXiv 1512.00567); 0.1 is common for "
            "summaries and translations. 0 trains the target alone."
        ),
        ge=0,
        lt=1,
        advanced=True,
    )
    neftune_alpha: float | None = declare_option(
        None,
        N_("Amount of noise added to the embeddings (NEFTune, arXiv 2310.05914)."),
        gt=0,
        le=1000,
        advanced=True,
    )
    autocast: bool | Auto = declare_option(
        "auto", N_("Mixed precision: compute in 16 bits over float32 weights."), advanced=True
    )
    compile: bool | Auto = declare_option(
        "auto",
        N_("Compile the model's layers when the run starts."),
        N_(
            "PyTorch's compiler fuses many small operations. It delays the first step and helps most if "
            "steps are small. auto compiles only if a measured speedup makes up for the delay."
        ),
        advanced=True,
    )
    tf32: bool = declare_option(
        False,
        N_("Use TensorFloat-32 on GPUs."),
        N_(
            "float32 matrix products with 10 bits of mantissa: faster on Ampere and newer GPUs, and less "
            "exact."
        ),
        advanced=True,
    )
    deterministic: bool = declare_option(
        False, N_("Use only kernels that give the same result bit for bit each time."), advanced=True
    )
    on_out_of_memory: Literal["retry", "stop"] = declare_option(
        "retry",
        N_(
            "If memory runs out: retry halves the micro-batch and keeps the effective batch; stop ends "
            "the run."
        ),
        advanced=True,
    )
    on_bad_numbers: Literal["warn", "skip", "rollback", "stop"] = declare_option(
        "stop",
        N_("What to do if the loss or gradient is NaN or infinite."),
        N_(
            "skip leaves the batch out; rollback goes back to the last checkpoint and continues with a "
            "lower learning rate."
        ),
        advanced=True,
    )
    report_every: float = declare_option(
        1.0,
        N_("How often the results of steps are read from the device and written to the journal."),
        unit=N_("seconds"),
        gt=0,
        le=60,
        advanced=True,
    )
    seed: int = declare_option(
        42, N_("Random seed for initialisation, row order and dropout."), ge=0, le=2**32 - 1
    )

    @field_validator("class_weights", mode="before")
    @classmethod
    def _weights_of_classes(cls, value: Any) -> Any:
        """Check the weights, and turn the names of classes into text."""
        if not isinstance(value, dict):
            return value
        if not value:
            raise ValueError(_("names no class; use none, balanced, or a weight for each class"))
        # Names of classes are text, but YAML reads names such as 0 and true as a number and a boolean
        found = {str(name): weight for name, weight in value.items()}
        for name, weight in found.items():
            number = isinstance(weight, int | float) and not isinstance(weight, bool)
            if not number or not 0 < weight <= MOST_WEIGHT:  # NaN is neither above nor below
                raise ValueError(
                    _(
                        "the weight of class {name} is {weight}, but must be a number above 0 and at "
                        "most {most:,}",
                        name=one_line(name, 40),
                        weight=one_line(repr(weight), 40),
                        most=MOST_WEIGHT,
                    )
                )
        return found
