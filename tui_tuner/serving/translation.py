"""What `transformers serve` passes over of OpenAI's interface: refused, or put right on the way."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tui_tuner.locales import _

# Fields that transformers would ignore without a word, and values that ask for nothing
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (None, 1),
    "logprobs": (None, False),
    "top_logprobs": (None, 0),
    "presence_penalty": (None, 0),
    "response_format": (None, {"type": "text"}),
    "function_call": (None, "auto", "none"),
    "functions": (None, []),
    "tool_choice": (None, "auto"),
    "best_of": (None, 1),
    "echo": (None, False),
}
_LEFT = (
    "user",
    "store",
    "metadata",
    "service_tier",
    "stream_options",
    "parallel_tool_calls",
    "reasoning_effort",
)


class RefusedRequest(Exception):
    """A request that cannot be answered as it asks.

    Args:
        status: The HTTP status.
        code: A word for programs.
    """

    def __init__(self, status: int, message: str, code: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


@dataclass(frozen=True)
class Translation:
    """How requests for one model are changed.

    Args:
        name: What clients call it.
        inside: What the server behind calls it.
        generation: Its generation config.
    """

    name: str
    inside: str
    generation: Mapping[str, Any] = field(default_factory=dict)

    def translate(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return the request as transformers is sent it.

        Raises:
            RefusedRequest: it asks for something that transformers would pass over.
        """
        for name, neutral in _NEUTRAL.items():
            if name in body and body[name] not in neutral:
                raise RefusedRequest(
                    400,
                    _("{name} is not supported by transformers serve; vLLM supports it.", name=name),
                    "unsupported_parameter",
                )
        kept = {
            name: value
            for name, value in body.items()
            if name not in _NEUTRAL and name not in _LEFT and value is not None
        }
        kept["model"] = self.inside
        if self._samples(kept):
            # transformers samples only where a generation config says so, whatever the temperature
            kept["generation_config"] = json.dumps(
                {"max_new_tokens": 1024, **self.generation, "do_sample": True}
            )
        return kept

    def _samples(self, body: Mapping[str, Any]) -> bool:
        asked = body.get("temperature") or (body.get("top_p") and body.get("temperature") != 0)
        return bool(asked) and "generation_config" not in body and not self.generation.get("do_sample")


def read_generation(folder: Path) -> dict[str, Any]:
    """Read a model's generation config, or what stands for it in its config."""
    for name in ("generation_config.json", "config.json"):
        try:
            told = json.loads((folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if name.startswith("generation"):
            return {key: value for key, value in told.items() if not key.startswith("_")}
        ids = ("bos_token_id", "eos_token_id", "pad_token_id")
        return {key: told[key] for key in ids if told.get(key) is not None}
    return {}


def list_stops(body: Mapping[str, Any]) -> list[str]:
    """Return the texts that a request wants answers to end before."""
    told = body.get("stop")
    found = [told] if isinstance(told, str) else told
    if found is None:
        return []
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise RefusedRequest(400, _("stop is a text, or a list of texts."), "invalid_request_error")
    return [one for one in found if one]
