"""Train a new byte-level BPE tokenizer on texts, with the special tokens of a chat."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from tui_tuner.errors import ConfigError, RowsError
from tui_tuner.locales import _

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

BEGIN, PAD, TURN, STOP = "<|begin|>", "<|pad|>", "<|im_start|>", "<|im_end|>"
SPECIAL_TOKENS = (BEGIN, PAD, TURN, STOP)

# ChatML after the token that begins every text. The stop token ends each turn, and is the tokenizer's eos.
CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def train_tokenizer(
    texts: Iterable[str], vocabulary: int, chat_template: str | None = None
) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer, which can encode any text; words are split as in GPT-2.

    Encoding with special tokens puts the beginning token before every text; the stop token is eos.

    Args:
        vocabulary: Most tokens, including the 256 bytes and 4 special tokens; short texts give fewer.
        chat_template: Jinja; None uses `CHAT_TEMPLATE`.

    Raises:
        ConfigError: the vocabulary is too small for the bytes.
        RowsError: there is no text.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    smallest = 256 + len(SPECIAL_TOKENS)
    if vocabulary < smallest:
        raise ConfigError(
            _(
                "{vocabulary} tokens are too few: bytes and special tokens alone take {smallest}",
                vocabulary=vocabulary,
                smallest=smallest,
            ),
            where="model.vocabulary",
        )
    counted = _CharacterCounter(texts)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL_TOKENS),
        # All 256 bytes, also those that the texts lack: otherwise other texts could not be encoded.
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(counted, trainer)
    # Only now: the texts are a stream, whose length is unknown before it is read.
    if not counted.characters:
        raise RowsError(_("there is no text to train a tokenizer on"), where="data.path")
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A",
        pair=f"{BEGIN} $A $B",
        special_tokens=[(BEGIN, tokenizer.token_to_id(BEGIN))],
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BEGIN,
        eos_token=STOP,
        pad_token=PAD,
        additional_special_tokens=[TURN],
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = chat_template or CHAT_TEMPLATE
    return fast


class _CharacterCounter:
    """Passes texts on and counts their characters."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = texts
        self.characters = 0

    def __iter__(self):  # type: ignore[no-untyped-def]
        for text in self._texts:
            self.characters += len(text)
            yield text
