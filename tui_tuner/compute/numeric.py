"""Dtypes of a run, as far as they depend on its device. Pure functions; imports no torch.

Dtypes are named as in a config: `bfloat16`, `float16`, `float32`.
"""

from __future__ import annotations

from tui_tuner.config.kinds.method_kind import Trait
from tui_tuner.config.resolved import ResolvedConfig
from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import ConfigError
from tui_tuner.locales import _
from tui_tuner.models.device import Device

# Values for `auto`, with the reason


def choose_weight_dtype(device: Device, config: RunConfig, small: bool) -> tuple[str, str]:
    """Choose `model.dtype` for `auto`. `small`: a model whose memory does not matter."""
    quantised = config.model.quantization != "none"
    if small:
        return "float32", _("A model this small needs no 16-bit dtype.")
    if quantised and device.kind == "cuda" and not device.has_bf16:
        return "float16", _(
            "{name} does not support bfloat16, and quantised weights need 16 bits.", name=device.name
        )
    if not device.has_bf16:
        return "float32", _("This hardware does not support bfloat16.")
    if not config.method.has_trait(Trait.ADAPTER) and not quantised:
        return "float32", _("Trained weights keep full precision: bfloat16 would round small updates away.")
    return "bfloat16", _("The hardware supports bfloat16, which is enough for frozen weights.")


def choose_autocast(device: Device, config: RunConfig, small: bool) -> tuple[bool, str]:
    """Choose `training.autocast` for `auto`, after `model.dtype` and `model.attention` are resolved."""
    if config.model.attention == "flash_attention_2" and config.model.dtype == "float32":
        return True, _("FlashAttention 2 supports 16-bit dtypes only.")
    if small:
        return False, _("A model this small needs no 16-bit dtype.")
    if config.model.dtype == "bfloat16" and not config.method.has_trait(Trait.ADAPTER):
        return False, _("The weights are already in 16 bits.")
    if device.has_bf16:
        return True, _("Products in bfloat16, sums and trained weights in float32.")
    if device.kind == "cuda":
        return True, _("Products in float16 with a loss scaler: this GPU does not support bfloat16.")
    return False, _("16-bit products are not faster on this CPU.")


def choose_attention(softcap: bool, model_type: str) -> tuple[str, str]:
    """Choose `model.attention` for `auto`, on any device. `softcap`: the model caps its attention scores."""
    # The package flash_attn is never chosen: torch's own attention is the same code, also supports float32,
    # and is always installed.
    if softcap:
        return "eager", _(
            "{model_type} caps its attention scores: plain passes compute them explicitly; flat rows "
            "on a GPU use a kernel that supports caps, if it is exact.",
            model_type=model_type,
        )
    return "sdpa", _("PyTorch's own attention: exact, and nothing to install.")


# Consequences of a resolved config


def find_autocast_dtype(device: Device, config: ResolvedConfig) -> str | None:
    """Return the dtype of autocast; None without autocast."""
    if not config.training.autocast:
        return None
    if config.model.dtype == "float16":
        return "float16"
    return "float16" if device.kind == "cuda" and not device.has_bf16 else "bfloat16"


def find_compute_dtype(device: Device, config: ResolvedConfig) -> str:
    """Return the dtype of matrix products."""
    return find_autocast_dtype(device, config) or config.model.dtype


def needs_scaler(device: Device, config: ResolvedConfig) -> bool:
    """Return whether the loss is scaled: always with float16 autocast on a GPU, never on a CPU."""
    # The smallest float16 number is 6e-8: without scaling, small gradients would become zero.
    return device.kind == "cuda" and find_autocast_dtype(device, config) == "float16"


def choose_matmul_precision(device: Device, config: RunConfig) -> str:
    """Choose the value for `torch.set_float32_matmul_precision`: `high` is TensorFloat-32, new in Ampere."""
    return "high" if config.training.tf32 and device.is_ampere else "highest"


def check_numeric_dtypes(device: Device, config: ResolvedConfig) -> None:
    """Raise `ConfigError` if the device cannot compute in the dtypes of the config."""
    name = device.name or device.kind
    if config.model.attention == "flash_attention_2":
        if not device.is_ampere:
            raise ConfigError(
                _(
                    "flash_attention_2 needs an NVIDIA GPU of the Ampere generation or newer, and this is "
                    "{name}.",
                    name=name,
                ),
                where="model.attention",
                hint=_("Use auto or sdpa."),
            )
        if find_compute_dtype(device, config) == "float32":
            raise ConfigError(
                _("flash_attention_2 supports 16-bit dtypes only, but weights and products are float32."),
                where="model.attention",
                hint=_("Use sdpa, or set training.autocast to true."),
            )
    method = config.method
    own_weights = not method.has_trait(Trait.ADAPTER) or (
        method.reads_field("train_embeddings") and method.train_embeddings
    )
    if needs_scaler(device, config) and config.model.dtype == "float16" and own_weights:
        raise ConfigError(
            _(
                "float16 weights cannot be trained in mixed precision: their gradients would be "
                "float16, and a loss scaler needs float32 ones."
            ),
            where="model.dtype",
            hint=_("Use float32: products are still computed in 16 bits."),
        )
