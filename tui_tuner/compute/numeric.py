"""In which numbers a run computes, as far as that depends on its device. Pure functions; imports no torch.

Dtypes are named as in a config: `bfloat16`, `float16`, `float32`.
"""

from __future__ import annotations

from tui_tuner.config.kinds import ADAPTERS, RANKED
from tui_tuner.config.resolved import ResolvedConfig
from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import ConfigError
from tui_tuner.locales import _
from tui_tuner.models.device import Device

# Trainer's name of each optimizer on a processor, and on a GPU, where one kernel updates many tensors
OPTIMIZERS = {
    "adamw": ("adamw_torch", "adamw_torch_fused"),
    "adamw_8bit": ("adamw_bnb_8bit", "adamw_bnb_8bit"),
    "paged_adamw_8bit": ("paged_adamw_8bit", "paged_adamw_8bit"),
    "sgd": ("sgd", "sgd"),
    "adafactor": ("adafactor", "adafactor"),
}


# What `auto` becomes, with the reason


def weight_dtype(device: Device, config: RunConfig, small: bool) -> tuple[str, str]:
    """`model.dtype` where it is `auto`. `small`: a model whose memory does not matter."""
    quantised = config.model.quantization != "none"
    if small:
        return "float32", _("So small a model needs no 16-bit numbers.")
    if quantised and device.kind == "cuda" and not device.bf16:
        return "float16", _(
            "{name} does not compute bfloat16; 4-bit weights need 16 bits to compute.", name=device.name
        )
    if not device.bf16:
        return "float32", _("This hardware does not compute bfloat16.")
    if config.method.kind not in ADAPTERS and not quantised:
        return "float32", _("Trained weights keep full precision: bfloat16 would round small updates away.")
    return "bfloat16", _("The hardware computes bfloat16, and the frozen weights need no more.")


def autocast(device: Device, config: RunConfig, small: bool) -> tuple[bool, str]:
    """`training.autocast` where it is `auto`; `model.dtype` and `model.attention` are settled."""
    if config.model.attention == "flash_attention_2" and config.model.dtype == "float32":
        return True, _("FlashAttention 2 takes 16-bit numbers only.")
    if small:
        return False, _("So small a model needs no 16-bit numbers.")
    if config.model.dtype == "bfloat16" and config.method.kind not in ADAPTERS:
        return False, _("The weights are 16-bit already.")
    if device.bf16:
        return True, _("Products in bfloat16, sums and trained weights in float32.")
    if device.kind == "cuda":
        return True, _("Products in float16 with a loss scaler: this GPU has no bfloat16.")
    return False, _("This CPU gains nothing from 16-bit numbers.")


def attention(softcap: bool, model_type: str) -> tuple[str, str]:
    """`model.attention` where it is `auto`, on any device.

    The package flash_attn is never chosen: torch's own attention is the same code, also takes float32, and is
    there wherever torch is. `softcap`: the model caps its attention scores.
    """
    if softcap:
        return "eager", _(
            "{model_type} caps its attention scores: plain passes compute them in the clear; flat rows "
            "on a GPU take a kernel that knows caps, where it proves exact.",
            model_type=model_type,
        )
    return "sdpa", _("PyTorch's own attention: exact, and nothing to install.")


# What follows from a resolved config


def autocast_name(device: Device, config: ResolvedConfig) -> str | None:
    """The dtype that autocast computes in; None without autocast."""
    if not config.training.autocast:
        return None
    if config.model.dtype == "float16":
        return "float16"
    return "float16" if device.kind == "cuda" and not device.bf16 else "bfloat16"


def compute_name(device: Device, config: ResolvedConfig) -> str:
    """The dtype of matrix products."""
    return autocast_name(device, config) or config.model.dtype


def needs_scaler(device: Device, config: ResolvedConfig) -> bool:
    """Whether the loss is scaled: float16 autocast on a GPU, always.

    float16 ends at 6e-8, so small gradients would become zero without it. On a processor accelerate has none.
    """
    return device.kind == "cuda" and autocast_name(device, config) == "float16"


def trainer_optimizer(device: Device, config: ResolvedConfig) -> str:
    """Trainer's name of `training.optimizer` on that device."""
    on_cpu, on_gpu = OPTIMIZERS[config.training.optimizer]
    return on_gpu if device.kind == "cuda" else on_cpu


def matmul_precision(device: Device, config: RunConfig) -> str:
    """What `torch.set_float32_matmul_precision` is told: `high` is TensorFloat-32, new in Ampere."""
    return "high" if config.training.tf32 and device.ampere else "highest"


def check_numbers(device: Device, config: ResolvedConfig) -> None:
    """Raise `ConfigError` if the run cannot compute in the numbers that it asks for on this device."""
    name = device.name or device.kind
    if config.model.attention == "flash_attention_2":
        if not device.ampere:
            raise ConfigError(
                _(
                    "flash_attention_2 needs an NVIDIA GPU of Ampere's generation or newer, and this is "
                    "{name}.",
                    name=name,
                ),
                where="model.attention",
                hint=_("Use auto or sdpa."),
            )
        if compute_name(device, config) == "float32":
            raise ConfigError(
                _("flash_attention_2 takes 16-bit numbers only, but weights and products are float32."),
                where="model.attention",
                hint=_("Use sdpa, or set training.autocast to true."),
            )
    method = config.method
    own_weights = method.kind not in ADAPTERS or (method.kind in RANKED and method.train_embeddings)
    if needs_scaler(device, config) and config.model.dtype == "float16" and own_weights:
        raise ConfigError(
            _(
                "float16 weights cannot be trained themselves in mixed precision: their gradients would be "
                "float16, and a loss scaler works on float32 ones."
            ),
            where="model.dtype",
            hint=_("Use float32: products are computed in 16 bits all the same."),
        )
