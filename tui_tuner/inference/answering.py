"""An answer of a model, piece by piece as it is written."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tui_tuner.errors import OutOfMemoryError, UsageError
from tui_tuner.evaluation.generation import context_length, stop_tokens
from tui_tuner.inference.loading import Loaded
from tui_tuner.inference.sampling import Sampling
from tui_tuner.locales import _
from tui_tuner.methods.prompts import virtual_tokens
from tui_tuner.models.out_of_memory import free_memory_of, is_out_of_memory
from tui_tuner.text import one_line


@dataclass
class Answer:
    """What a model wrote.

    Args:
        stopped: By a token that ends an answer; False at the limit, or where it was cancelled.
        first: Seconds from the prompt to the first token; `seconds` to the last.
        note: Why it is shorter than asked for, or empty.
    """

    text: str = ""
    tokens: int = 0
    stopped: bool = False
    first: float = 0.0
    seconds: float = 0.0
    prompt_tokens: int = 0
    note: str = ""

    @property
    def rate(self) -> float | None:
        """Tokens a second after the first one; None where there are too few to tell."""
        spent = self.seconds - self.first
        return (self.tokens - 1) / spent if self.tokens > 1 and spent > 0 else None

    def plain(self) -> dict[str, Any]:
        """In plain values."""
        return {**asdict(self), "rate": self.rate}


class Stopped(Exception):
    """Raised inside the generation to end it."""


class Pieces:
    """Text of tokens as they come: what a character still lacks bytes for is held back."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._said = 0  # tokens whose text was given out
        self._shown = 0  # tokens in front of them, for the spaces between

    def add(self, token: int) -> str:
        """The text that a further token adds; often empty."""
        self._ids.append(token)
        before = self._decode(self._ids[self._shown : self._said])
        now = self._decode(self._ids[self._shown :])
        if len(now) <= len(before) or now.endswith("\ufffd"):
            return ""
        piece = now[len(before) :]
        self._shown, self._said = self._said, len(self._ids)
        return piece

    def rest(self) -> str:
        """What was held back."""
        before = self._decode(self._ids[self._shown : self._said])
        return self._decode(self._ids[self._shown :])[len(before) :]

    def _decode(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


class Turns:
    """Lets several answers be written side by side in one process: one token each, in turn."""

    def __init__(self, count: int) -> None:
        self._ready = threading.Condition()
        self._at = 0
        self._on = [True] * count

    def take(self, me: int) -> None:
        """Wait for one's turn."""
        with self._ready:
            self._ready.wait_for(lambda: self._at == me)

    def give(self, me: int, done: bool = False) -> None:
        """Hand the turn to the next one that is at work."""
        with self._ready:
            self._on[me] = not done
            for step in range(1, len(self._on) + 1):
                place = (me + step) % len(self._on)
                if self._on[place]:
                    self._at = place
                    break
            self._ready.notify_all()

    def alone(self, me: int) -> bool:
        """Whether nobody else is at work."""
        return not any(on for place, on in enumerate(self._on) if place != me)


def answer_all(
    loaded: Sequence[Loaded],
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    on_piece: Callable[[int, str, int], None],
    cancelled: Callable[[], bool] = lambda: False,
) -> list[Answer]:
    """Let each model answer its prompt, all at once.

    Args:
        prompts: Token ids for each model, special tokens included.
        on_piece: Told (number of the model, text, tokens so far), from several threads, one at a time.

    Raises:
        UsageError: a prompt is empty, or fills the model's context.
        OutOfMemoryError: there is no room for this prompt.
    """
    answers = []
    for one in answer_each(loaded, prompts, sampling, on_piece, cancelled):
        if isinstance(one, BaseException):
            raise one
        answers.append(one)
    return answers


def answer_each(
    loaded: Sequence[Loaded],
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    on_piece: Callable[[int, str, int], None],
    cancelled: Callable[[], bool] = lambda: False,
) -> list[Answer | BaseException]:
    """As `answer_all`, with what went wrong in the place of an answer: the others keep theirs."""
    turns = Turns(len(loaded))
    found: list[Answer | BaseException] = [Answer()] * len(loaded)

    def work(me: int) -> None:
        turns.take(me)
        try:
            found[me] = _answer(
                loaded[me],
                prompts[me],
                sampling,
                lambda text, tokens: on_piece(me, text, tokens),
                cancelled,
                lambda numbers: _pass_on(turns, me, numbers),
            )
        except BaseException as error:  # it is told to whoever asked
            found[me] = error
        finally:
            turns.give(me, done=True)

    others = [threading.Thread(target=work, args=(me,), daemon=True) for me in range(1, len(loaded))]
    for thread in others:
        thread.start()
    if loaded:
        work(0)
    for thread in others:
        thread.join()
    return found


def _pass_on(turns: Turns, me: int, numbers: _Numbers) -> None:
    if not turns.alone(me):
        numbers.leave()
        turns.give(me)
        turns.take(me)
        numbers.enter()


def _answer(
    loaded: Loaded,
    prompt: Sequence[int],
    sampling: Sampling,
    on_piece: Callable[[str, int], None],
    cancelled: Callable[[], bool],
    pass_on: Callable[[_Numbers], None],
) -> Answer:
    import torch
    from transformers.generation.streamers import BaseStreamer

    model, tokenizer = loaded.model, loaded.tokenizer
    room, note = _room(model, prompt, sampling.max_new_tokens)
    stops = stop_tokens(model, tokenizer)
    answer, pieces, begun = Answer(prompt_tokens=len(prompt), note=note), Pieces(tokenizer), time.monotonic()
    device = model.get_input_embeddings().weight.device
    numbers = _Numbers(sampling, device)

    class Streamer(BaseStreamer):  # type: ignore[misc]
        """Gets the prompt first, then each token; what it raises ends the generation."""

        prompt = True

        def put(self, value: Any) -> None:
            if self.prompt:
                self.prompt = False
                return
            token = int(value.reshape(-1)[0])
            answer.seconds = time.monotonic() - begun
            answer.first = answer.first or answer.seconds
            if token in stops:
                answer.stopped = True
                return
            answer.tokens += 1
            piece = pieces.add(token)
            piece = piece if answer.text else piece.lstrip()  # as answers are shown everywhere
            answer.text += piece
            on_piece(piece, answer.tokens)
            if cancelled():
                raise Stopped
            pass_on(numbers)

        def end(self) -> None:
            pass

    numbers.enter()
    try:
        with torch.inference_mode():
            model.generate(
                input_ids=torch.tensor([list(prompt)], device=device),
                attention_mask=torch.ones((1, len(prompt)), dtype=torch.long, device=device),
                generation_config=_settings(sampling, room, stops, tokenizer),
                streamer=Streamer(),
            )
    except Stopped:
        answer.note = note = _("stopped")
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        free_memory_of(error)
        raise OutOfMemoryError(
            _("there is not enough memory for {count:,} tokens.", count=len(prompt) + answer.tokens),
            where=one_line(loaded.origin.name),
            hint=_("Start the chat anew, ask for fewer tokens, or use the processor (--device cpu)."),
        ) from None
    rest = pieces.rest()
    if rest:
        answer.text += rest
        on_piece(rest, answer.tokens)
    if answer.stopped:
        answer.note = ""
    return answer


def _room(model: Any, prompt: Sequence[int], wanted: int) -> tuple[int, str]:
    """How many tokens an answer may have, and why they are fewer than wanted."""
    if not prompt:
        raise UsageError(_("the prompt is empty."))
    context = context_length(model)
    if context is None:
        return wanted, ""
    context -= virtual_tokens(model)
    if len(prompt) >= context:
        raise UsageError(
            _(
                "the chat has {count:,} tokens and fills the context of {context:,}.",
                count=len(prompt),
                context=context,
            ),
            hint=_("Start the chat anew, or take earlier turns out."),
        )
    room = min(wanted, context - len(prompt))
    note = "" if room == wanted else _("cut short: the context of {context} tokens is full", context=context)
    return room, note


def _settings(sampling: Sampling, room: int, stops: set[int], tokenizer: Any) -> Any:
    """Every setting is stated: what is left out is taken from the model's own generation config."""
    from transformers import GenerationConfig

    pad = tokenizer.pad_token_id
    return GenerationConfig(
        do_sample=sampling.temperature > 0,
        temperature=sampling.temperature or 1.0,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        repetition_penalty=sampling.repetition_penalty,
        num_beams=1,
        no_repeat_ngram_size=0,
        min_new_tokens=0,
        max_new_tokens=room,
        max_length=None,
        eos_token_id=sorted(stops) or None,
        pad_token_id=pad if pad is not None else (min(stops) if stops else 0),
        use_cache=True,
    )


class _Numbers:
    """The random numbers of one answer, kept apart from those of others that are written meanwhile."""

    def __init__(self, sampling: Sampling, device: Any) -> None:
        import torch

        self._drawn = sampling.temperature > 0
        self._cuda = device.type == "cuda"
        self._device = device
        if self._drawn:
            seed = sampling.seed if sampling.seed is not None else torch.seed()
            kept = self._read()
            torch.manual_seed(seed)
            self._state = self._read()
            self._write(kept)

    def enter(self) -> None:
        """Draw one's own numbers from here on."""
        if self._drawn:
            self._write(self._state)

    def leave(self) -> None:
        """Keep where one is."""
        if self._drawn:
            self._state = self._read()

    def _read(self) -> Any:
        import torch

        return torch.cuda.get_rng_state(self._device) if self._cuda else torch.get_rng_state()

    def _write(self, state: Any) -> None:
        import torch

        if self._cuda:
            torch.cuda.set_rng_state(state, self._device)
        else:
            torch.set_rng_state(state)
