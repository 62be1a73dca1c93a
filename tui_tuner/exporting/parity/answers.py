"""What a model makes of prompts (token ids, a greedy answer, logits): computed, kept in a folder, read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tui_tuner.exporting.parity.prompts import Prompt

if TYPE_CHECKING:
    from torch import Tensor

TOLD, LOGITS = "answers.json", "logits.safetensors"
NEW_TOKENS = 32
HEADS = ("logits", "start_logits", "end_logits")  # outputs of heads, as transformers names them
_MOST_NUMBERS = 1 << 22  # of a prompt's logits where a head gives some for each token


@dataclass
class PromptAnswer:
    """What one model makes of one prompt.

    Args:
        ids: The prompt's tokens.
        greedy: The tokens of the greedy answer, its stop token included; empty for models with another head.
        text: The answer as text.
        logits: [positions, vocabulary] float32: those that each token of the answer to compare is chosen by;
            of other heads, whatever the head gives.
    """

    ids: list[int]
    greedy: list[int] = field(default_factory=list)
    text: str = ""
    logits: Tensor | None = None


@dataclass
class Answers:
    """All answers of one model.

    Args:
        prompts: In the order of `answers`.
        program: What computed them, such as `transformers 5.23.0`.
        without: The same without the adapter, as far as they were computed: logits for each prompt.
        details: More about how, such as the dtype.
    """

    prompts: list[Prompt]
    answers: list[PromptAnswer]
    program: str = ""
    without: list[Tensor] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)

    def save_to(self, folder: Path) -> None:
        """Write them into a folder."""
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        tensors = {str(place): one.logits for place, one in enumerate(self.answers) if one.logits is not None}
        tensors |= {f"without.{place}": one for place, one in enumerate(self.without)}
        save_file({name: one.contiguous() for name, one in tensors.items()}, folder / LOGITS)
        told = {
            "prompts": [one.list_prompt_values() for one in self.prompts],
            "answers": [
                {name: value for name, value in asdict_without_logits(one).items()} for one in self.answers
            ],
            "program": self.program,
            "details": self.details,
        }
        (folder / TOLD).write_text(json.dumps(told), encoding="utf-8")


def asdict_without_logits(answer: PromptAnswer) -> dict[str, Any]:
    return {"ids": answer.ids, "greedy": answer.greedy, "text": answer.text}


def read_answers(folder: Path) -> Answers:
    """Read what `Answers.save_to` wrote."""
    from safetensors.torch import load_file

    told: Mapping[str, Any] = json.loads((folder / TOLD).read_text(encoding="utf-8"))
    tensors = load_file(folder / LOGITS)
    answers = [
        PromptAnswer(**one, logits=tensors.get(str(place))) for place, one in enumerate(told["answers"])
    ]
    without = [tensors[f"without.{place}"] for place in range(len(answers)) if f"without.{place}" in tensors]
    prompts = [Prompt.from_values(one) for one in told["prompts"]]
    return Answers(prompts, answers, told["program"], without, dict(told["details"]))


def answer_prompts(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Prompt],
    follow: Sequence[PromptAnswer] | None = None,
    *,
    writes: bool = True,
    virtual: int = 0,
) -> list[PromptAnswer]:
    """Compute the answers of a model of transformers or peft, in evaluation mode.

    Args:
        follow: Answers of another model: logits are those at its tokens, so that both can be compared
            position by position. Without it they are those at the model's own.
        writes: Whether it is asked for greedy answers.
        virtual: Positions that it gives logits for before those of the text.
    """
    import torch

    device = next(model.parameters()).device
    found = []
    with torch.inference_mode():
        for place, prompt in enumerate(prompts):
            other = follow[place] if follow is not None else None
            if writes:
                found.append(_answer_one(model, tokenizer, prompt, other, device, virtual))
            else:
                found.append(
                    PromptAnswer(
                        prompt.encode(tokenizer), logits=_read_head(model, tokenizer, prompt, device)
                    )
                )
    return found


def _answer_one(
    model: Any, tokenizer: Any, prompt: Prompt, other: PromptAnswer | None, device: Any, virtual: int
) -> PromptAnswer:
    import torch

    ids = prompt.encode(tokenizer)
    given = torch.tensor([ids], device=device)
    stops = list_stop_tokens(model, tokenizer)
    made = model.generate(
        input_ids=given,
        attention_mask=torch.ones_like(given),
        generation_config=_choose_greedy(model, stops, tokenizer),
    )
    # A decoder of its own begins with one token, instead of the prompt
    rewrites = bool(model.config.is_encoder_decoder)
    greedy = [int(one) for one in made[0, 1 if rewrites else len(ids) :]]
    base, answer = (ids, greedy) if other is None else (other.ids, other.greedy)
    return PromptAnswer(
        ids,
        greedy,
        tokenizer.decode(greedy, skip_special_tokens=True),
        score_answer(model, base, answer, device, virtual),
    )


def score_answer(
    model: Any, ids: Sequence[int], answer: Sequence[int], device: Any, virtual: int = 0
) -> Tensor:
    """Return [answer, vocabulary] float32: the logits that each token of an answer is chosen by."""
    import torch

    if model.config.is_encoder_decoder:
        return _score_rewriting(model, ids, answer, device)
    given = torch.tensor([[*ids, *answer]], device=device)
    logits = model(input_ids=given, attention_mask=torch.ones_like(given), use_cache=False).logits[
        0, virtual:
    ]
    return logits[len(ids) - 1 : len(ids) - 1 + max(1, len(answer))].float().cpu()


def _score_rewriting(model: Any, source: Sequence[int], answer: Sequence[int], device: Any) -> Tensor:
    import torch

    start = _list_decoder_tokens(model)["decoder_start_token_id"]
    given = torch.tensor([list(source)], device=device)
    read = torch.tensor([[start, *answer]], device=device)
    mask = torch.ones_like(given)
    logits = model(input_ids=given, attention_mask=mask, decoder_input_ids=read, use_cache=False).logits[0]
    return logits[: max(1, len(answer))].float().cpu()


def _read_head(model: Any, tokenizer: Any, prompt: Prompt, device: Any) -> Tensor:
    """Return what the head of a model that does not write gives for a text, as a matrix."""
    found = model(**tokenize_for_head(tokenizer, prompt).to(device))
    parts = [found[name] for name in HEADS if getattr(found, name, None) is not None]
    return flatten_head(parts or [found[0]])


def tokenize_for_head(tokenizer: Any, prompt: Prompt) -> Any:
    """Return the inputs of one prompt for a model that does not write, a batch of one."""
    pair = (prompt.second,) if prompt.second else ()
    most = min(int(tokenizer.model_max_length), 512)
    return tokenizer(prompt.text, *pair, return_tensors="pt", truncation=True, max_length=most)


def flatten_head(parts: Sequence[Tensor]) -> Tensor:
    """Return the outputs of a head for a batch of one, [1, ...] each, below each other as a matrix."""
    import torch

    flat = torch.cat(
        [one[0].reshape(-1, one.shape[-1]) if one.dim() > 2 else one.reshape(1, -1) for one in parts]
    )
    return (
        flat.reshape(-1)[:_MOST_NUMBERS].reshape(-1, flat.shape[-1]).float().cpu()
        if flat.numel()
        else flat.cpu()
    )


def list_stop_tokens(model: Any, tokenizer: Any) -> list[int]:
    """Return the tokens that end generation by the model's own files, else by its tokenizer."""
    known = getattr(model.generation_config, "eos_token_id", None)
    if known is None:
        known = tokenizer.eos_token_id
    return [known] if isinstance(known, int) else list(known or [])


def _list_decoder_tokens(model: Any) -> dict[str, Any]:
    """Return the tokens that the decoder of an encoder-decoder begins with; empty for other models."""
    if not model.config.is_encoder_decoder:
        return {}
    generation = model.generation_config
    starts = (generation.decoder_start_token_id, getattr(model.config, "decoder_start_token_id", None))
    return {
        "decoder_start_token_id": next((one for one in starts if one is not None), generation.bos_token_id),
        "forced_bos_token_id": generation.forced_bos_token_id,
    }


def _choose_greedy(model: Any, stops: Sequence[int], tokenizer: Any) -> Any:
    from transformers import GenerationConfig

    pad = tokenizer.pad_token_id
    # Every option is set: those left out would be taken from the model's own generation config
    return GenerationConfig(
        do_sample=False, num_beams=1, temperature=1.0, top_p=1.0, top_k=0, repetition_penalty=1.0,
        no_repeat_ngram_size=0, min_new_tokens=0, max_new_tokens=NEW_TOKENS, max_length=None,
        eos_token_id=list(stops) or None, pad_token_id=pad if pad is not None else (stops[0] if stops else 0),
        use_cache=True, **_list_decoder_tokens(model),
    )  # fmt: skip


def list_versions() -> dict[str, str]:
    """Return the versions of what answers."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in (
        "torch",
        "transformers",
        "peft",
        "safetensors",
        "gguf",
        "llama-cpp-python",
        "onnx",
        "onnxscript",
        "onnxruntime",
        "vllm",
    ):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
