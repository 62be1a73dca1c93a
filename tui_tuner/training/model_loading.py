"""Load the model of a run and attach its method, ready for training."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tui_tuner.compute import attention, low_rank
from tui_tuner.compute.gradient_checkpointing import checkpoint_layers
from tui_tuner.compute.kernels.chosen_kernel import ChosenKernel
from tui_tuner.compute.kernels.install import install_kernels
from tui_tuner.compute.numeric import choose_matmul_precision, find_autocast_dtype
from tui_tuner.compute.regions import compile_layers
from tui_tuner.config.advice import build_hint, write_setting
from tui_tuner.config.resolved import ResolvedConfig
from tui_tuner.config.schema import RunConfig
from tui_tuner.data.examples.store import TokenizedRows
from tui_tuner.errors import OutOfMemoryError
from tui_tuner.locales import N_, _
from tui_tuner.methods import attach, count_model_parameters
from tui_tuner.methods.attached import find_model_method
from tui_tuner.methods.saved.putting import begin_adapter
from tui_tuner.models import vocabulary
from tui_tuner.models.device import Device
from tui_tuner.models.weight_reading import count_weights
from tui_tuner.tasks import Task
from tui_tuner.text import one_line
from tui_tuner.training.origin import find_model_sources
from tui_tuner.training.step.random_states import seed_everything
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
    kernels: list[ChosenKernel],
    start: Path | None = None,
) -> Any:
    """Load the base model and attach the method to it.

    Args:
        learned: What the task's encoder found out about the data.
        rows: The training rows, and the held-out rows.
        kernels: Filled with the kernels that compute parts of the model.
        start: An adapter that is trained on, or that stays frozen under the new one.

    Raises:
        OutOfMemoryError: the model does not fit.
        ModelError: it is damaged, or does not belong to the tokenizer.
    """
    reporter.report_phase("loading", note=_("model"))
    _set_numerics(config, device)
    attention.register_attention(hub=config.model.attention == "hub")

    def say(done: int, total: int) -> None:
        reporter.report_phase("loading", done, total, _("weights of the model"), "tensors")

    with _guard_memory(config, recovery), count_weights(say):
        model = load_base_model(config, device.torch_name, tokenizer, task, learned)
    made_of = find_model_sources(config.model)
    for source in made_of:
        reporter.emit(source)
    check_row_tokens(model, tokenizer, config, rows, reporter)
    reporter.report_phase("loading", note=_("attaching the method"))
    with _guard_memory(config, recovery):
        model = attach_method(model, config, task, start)
    # Saved in the adapter's config, so that any program that loads it can take the same base weights.
    find_model_method(model).note_revision(model, made_of[0].revision)
    warn_of_untrained_tokens(model, tokenizer, config, rows, reporter)
    with _guard_memory(config, recovery):
        # After the method is attached: LoRA layers get kernels too.
        kernels += make_model_quick(model, config, device, reporter)
    checkpoint_layers(model, config.training.gradient_checkpointing)
    trained, total = count_model_parameters(model)
    reporter.report_log(
        _(
            "{trained:,} of {total:,} parameters are trained ({share:.2%}).",
            trained=trained,
            total=total,
            share=trained / total,
        )
    )
    return model


def make_model_quick(
    model: Any, config: ResolvedConfig, device: Device, reporter: Reporter
) -> list[ChosenKernel]:
    """Speed a model up where that proves exact; return the kernels that compute its parts."""
    name = find_autocast_dtype(device, config)
    autocast = getattr(torch, name) if name else None
    found: list[ChosenKernel] = []
    if config.training.compile:
        reporter.report_phase("loading", note=_("compiling layers"))
        compiled = compile_layers(model, device, autocast)
        # No other kernels then: the compiler fuses the operations of a layer itself.
        if compiled.kernel:
            return [compiled]
        found.append(compiled)
        reporter.report_warning(
            "not_compiled",
            _("Layers are not compiled and run as they are: {problem}", problem=compiled.why),
            build_hint(
                N_("Switch it off with {command}.", command=write_setting({"training.compile": False}))
            ),
        )
    found += low_rank.quicken_lora(model, device)
    return found + install_kernels(model, device, autocast, bool(config.training.gradient_checkpointing))


@contextlib.contextmanager
def _guard_memory(config: ResolvedConfig, recovery: Recovery) -> Iterator[None]:
    """Turn running out of memory during loading into an error that advises what to do."""
    try:
        recovery.enter_place("loading")
        yield
    except Exception as error:
        if not recovery.is_out_of_memory(error):
            raise
        # Taken before `free` clears the frames of the error, which hold what was loaded of the model.
        problem = one_line(error, 200)
        recovery.free(error)
        if config.model.quantization == "none":
            hint = _("Quantise it (model.quantization: nf4), or choose a smaller one.")
        else:
            hint = _("Choose a smaller model, or end other programs that use the memory.")
        raise OutOfMemoryError(
            _("ran out of memory while loading the model ({problem}).", problem=problem),
            where="model",
            field="model.name",
            hint=hint,
        ) from None


def load_base_model(
    config: RunConfig,
    device: str,
    tokenizer: Any,
    task: Task,
    learned: Mapping[str, Any],
    load: Load | None = None,
) -> Any:
    """Load the base model as a run begins with it, with a new head if the task needs one.

    Args:
        load: Loads it instead of the task: `(config, device, tokenizer, learned) -> model`.
    """
    # A new head is random, and must be the same each time the run is resumed.
    seed_everything(config.training.seed)
    model = (load or task.load_run_model)(config, device, tokenizer, learned)
    task.finish_model(model, learned)
    return model


def attach_method(model: Any, config: ResolvedConfig, task: Task, start: Path | None = None) -> Any:
    """Attach the run's method to the base model.

    Args:
        start: An adapter that is trained on, or that stays frozen under the new one.
    """
    # What a method draws and does not train, such as VeRA's matrices, must be the same in a resumed run.
    seed_everything(config.training.seed)
    if start is not None:
        return begin_adapter(model, config, task.peft_type, start)
    return attach(model, config, task.peft_type)


def _set_numerics(config: ResolvedConfig, device: Device) -> None:
    if config.training.deterministic:
        # PyTorch refuses deterministic matrix products on CUDA without this; a value of the user's wins.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(config.training.deterministic)
    torch.set_float32_matmul_precision(choose_matmul_precision(device, config))


def check_row_tokens(
    model: Any, tokenizer: Any, config: ResolvedConfig, rows: Sequence[TokenizedRows], reporter: Reporter
) -> None:
    """Raise `ModelError` if a row or a prompt holds a token that the model has no embedding for."""
    note = vocabulary.fit_padding_token(model, tokenizer)
    if note:
        reporter.report_log(note)
    # Many tokenizers have more tokens than the model has embeddings. That matters only if one is used.
    missing = vocabulary.find_ids_beyond(model, tokenizer)
    if not missing:
        return
    prompts = [np.asarray(tokenizer(text)["input_ids"]) for text in config.evaluation.prompts or ()]
    used = vocabulary.count_token_ids([*_list_ids(rows), *prompts], missing)
    if used:
        raise vocabulary.make_vocabulary_error(model, tokenizer, used)
    reporter.report_log(
        _(
            "The model has no embedding for {count:,} tokens of its tokenizer. No row contains them.",
            count=len(missing),
        )
    )


def warn_of_untrained_tokens(
    model: Any, tokenizer: Any, config: ResolvedConfig, rows: Sequence[TokenizedRows], reporter: Reporter
) -> None:
    """Warn of added tokens in the rows that look untrained, unless this run trains embeddings."""
    embeddings = model.get_input_embeddings()
    if any(parameter.requires_grad for parameter in embeddings.parameters()):
        return
    used = vocabulary.count_token_ids(_list_ids(rows), vocabulary.find_untrained_tokens(model, tokenizer))
    if not used:
        return
    if config.method.reads_field("train_embeddings"):
        hint: str = build_hint(
            N_("Train them too with {command}.", command=write_setting({"method.train_embeddings": True}))
        )
    else:
        hint = _(
            "Train them too with method.kind lora and method.train_embeddings, or with method.kind full."
        )
    reporter.report_warning(
        "untrained_tokens",
        _(
            "The rows hold added tokens whose embeddings look as if they had never been trained, and "
            "{method} leaves embeddings as they are: {tokens}.",
            method=config.method.kind,
            tokens=vocabulary.name_counted_tokens(tokenizer, used),
        ),
        hint,
    )


def _list_ids(rows: Sequence[TokenizedRows]) -> list[np.ndarray]:
    """Return the token ids of these rows, once for each store."""
    # Held-out rows often share a store with the training rows.
    return list({id(part.store): part.store.ids for part in rows}.values())
