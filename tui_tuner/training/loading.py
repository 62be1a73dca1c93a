"""The model of a run, with its method attached, ready to be trained."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from transformers import set_seed

from tui_tuner.compute import attention, low_rank
from tui_tuner.compute.gradient_checkpointing import checkpoint_layers
from tui_tuner.compute.kernels.chosen import Chosen
from tui_tuner.compute.kernels.install import install_kernels
from tui_tuner.compute.numeric import autocast_name, matmul_precision
from tui_tuner.compute.regions import compile_layers
from tui_tuner.config.advice import advise, setting
from tui_tuner.config.kinds import RANKED
from tui_tuner.config.resolved import ResolvedConfig
from tui_tuner.config.schema import RunConfig
from tui_tuner.data.examples.store import TokenizedRows
from tui_tuner.errors import OutOfMemoryError
from tui_tuner.locales import N_, _
from tui_tuner.methods import attach, trainable_parameters
from tui_tuner.models import vocabulary
from tui_tuner.models.device import Device
from tui_tuner.models.reading import counting_weights
from tui_tuner.tasks import Task
from tui_tuner.text import one_line
from tui_tuner.training.origin import sources
from tui_tuner.training.step.recovery import Recovery
from tui_tuner.training.watching.reporting import Reporter

Load = Callable[[RunConfig, str, Any, Mapping[str, Any]], Any]


def load_trainable(
    config: ResolvedConfig,
    device: Device,
    tokenizer: Any,
    task: Task,
    learned: Mapping[str, Any],
    reporter: Reporter,
    recovery: Recovery,
    rows: Sequence[TokenizedRows],
    kernels: list[Chosen],
) -> Any:
    """Load the base model and attach the method to it.

    Args:
        learned: What the task's encoder found out about the data.
        rows: The training rows, and those held out.
        kernels: Gets what computes parts of the model.

    Raises:
        OutOfMemoryError: the model does not fit.
        ModelError: it is damaged, or does not belong to the tokenizer.
    """
    reporter.phase("loading", note=_("model"))
    _set_numerics(config, device)
    attention.register(hub=config.model.attention == "hub")

    def say(done: int, total: int) -> None:
        reporter.phase("loading", done, total, _("weights of the model"), "tensors")

    with _fitting(config, recovery), counting_weights(say):
        model = load_base(config, device.place, tokenizer, task, learned)
    made_of = sources(config.model)
    for source in made_of:
        reporter.emit(source)
    check_tokens(model, tokenizer, config, rows, reporter)
    reporter.phase("loading", note=_("attaching the method"))
    with _fitting(config, recovery):
        model = attach_method(model, config, task)
    if hasattr(model, "peft_config"):  # so that whoever loads the adapter takes the same weights
        model.active_peft_config.revision = made_of[0].revision or None
    warn_of_untrained_tokens(model, tokenizer, config, rows, reporter)
    with _fitting(config, recovery):
        kernels += make_quick(model, config, device, reporter)
    checkpoint_layers(model, config.training.gradient_checkpointing)
    trained, total = trainable_parameters(model)
    reporter.log(
        _(
            "{trained:,} of {total:,} parameters are trained ({share:.2%}).",
            trained=trained,
            total=total,
            share=trained / total,
        )
    )
    return model


def make_quick(model: Any, config: ResolvedConfig, device: Device, reporter: Reporter) -> list[Chosen]:
    """Let a model compute the same with fewer kernels, wherever that proves exact; what computes its parts.

    Compiled layers are left as they are otherwise: the compiler brings their operations together itself.
    """
    name = autocast_name(device, config)
    autocast = getattr(torch, name) if name else None
    found: list[Chosen] = []
    if config.training.compile:
        reporter.phase("loading", note=_("compiling layers"))
        compiled = compile_layers(model, device, autocast)
        if compiled.kernel:
            return [compiled]
        found.append(compiled)
        reporter.warn(
            "not_compiled",
            _("Layers are not compiled, and compute as they are: {problem}", problem=compiled.why),
            advise(N_("Switch it off with {command}.", command=setting({"training.compile": False}))),
        )
    found += low_rank.quicken(model, device)
    return found + install_kernels(model, device, autocast, bool(config.training.gradient_checkpointing))


@contextlib.contextmanager
def _fitting(config: ResolvedConfig, recovery: Recovery) -> Iterator[None]:
    """Turn memory that runs out while a model is made into an error that says what to do."""
    try:
        recovery.enter("loading")
        yield
    except Exception as error:
        if not recovery.is_out_of_memory(error):
            raise
        problem = one_line(error, 200)
        recovery.free(error)
        if config.model.quantization == "none":
            hint = _("Quantise it (model.quantization: nf4), or choose a smaller one.")
        else:
            hint = _("Choose a smaller model, or end what else uses the memory.")
        raise OutOfMemoryError(
            _("memory ran out while the model was loaded ({problem}).", problem=problem),
            where="model",
            field="model.name",
            hint=hint,
        ) from None


def load_base(
    config: RunConfig,
    device: str,
    tokenizer: Any,
    task: Task,
    learned: Mapping[str, Any],
    load: Load | None = None,
) -> Any:
    """The base model as a run begins with it.

    Args:
        load: Loads it instead of the task: `(config, device, tokenizer, learned) -> model`.
    """
    set_seed(config.training.seed)  # a new head is random, and must be the same whenever the run is continued
    model = (load or task.load)(config, device, tokenizer, learned)
    task.finish_model(model, learned)
    return model


def attach_method(model: Any, config: ResolvedConfig, task: Task) -> Any:
    """The base model with the run's method, whose own random numbers are the same each time."""
    set_seed(config.training.seed)
    return attach(model, config, task.peft_type)


def _set_numerics(config: ResolvedConfig, device: Device) -> None:
    if config.training.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(config.training.deterministic)
    torch.set_float32_matmul_precision(matmul_precision(device, config))


def check_tokens(
    model: Any, tokenizer: Any, config: ResolvedConfig, rows: Sequence[TokenizedRows], reporter: Reporter
) -> None:
    """Raise `ModelError` if a row or a prompt holds a token that the model has no embedding for."""
    note = vocabulary.fit_padding(model, tokenizer)
    if note:
        reporter.log(note)
    missing = vocabulary.beyond(model, tokenizer)
    if not missing:
        return
    prompts = [np.asarray(tokenizer(text)["input_ids"]) for text in config.evaluation.prompts or ()]
    used = vocabulary.count_tokens([*_ids(rows), *prompts], missing)
    if used:
        raise vocabulary.refuse(model, tokenizer, used)
    reporter.log(
        _(
            "The model has no embedding for {count:,} tokens of its tokenizer; no row holds one of them.",
            count=len(missing),
        )
    )


def warn_of_untrained_tokens(
    model: Any, tokenizer: Any, config: ResolvedConfig, rows: Sequence[TokenizedRows], reporter: Reporter
) -> None:
    """Warn of added tokens in the rows that nobody has trained, where this run does not do it either."""
    embeddings = model.get_input_embeddings()
    if any(parameter.requires_grad for parameter in embeddings.parameters()):
        return
    used = vocabulary.count_tokens(_ids(rows), vocabulary.untrained(model, tokenizer))
    if not used:
        return
    if config.method.kind in RANKED:
        hint: str = advise(
            N_("Train them too with {command}.", command=setting({"method.train_embeddings": True}))
        )
    else:
        hint = _(
            "Train them too with method.kind lora and method.train_embeddings, or with method.kind full."
        )
    reporter.warn(
        "untrained_tokens",
        _(
            "The rows hold added tokens whose embeddings look as if they had never been trained, and "
            "{method} leaves embeddings as they are: {tokens}.",
            method=config.method.kind,
            tokens=vocabulary.named(tokenizer, used),
        ),
        hint,
    )


def _ids(rows: Sequence[TokenizedRows]) -> list[np.ndarray]:
    """All token ids of these rows; those held out are often from the same store as those trained."""
    return list({id(part.store): part.store.ids for part in rows}.values())
