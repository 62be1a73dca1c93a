"""The Modelfile of Ollama: which file, how chats are written, where answers end, how tokens are chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tui_tuner.errors import ModelError
from tui_tuner.locales import _

USUAL_CONTEXT = 4096  # tokens: what Ollama gives a model unless told otherwise
_QUOTES = '"""'
# Ollama's own values differ from those of transformers, so each is written that a generation config has
_SAMPLING = {
    "temperature": ("temperature", 1.0),
    "top_k": ("top_k", 50),
    "top_p": ("top_p", 1.0),
    "min_p": ("min_p", None),
}


@dataclass(frozen=True)
class Modelfile:
    """What a Modelfile says.

    Args:
        weights: The GGUF file, relative to the Modelfile.
        template: The chat template in Go's language.
        stops: Texts that end an answer.
        parameters: Name -> value.
        system: The system message that the model was trained with; empty if there was none.
    """

    weights: str
    template: str
    stops: Sequence[str] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    system: str = ""

    def write_text(self) -> str:
        """Return it as text.

        Raises:
            ModelError: a text holds three quotation marks, which nothing in a Modelfile can quote.
        """
        lines = [f"FROM ./{self.weights}", f"TEMPLATE {_quote(self.template)}"]
        if self.system:
            lines.append(f"SYSTEM {_quote(self.system)}")
        lines += [f"PARAMETER stop {_quote_line(stop)}" for stop in self.stops]
        lines += [f"PARAMETER {name} {_write_number(value)}" for name, value in self.parameters.items()]
        return "\n".join(lines) + "\n"


def list_parameters(generation: Mapping[str, Any], context: int, trained: int) -> dict[str, Any]:
    """List the parameters that make Ollama choose tokens as transformers does.

    Args:
        generation: The model's generation config.
        context: The most tokens that the model was made for.
        trained: The most tokens of a row that it was trained on.
    """
    found: dict[str, Any] = {"num_ctx": min(context, max(USUAL_CONTEXT, trained))}
    if generation.get("do_sample"):
        for name, (parameter, usual) in _SAMPLING.items():
            value = generation.get(name, usual)
            if value is not None:
                found[parameter] = value
    else:
        # transformers takes the most likely token where a model says nothing, and so does `tui-tuner ask`
        found["temperature"] = 0
    # Ollama lowers the odds of tokens that occurred, by 1.1 in older versions, unless told not to
    found["repeat_penalty"] = float(generation.get("repetition_penalty") or 1.0)
    return found


def _quote(text: str) -> str:
    if _QUOTES in text or text.endswith('"'):
        raise ModelError(
            _("its chat template or system message has quotation marks that a Modelfile cannot hold."),
            where="Modelfile",
            hint=_("Export it with `--to gguf`, and give Ollama a Modelfile of your own."),
        )
    return f"{_QUOTES}{text}{_QUOTES}"


def _quote_line(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"' if "\n" not in text else _quote(text)


def _write_number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
