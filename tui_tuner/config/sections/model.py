"""The model to start from."""

from __future__ import annotations

from typing import Any, Literal

from tui_tuner.config.chat_templates import CHAT_TEMPLATES, OWN
from tui_tuner.config.sections.base import Auto, Section, option
from tui_tuner.locales import N_

Dtype = Literal["bfloat16", "float16", "float32"]
Attention = Literal["sdpa", "flash_attention_2", "flex_attention", "eager", "hub"]


class ModelSection(Section):
    """Which model to start from, and how it is held in memory."""

    name: str = option(
        "demo",
        N_("Hub id, local folder, `demo` (the small model inside this package), or `tiny`."),
        N_(
            "The model that learns. A hub id such as Qwen/Qwen3-0.6B is downloaded once; a folder holds "
            "config.json, the tokenizer and safetensors weights. tiny is a small encoder with random "
            "weights, made on this machine, to try a task with."
        ),
        min_length=1,
    )
    hub: Literal["huggingface", "modelscope"] = option(
        "huggingface",
        N_("Hub that a model id belongs to."),
        N_(
            "huggingface is huggingface.co, or the mirror that HF_ENDPOINT names. modelscope is "
            "modelscope.cn, quicker to reach from China. A folder, demo and tiny come from neither."
        ),
        advanced=True,
    )
    revision: str | None = option(None, N_("Branch, tag or commit of a hub model."), advanced=True)
    dtype: Auto | Dtype = option(
        "auto",
        N_("Number format of the weights."),
        N_(
            "auto takes bfloat16 where the hardware computes in it, else float32. float16 has a small range "
            "and can overflow; it is for GPUs without bfloat16, such as the T4."
        ),
    )
    quantization: Literal["none", "nf4", "int8"] = option(
        "none",
        N_("Hold the frozen weights in 4 or 8 bits (bitsandbytes)."),
        N_(
            "nf4 with LoRA is QLoRA (arXiv 2305.14314): the weights take about a quarter of the memory of "
            "bfloat16. Only adapters can be trained on quantised weights."
        ),
    )
    double_quant: bool = option(
        True,
        N_("Quantise the quantisation constants too (nf4)."),
        N_("Saves 0.37 bits a weight."),
        advanced=True,
    )
    attention: Auto | Attention = option(
        "auto",
        N_("Attention implementation."),
        N_(
            "auto takes the fastest one that is exact here. hub also tries a kernel of the hub, which the "
            "package kernels downloads, and uses it where it is exact and faster."
        ),
        advanced=True,
    )
    chat_template: str | None = option(
        None,
        N_("Chat template: a name such as `llama3`, or a Jinja file; empty means the model's own."),
        N_(
            "How turns become text. A tuned chat model expects its own. A model without one gets ChatML, "
            "and the run says so. A name wins over a file of the same name; `tui-tuner data templates` lists "
            "them."
        ),
        words=(*CHAT_TEMPLATES, OWN),
        advanced=True,
    )
    trust_remote_code: bool = option(
        False,
        N_("Run Python code that comes with this model."),
        N_(
            "Some hub models bring their own code. It runs with your rights: say yes only to a model you "
            "trust."
        ),
        advanced=True,
    )
    architecture: dict[str, Any] | None = option(
        None,
        N_("Start from random weights of this shape (a transformers config), instead of loading any."),
        N_(
            "For pretraining from scratch: model_type and its sizes, such as hidden_size and "
            "num_hidden_layers."
        ),
        advanced=True,
    )
    tokenizer: str | None = option(
        None,
        N_(
            "Tokenizer folder or hub id, where it is not the model's; `train` learns a new one from the data."
        ),
        advanced=True,
    )
    vocabulary: int = option(
        4096, N_("Size of a newly trained tokenizer."), unit=N_("tokens"), ge=64, le=1_000_000, advanced=True
    )
