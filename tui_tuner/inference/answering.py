"""Generates answers of one or several models, token by token."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tui_tuner.errors import OutOfMemoryError, UsageError
from tui_tuner.evaluation.writing.stop_tokens import find_context_length, find_stop_tokens
from tui_tuner.inference.loading import LoadedModel
from tui_tuner.inference.sampling import Sampling
from tui_tuner.locales import _
from tui_tuner.methods.attached import count_virtual_tokens
from tui_tuner.models.out_of_memory import free_attempt_memory, is_out_of_memory
from tui_tuner.text import one_line


@dataclass
class Answer:
    """An answer of a model, with its figures.

    Args:
        stopped: Whether a stop token ended it; False at the limit, or if it was cancelled.
        first: Seconds from the prompt to the first token; `seconds`: to the last.
        note: Why it is shorter than asked for; empty otherwise.
    """

    text: str = ""
    tokens: int = 0
    stopped: bool = False
    first: float = 0.0
    seconds: float = 0.0
    prompt_tokens: int = 0
    note: str = ""

    @property
    def token_rate(self) -> float | None:
        """Return tokens per second after the first one; None if there are too few."""
        spent = self.seconds - self.first
        return (self.tokens - 1) / spent if self.tokens > 1 and spent > 0 else None

    def list_answer_values(self) -> dict[str, Any]:
        """Return plain values for JSON, `rate` included."""
        return {**asdict(self), "rate": self.token_rate}


class GenerationStopped(Exception):
    """Raised inside the generation to end it."""


class PieceDecoder:
    """Decodes tokens one by one, holding back characters whose bytes are incomplete."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._said = 0  # tokens whose text was returned
        # Tokenizers drop a leading space, so each piece is decoded together with the tokens before it
        self._shown = 0  # where decoding starts, some tokens before `_said`

    def add_token(self, token: int) -> str:
        """Return the text that a further token adds; often empty."""
        self._ids.append(token)
        before = self._decode_ids(self._ids[self._shown : self._said])
        now = self._decode_ids(self._ids[self._shown :])
        # U+FFFD at the end: a character whose remaining bytes are in tokens to come
        if len(now) <= len(before) or now.endswith("\ufffd"):
            return ""
        piece = now[len(before) :]
        self._shown, self._said = self._said, len(self._ids)
        return piece

    def take_rest(self) -> str:
        """Return the text that was held back."""
        before = self._decode_ids(self._ids[self._shown : self._said])
        return self._decode_ids(self._ids[self._shown :])[len(before) :]

    def _decode_ids(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


class TurnTaker:
    """Lets several threads generate answers in one process: one token each, in turn."""

    def __init__(self, count: int) -> None:
        self._ready = threading.Condition()
        # All participants share one GPU or CPU and torch's one random generator, so only one runs at a time
        self._at = 0
        self._on = [True] * count

    def take_turn(self, me: int) -> None:
        """Wait for the turn of a participant."""
        with self._ready:
            self._ready.wait_for(lambda: self._at == me)

    def pass_turn(self, me: int, done: bool = False) -> None:
        """Pass the turn to the next participant that is not done."""
        with self._ready:
            self._on[me] = not done
            for step in range(1, len(self._on) + 1):
                place = (me + step) % len(self._on)
                if self._on[place]:
                    self._at = place
                    break
            self._ready.notify_all()

    def is_alone(self, me: int) -> bool:
        """Return whether all other participants are done."""
        return not any(on for place, on in enumerate(self._on) if place != me)


def answer_with_all_models(
    loaded: Sequence[LoadedModel],
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    on_piece: Callable[[int, str, int], None],
    cancelled: Callable[[], bool] = lambda: False,
) -> list[Answer]:
    """Let each model answer its prompt, all at the same time.

    Args:
        prompts: Token ids for each model, special tokens included.
        on_piece: Called with (number of the model, text, tokens so far), from several threads, one at a time.

    Raises:
        UsageError: a prompt is empty, or fills the model's context.
        OutOfMemoryError: there is no room for this prompt.
    """
    answers = []
    for one in answer_with_each_model(loaded, prompts, sampling, on_piece, cancelled):
        if isinstance(one, BaseException):
            raise one
        answers.append(one)
    return answers


def answer_with_each_model(
    loaded: Sequence[LoadedModel],
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    on_piece: Callable[[int, str, int], None],
    cancelled: Callable[[], bool] = lambda: False,
) -> list[Answer | BaseException]:
    """Answer as `answer_with_all_models`, but return the error of a model in the place of its answer."""
    turns = TurnTaker(len(loaded))
    # Slots instead of appending: threads finish in any order
    found: list[Answer | BaseException] = [Answer()] * len(loaded)

    def answer_one(me: int) -> None:
        turns.take_turn(me)
        try:
            found[me] = _generate_answer(
                loaded[me],
                prompts[me],
                sampling,
                lambda text, tokens: on_piece(me, text, tokens),
                cancelled,
                lambda numbers: _pass_turn_on(turns, me, numbers),
            )
        except BaseException as error:
            # Returned to the caller, as a thread has no other way
            found[me] = error
        finally:
            turns.pass_turn(me, done=True)

    others = [threading.Thread(target=answer_one, args=(me,), daemon=True) for me in range(1, len(loaded))]
    for thread in others:
        thread.start()
    if loaded:
        # The first model answers in this thread: with one model there is no thread at all
        answer_one(0)
    for thread in others:
        thread.join()
    return found


def _pass_turn_on(turns: TurnTaker, me: int, numbers: _RandomState) -> None:
    if not turns.is_alone(me):
        # The generator's state belongs to one answer, so it is saved before another thread generates
        numbers.leave_state()
        turns.pass_turn(me)
        turns.take_turn(me)
        numbers.enter_state()


def _generate_answer(
    loaded: LoadedModel,
    prompt: Sequence[int],
    sampling: Sampling,
    on_piece: Callable[[str, int], None],
    cancelled: Callable[[], bool],
    pass_on: Callable[[_RandomState], None],
) -> Answer:
    import torch
    from transformers.generation.streamers import BaseStreamer

    model, tokenizer = loaded.model, loaded.tokenizer
    room, note = _find_room(model, prompt, sampling.max_new_tokens)
    stops = find_stop_tokens(model, tokenizer)
    answer, pieces, begun = (
        Answer(prompt_tokens=len(prompt), note=note),
        PieceDecoder(tokenizer),
        time.monotonic(),
    )
    device = model.get_input_embeddings().weight.device
    numbers = _RandomState(sampling, device)

    class Streamer(BaseStreamer):  # type: ignore[misc]
        """Receives the prompt first, then each token; an exception raised here ends the generation."""

        prompt = True

        def put(self, value: Any) -> None:
            if self.prompt:
                self.prompt = False
                return
            token = int(value.reshape(-1)[0])
            answer.seconds = time.monotonic() - begun
            answer.first = answer.first or answer.seconds
            # The stop token itself is not part of the text; generate() ends after it
            if token in stops:
                answer.stopped = True
                return
            answer.tokens += 1
            piece = pieces.add_token(token)
            piece = (
                piece if answer.text else piece.lstrip()
            )  # no blanks at the start, as in samples and predictions
            answer.text += piece
            on_piece(piece, answer.tokens)
            if cancelled():
                raise GenerationStopped
            pass_on(numbers)

        def end(self) -> None:
            pass

    numbers.enter_state()
    try:
        with torch.inference_mode():
            model.generate(
                input_ids=torch.tensor([list(prompt)], device=device),
                attention_mask=torch.ones((1, len(prompt)), dtype=torch.long, device=device),
                generation_config=_build_generation_config(sampling, room, stops, tokenizer),
                streamer=Streamer(),
            )
    except GenerationStopped:
        answer.note = note = _("stopped")
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        # The traceback holds the tensors of the failed pass until it is cleared
        free_attempt_memory(error)
        raise OutOfMemoryError(
            _("there is not enough memory for {count:,} tokens.", count=len(prompt) + answer.tokens),
            where=one_line(loaded.origin.name),
            hint=_("Start a new chat, ask for fewer tokens, or use the processor (--device cpu)."),
        ) from None
    rest = pieces.take_rest()
    if rest:
        answer.text += rest
        on_piece(rest, answer.tokens)
    if answer.stopped:
        answer.note = ""
    return answer


def _find_room(model: Any, prompt: Sequence[int], wanted: int) -> tuple[int, str]:
    """Return (tokens an answer may have, why they are fewer than wanted).

    Raises:
        UsageError: the prompt is empty or fills the context.
    """
    if not prompt:
        raise UsageError(_("the prompt is empty."))
    context = find_context_length(model)
    if context is None:
        return wanted, ""
    # Virtual tokens of prompt tuning take up positions of the context
    context -= count_virtual_tokens(model)
    if len(prompt) >= context:
        raise UsageError(
            _(
                "the chat has {count:,} tokens and fills the context of {context:,}.",
                count=len(prompt),
                context=context,
            ),
            hint=_("Start a new chat, or remove earlier turns."),
        )
    room = min(wanted, context - len(prompt))
    note = "" if room == wanted else _("cut short: the context of {context} tokens is full", context=context)
    return room, note


def _build_generation_config(sampling: Sampling, room: int, stops: set[int], tokenizer: Any) -> Any:
    """Build a generation config that sets every option."""
    from transformers import GenerationConfig

    pad = tokenizer.pad_token_id
    # Options left out here would be taken from the model's own generation config
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
        # generate() needs one even for a single prompt, and warns if it has to choose it
        pad_token_id=pad if pad is not None else (min(stops) if stops else 0),
        use_cache=True,
    )


class _RandomState:
    """Random numbers of one answer, separate from those of answers generated at the same time."""

    def __init__(self, sampling: Sampling, device: Any) -> None:
        import torch

        self._drawn = sampling.temperature > 0
        self._cuda = device.type == "cuda"
        self._device = device
        if self._drawn:
            # Seeding changes the process's generator, so its state is restored afterwards
            seed = sampling.seed if sampling.seed is not None else torch.seed()
            kept = self._read_state()
            torch.manual_seed(seed)
            self._state = self._read_state()
            self._write_state(kept)

    def enter_state(self) -> None:
        """Put the generator into this answer's state."""
        if self._drawn:
            self._write_state(self._state)

    def leave_state(self) -> None:
        """Save the generator's state before another answer uses it."""
        if self._drawn:
            self._state = self._read_state()

    def _read_state(self) -> Any:
        import torch

        return torch.cuda.get_rng_state(self._device) if self._cuda else torch.get_rng_state()

    def _write_state(self, state: Any) -> None:
        import torch

        if self._cuda:
            torch.cuda.set_rng_state(state, self._device)
        else:
            torch.set_rng_state(state)
