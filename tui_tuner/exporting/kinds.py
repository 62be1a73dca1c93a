"""The targets of an export: names, words and forms, for screens and help. Nothing heavy is imported."""

from __future__ import annotations

from dataclasses import dataclass

from tui_tuner.locales import N_


@dataclass(frozen=True)
class TargetKind:
    """What a result can be exported to.

    Args:
        name: As given to `--to`.
        label: Its name on screens.
        purpose: What it is for, one sentence.
        module: The module below `tui_tuner.exporting` whose `TARGET` writes it.
        quantizations: The words that `--quantize` may have; the first one is the default. Empty if it takes
        none.
    """

    name: str
    label: str
    purpose: str
    module: str
    quantizations: tuple[str, ...] = ()


_GGUF_TYPES = (
    "f16",
    "bf16",
    "f32",
    "q8_0",
    "q5_1",
    "q5_0",
    "q4_1",
    "q4_0",
    "q6_k",
    "q5_k_m",
    "q4_k_m",
    "q3_k_m",
)

TARGETS: dict[str, TargetKind] = {
    kind.name: kind
    for kind in (
        TargetKind(
            "merged",
            N_("Merged model"),
            N_("One folder of safetensors that transformers, vLLM and most programs load."),
            "merged",
        ),
        TargetKind(
            "gguf",
            N_("GGUF file"),
            N_("One file for llama.cpp and the programs made of it."),
            "gguf.gguf_target",
            _GGUF_TYPES,
        ),
        TargetKind(
            "ollama",
            N_("Ollama"),
            N_("A Modelfile with template, stop tokens and parameters, and the GGUF file it names."),
            "ollama.ollama_target",
            _GGUF_TYPES,
        ),
        TargetKind(
            "onnx",
            N_("ONNX file"),
            N_("One graph for ONNX Runtime: classifiers, taggers, question answering, encoders."),
            "onnx.onnx_target",
        ),
        TargetKind(
            "adapter",
            N_("Adapter"),
            N_("A small folder that peft and vLLM put onto the base model; several can share one."),
            "adapter",
        ),
        TargetKind(
            "delta",
            N_("Delta weights"),
            N_("The difference from the base model, for those who have that and may not be given it."),
            "delta",
        ),
        TargetKind(
            "hub",
            N_("Hub"),
            N_("A repository on Hugging Face, private unless asked otherwise."),
            "hub",
        ),
    )
}
