"""A new byte-level BPE tokenizer, learnt from texts, with the tokens of a chat."""

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
    """Learn a tokenizer: byte-level BPE (every text can be encoded), words split as in GPT-2.

    The beginning token is put before every text that is encoded with special tokens; the stop token is eos.

    Args:
        vocabulary: Tokens at most, the 256 bytes and 4 special tokens included; fewer if the texts hold less.
        chat_template: Jinja; None takes `CHAT_TEMPLATE`.

    Raises:
        ConfigError: a vocabulary with no room for the bytes.
        RowsError: no text at all.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    smallest = 256 + len(SPECIAL_TOKENS)
    if vocabulary < smallest:
        raise ConfigError(
            _(
                "{vocabulary} tokens are too few: bytes and special tokens alone are {smallest}",
                vocabulary=vocabulary,
                smallest=smallest,
            ),
            where="model.vocabulary",
        )
    counted = _Counted(texts)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(counted, trainer)
    if not counted.characters:
        raise RowsError(_("there is no text to learn a tokenizer from"), where="data.path")
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


class _Counted:
    """Texts, with the number of characters seen so far."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = texts
        self.characters = 0

    def __iter__(self):  # type: ignore[no-untyped-def]
        for text in self._texts:
            self.characters += len(text)
            yield text
