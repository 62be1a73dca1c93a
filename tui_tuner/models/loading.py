"""Load tokenizers and models from a folder, a hub, the embedded demo, or with random weights.

Weights are read from safetensors only. Code that comes with a model runs only if the config allows it. Each
failure becomes a `ModelError` or `HubError` with a hint.
"""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tui_tuner.config.paths import explain_missing_path
from tui_tuner.config.schema import ModelSection, RunConfig
from tui_tuner.errors import ModelError, name_error_field
from tui_tuner.locales import _
from tui_tuner.models.architectures.older_code import check_older_code, name_nearest, try_older_code
from tui_tuner.models.device import find_device, prepare_device
from tui_tuner.models.growing.new_rows import grow_loaded_model
from tui_tuner.models.hub.place import bring_tokenizer, find_hub_source, is_model_path, is_settled
from tui_tuner.models.load_failures import ARCHITECTURE, MODEL, TOKENIZER, explain_failures
from tui_tuner.models.lookup import check_safetensors, read_model_config
from tui_tuner.models.new_weights import (
    POOLER,
    forget_weight_renaming,
    list_head_modules,
    map_backbone_names,
    note_random_head,
    note_random_weights,
    renew_head_outputs,
)
from tui_tuner.models.sizes import check_sizes, check_small_files
from tui_tuner.models.tiny import find_tiny_folder
from tui_tuner.models.weights_check import check_weights_match_config
from tui_tuner.text import one_line

_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "spiece.model",
)
_HUB_SECONDS = 5.0
# How long a hub that did not answer is not asked again: each request waits for the timeout above.
_UNREACHED_SECONDS = 60.0
_ask_again = 0.0  # a value of `time.monotonic`


def find_model_source(model: ModelSection) -> str:
    """Return a local folder as an absolute path, or the hub id unchanged.

    Raises:
        ModelError: a path that is not a folder, or that holds no config.json.
        HubError: a model of ModelScope that is not on this machine yet.
    """
    check_older_code(model)
    name = model.name
    if is_model_path(name):
        return _checked_folder(find_tiny_folder(name) or Path(name).expanduser(), name)
    return find_hub_source(name, model.revision, model.hub, model.architecture is None)


def load_tokenizer(model: ModelSection) -> Any:
    """Load the tokenizer of a model, or the one named in `model.tokenizer`.

    Raises:
        ModelError: missing or damaged, or it must be trained from data first.
        HubError: the hub cannot be reached, or refuses.
    """
    if model.tokenizer == "train":
        raise ModelError(_("the tokenizer is trained on the data of the run."), where="model.tokenizer")
    with name_error_field("model.name" if model.tokenizer is None else "model.tokenizer"):
        return _load_tokenizer(model)


def _load_tokenizer(model: ModelSection) -> Any:
    bring_tokenizer(model)
    source = find_tokenizer_source(model)
    from transformers import AutoTokenizer

    revision = model.revision if model.tokenizer is None and not os.path.isdir(source) else None
    with name_nearest(model), explain_failures(source, *TOKENIZER):
        if not os.path.isdir(source):
            _check_hub_config(
                source, {"revision": revision, "local_files_only": is_cache_only(source, revision)}
            )
        tokenizer = AutoTokenizer.from_pretrained(
            source,
            revision=revision,
            trust_remote_code=model.trust_remote_code,
            local_files_only=is_cache_only(source, revision),
        )
    if not len(tokenizer):
        raise ModelError(_("the tokenizer has no vocabulary."), where=one_line(source))
    return tokenizer


CAUSAL = "AutoModelForCausalLM"
# Classes whose head writes tokens and must be in the files; any other head may be new
WRITING = (CAUSAL, "AutoModelForSeq2SeqLM")


def load_model(
    config: RunConfig,
    device: str,
    tokenizer: Any = None,
    auto_class: str = CAUSAL,
    values: Mapping[str, Any] | None = None,
    new_modules: Sequence[str] = (),
    new_head: bool = False,
) -> Any:
    """Load the model of a run in its dtype and quantisation onto `device` (`cpu`, `cuda`, `cuda:1`…).

    Args:
        tokenizer: Needed with `model.architecture`: it gives the vocabulary's size and special tokens.
        auto_class: The transformers class that loads it.
        values: Values to set in the model's own config, such as the number of classes.
        new_modules: Modules that may start with random weights if the files have none, such as a new head.
        new_head: The head in the files was made for other classes, so it starts with random weights.

    Raises:
        ModelError: missing or damaged files, an unknown architecture, weights that do not fit.
        HubError: the hub cannot be reached, or refuses.
        HardwareError: the device is absent.
    """
    prepare_device(device)
    with name_error_field("model.name" if config.model.architecture is None else "model.architecture"):
        model = _load_model(config, device, tokenizer, auto_class, values or {}, new_modules, new_head)
    return model if config.model.architecture is not None else grow_loaded_model(model, tokenizer)


def _load_model(
    config: RunConfig,
    device: str,
    tokenizer: Any,
    auto_class: str,
    values: Mapping[str, Any],
    new_modules: Sequence[str],
    new_head: bool,
) -> Any:
    if config.model.architecture is not None:
        return _from_scratch(config, device, tokenizer, auto_class, values)
    source = find_model_source(config.model)
    if os.path.isdir(source):
        check_weight_files(Path(source))
        check_weights_match_config(config.model)
    return _from_weights(config, source, device, auto_class, values, new_modules, new_head)


def find_torch_dtype(name: str, device: str) -> Any:
    """Return the torch dtype of `model.dtype`; `auto` is bfloat16 on a GPU that computes in it, else
    float32.
    """
    import torch

    if name != "auto":
        return getattr(torch, name)
    return torch.bfloat16 if device != "cpu" and find_device(device).has_bf16 else torch.float32


def silence_libraries() -> None:
    """Keep transformers, peft and bitsandbytes from printing to a terminal that shows a screen."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    os.environ.setdefault("BITSANDBYTES_NOWELCOME", "1")
    from huggingface_hub.utils import disable_progress_bars as quiet_hub
    from transformers.utils import logging as transformers_logging

    warnings.filterwarnings("ignore", category=FutureWarning, module=r"(transformers|peft)\.")
    # Printed for every generated token; without left padding these ids equal what the model counts anyway.
    warnings.filterwarnings("ignore", message="Position ids are not supported", module=r"peft\.")
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    quiet_hub()
    for name in ("bitsandbytes", "accelerate", "peft", "torch.distributed", "huggingface_hub"):
        logging.getLogger(name).setLevel(logging.ERROR)


def find_tokenizer_source(model: ModelSection) -> str:
    """Return the folder or hub id that the tokenizer comes from.

    Raises:
        ModelError: a folder that is not a model, or that holds no tokenizer.
    """
    if model.tokenizer is not None and os.path.isdir(Path(model.tokenizer).expanduser()):
        source = str(Path(model.tokenizer).expanduser().resolve())
    elif model.tokenizer is None and is_model_path(model.name):
        source = find_model_source(model)
    else:
        name, revision = (model.tokenizer, None) if model.tokenizer else (model.name, model.revision)
        source = find_hub_source(name, revision, model.hub, weights=False)
    if os.path.isdir(source) and not any((Path(source) / name).is_file() for name in _TOKENIZER_FILES):
        raise ModelError(
            _("this folder holds no tokenizer."),
            where=one_line(source),
            hint=_(
                "Copy tokenizer.json and tokenizer_config.json next to the weights, or set model.tokenizer."
            ),
        )
    if os.path.isdir(source) and model.tokenizer is not None:
        check_small_files(Path(source))
        # AutoTokenizer may look up the tokenizer's class there, so this file is read as well.
        if (Path(source) / "config.json").is_file():
            read_model_config(Path(source) / "config.json")
    return source


def _checked_folder(path: Path, name: str) -> str:
    shown = one_line(name)
    if not os.path.isdir(path):
        hint = _("Give the folder that holds config.json, or a hub id such as Qwen/Qwen3-0.6B.")
        raise ModelError(
            _("no such folder."), where=shown, hint=f"{explain_missing_path(name)} {hint}".strip()
        )
    if not (path / "config.json").is_file():
        hint = _("A model folder holds config.json, the tokenizer and safetensors weights.")
        if (path / "adapter_config.json").is_file():
            hint = _("This is an adapter: give the model it was trained on.")
        raise ModelError(_("this folder holds no config.json, so it is not a model."), where=shown, hint=hint)
    if not read_model_config(path / "config.json").get("model_type"):
        hint = _("Use the config.json that belongs to the weights.")
        raise ModelError(_("has no model_type."), where=f"{shown}/config.json", hint=hint)
    check_small_files(path)
    return str(path.resolve())


def check_weight_files(path: Path) -> None:
    """Raise `ModelError` unless a folder holds complete safetensors weights."""
    if any(path.glob("*.safetensors")):
        check_safetensors(path)
        return
    pickled = any(path.glob("pytorch_model*.bin")) or any(path.glob("*.pt"))
    what = (
        _("the weights are Python pickles, which can run code.")
        if pickled
        else _("this folder holds no weights.")
    )
    hint = (
        _("Convert them to safetensors first.")
        if pickled
        else _("Copy the safetensors files here, or set model.architecture to start from random weights.")
    )
    raise ModelError(what, where=one_line(path), hint=hint)


def _quantization_settings(config: RunConfig, dtype: Any) -> Any:
    """Return the bitsandbytes settings of `model.quantization`, or None."""
    if config.model.quantization == "none":
        return None
    from transformers import BitsAndBytesConfig

    if config.model.quantization == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=config.model.double_quant,
        bnb_4bit_compute_dtype=dtype,
    )


def _from_weights(
    config: RunConfig,
    source: str,
    device: str,
    auto_class: str,
    values: Mapping[str, Any],
    new_modules: Sequence[str],
    new_head: bool,
) -> Any:
    import transformers

    dtype = find_torch_dtype(config.model.dtype, device)
    quantization = _quantization_settings(config, dtype)
    options: dict[str, Any] = {"quantization_config": quantization} if quantization else {}
    if quantization or device != "cpu":
        # Straight onto the device, as bitsandbytes quantises there and the whole model need not fit into
        # memory twice.
        options["device_map"] = {"": device}
    where: dict[str, Any] = {
        "revision": None if os.path.isdir(source) else config.model.revision,
        "trust_remote_code": config.model.trust_remote_code,
        "local_files_only": is_cache_only(source, config.model.revision),
    }
    with name_nearest(config.model), explain_failures(source, *MODEL):
        _check_hub_config(source, where)
        settings = transformers.AutoConfig.from_pretrained(source, **where)
        for name, value in values.items():
            setattr(settings, name, value)
        renamed = map_backbone_names(auto_class, settings) if auto_class not in WRITING else {}
        if renamed:
            options["key_mapping"] = renamed
        model, info = getattr(transformers, auto_class).from_pretrained(
            source,
            config=settings,
            dtype=dtype,
            attn_implementation=_choose_attention(config),
            use_safetensors=True,
            output_loading_info=True,
            # transformers' own error names no weight; they are reported with names below.
            ignore_mismatched_sizes=True,
            **where,
            **options,
        )
        try_older_code(config.model, model)
    random = sorted(info.get("missing_keys") or [])
    # A head that writes must be in the files; any other head may be new, and so may its pooler.
    heads = list_head_modules(model) if auto_class not in WRITING else []
    expected = {*new_modules, *heads, *((POOLER,) if heads else ())}
    missing = [name for name in random if not any(part in expected for part in name.split("."))]
    if missing:
        names = ", ".join(one_line(name, 80) for name in missing[:3])
        raise ModelError(
            _(
                "{count} weights of this architecture are not in the files, such as {names}.",
                count=len(missing),
                names=names,
            ),
            where=one_line(source),
            hint=_("The download may be incomplete, or the folder may hold another kind of model."),
        )
    other = sorted(info.get("mismatched_keys") or [], key=str)
    if new_head:
        # A head for other classes has another shape by intention, and gets new weights in the next line.
        other = [key for key in other if str(key[0]).partition(".")[0] not in heads]
        renew_head_outputs(model)
    if other:
        name, stored, wanted = (*other[0], "?", "?")[:3]
        raise ModelError(
            _(
                "{count} weights have a different shape than config.json describes, such as {name}: "
                "{stored} instead of {wanted}.",
                count=len(other),
                name=one_line(name, 80),
                stored=one_line(list(stored)),
                wanted=one_line(list(wanted)),
            ),
            where=one_line(source),
            hint=_("The config and the weights belong to different models."),
        )
    _keep_quantised_weights(model)
    note_random_weights(model, random)
    forget_weight_renaming(model, renamed)
    if os.path.isdir(source) and not is_model_path(config.model.name):
        # An adapter stores this as its base: an id that others can find, not a folder of this machine.
        model.name_or_path = model.config._name_or_path = config.model.name
    return model


def _check_hub_config(source: str, where: Mapping[str, Any]) -> None:
    """Check the sizes in a hub model's config.json before anything is built of it; a folder's are already
    checked.
    """
    if os.path.isdir(source):
        return
    from transformers import PretrainedConfig

    # Reading values must never run code that comes with the model, whatever the config allows for
    # loading.
    options = {name: value for name, value in where.items() if name != "trust_remote_code"}
    values, _unused = PretrainedConfig.get_config_dict(source, **options)
    check_sizes(values, f"{one_line(source)}/config.json")


def _choose_attention(config: RunConfig) -> str | None:
    """Return the attention to load with; None leaves the choice to transformers: sdpa, or eager if a model
    needs it.
    """
    asked = config.model.attention
    return None if asked in ("auto", "sdpa", "hub") else asked


def _keep_quantised_weights(model: Any) -> None:
    """Keep bitsandbytes from repacking 4-bit weights on a CPU."""
    for module in model.modules():
        # In evaluation mode it converts the weights in place to a format with coarser scales. Training would
        # continue with those: one evaluation would change the model.
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def _from_scratch(
    config: RunConfig, device: str, tokenizer: Any, auto_class: str, values: Mapping[str, Any]
) -> Any:
    import transformers

    if tokenizer is None:
        raise ModelError(_("random weights need a tokenizer for the vocabulary."), where="model.architecture")
    shape = dict(config.model.architecture or {})
    check_sizes(shape, "model.architecture")
    kind = shape.pop("model_type", None)
    where = "model.architecture"
    if not isinstance(kind, str):
        raise ModelError(
            _("model_type is missing."), where=where, hint=_("Write model_type: llama, and the sizes.")
        )
    shape.setdefault("vocab_size", len(tokenizer))
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        shape.setdefault(name, getattr(tokenizer, name))
    if shape["vocab_size"] < len(tokenizer):
        raise ModelError(
            _(
                "vocab_size {vocab_size} is less than the tokenizer's {tokens} tokens.",
                vocab_size=shape["vocab_size"],
                tokens=len(tokenizer),
            ),
            where=where,
        )
    # Here and not earlier: whatever draws random numbers before would change the weights of the same
    # config.
    transformers.set_seed(config.training.seed)
    try:
        with explain_failures(kind, *ARCHITECTURE):
            settings = transformers.AutoConfig.for_model(kind, **shape | dict(values))
            model = getattr(transformers, auto_class).from_config(
                settings,
                dtype=find_torch_dtype(config.model.dtype, device),
                attn_implementation=_choose_attention(config),
            )
    except (ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise ModelError(_("cannot be built: {error}", error=one_line(error, 300)), where=where) from error
    note_random_head(model)
    return model.to(device)


def is_cache_only(source: str, revision: str | None = None) -> bool:
    """Return whether to use local files only, after one quick request; the client itself would wait 45 s."""
    if os.path.isdir(source) or is_settled(source, revision):
        return True
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    global _ask_again
    if constants.is_offline_mode() or time.monotonic() < _ask_again:
        return True
    try:
        get_session().head(constants.ENDPOINT, timeout=_HUB_SECONDS)
    # The client may be requests or httpx, each with its own errors: any of them means "unreachable".
    except Exception:
        _ask_again = time.monotonic() + _UNREACHED_SECONDS
        return True
    return False
