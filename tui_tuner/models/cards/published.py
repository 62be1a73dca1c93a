"""Facts from the model cards of common models: what each is for, its licence, and its languages.

Taken from the model cards on the Hugging Face Hub and the reports they cite (Qwen3: arXiv 2505.09388,
appendix; XLM-R: arXiv 1911.02116, appendix; BERT: its list of multilingual models). Only Qwen3 and Gemma 3
were compared with their cards, in November 2026; a local card or the hub takes precedence. Where a card names
no languages, none are listed: nothing is guessed.
"""

from __future__ import annotations

from dataclasses import dataclass

CHAT, BASE, ENCODER, REWRITER = "chat", "base", "encoder", "rewriter"
KINDS = (CHAT, BASE, ENCODER, REWRITER)


@dataclass(frozen=True)
class PublishedCard:
    """Facts from a model's published card.

    Args:
        kind: `chat` (tuned to answer), `base` (continues text), `encoder` (reads both ways) or `rewriter`
            (an encoder reads, a decoder writes).
        licence: Short name of the licence, as the hub writes it.
        languages: ISO 639-1 codes; empty if the card names none.
        gated: Its owner approves each account that downloads it.
        first: A good first choice; for the others there are newer models of the same size.
    """

    kind: str
    licence: str
    languages: tuple[str, ...] = ()
    gated: bool = False
    first: bool = False


_QWEN25 = "en zh fr es pt de it ru ja ko vi th ar"
_QWEN3 = (
    "en fr pt de ro sv da bg ru cs el uk es nl sk hr pl lt nb nn fa sl gu lv it oc ne mr be sr lb as cy "
    "ast hi bn or pa ur si sd zh my ar he mt id ms tl jv su ta te kn ml tr az uz kk ba tt th lo fi et "
    "hu vi km ja ko ka eu ht af is"
)
_LLAMA3 = "en de fr it pt hi es th"
_GRANITE = "en de es fr ja pt ar cs it ko nl zh"
_PHI4_MINI = "ar zh cs da nl en fi fr de he hu it ja ko no pl pt ru es sv th tr uk"
_XLMR = (
    "af am ar as az be bg bn br bs ca cs cy da de el en eo es et eu fa fi fr fy ga gd gl gu ha he hi hr "
    "hu hy id is it ja jv ka kk km kn ko ku ky la lo lt lv mg mk ml mn mr ms my ne nl no om or pa pl ps "
    "pt ro ru sa sd si sk sl so sq sr su sv sw ta te th tl tr ug uk ur uz vi xh yi zh"
)
_MBERT = (
    "af sq ar an hy az ba eu be bn bs br bg my ca ce zh cv hr cs da nl en et fi fr gl ka de el gu ht he "
    "hi hu is io id ga it ja jv kn kk ky ko la lv lt lb mk mg ms ml mr mn ne nb nn oc fa pl pt pa ro ru "
    "sr sk sl es su sw sv tl tg ta tt te tr uk ur uz vi vo cy fy yo"
)

# kind, licence, languages, gated, a good first choice | hub ids
_CARDS: tuple[tuple[str, str, str, bool, bool, str], ...] = (
    (
        CHAT,
        "apache-2.0",
        _QWEN3,
        False,
        True,
        "Qwen/Qwen3-0.6B Qwen/Qwen3-1.7B Qwen/Qwen3-4B Qwen/Qwen3-8B Qwen/Qwen3-14B Qwen/Qwen3-32B "
        "Qwen/Qwen3-30B-A3B Qwen/Qwen3-235B-A22B",
    ),
    (
        BASE,
        "apache-2.0",
        _QWEN3,
        False,
        True,
        "Qwen/Qwen3-0.6B-Base Qwen/Qwen3-1.7B-Base Qwen/Qwen3-4B-Base Qwen/Qwen3-8B-Base Qwen/Qwen3-14B-Base "
        "Qwen/Qwen3-30B-A3B-Base",
    ),
    (
        CHAT,
        "apache-2.0",
        _QWEN25,
        False,
        False,
        "Qwen/Qwen2.5-0.5B-Instruct Qwen/Qwen2.5-1.5B-Instruct Qwen/Qwen2.5-7B-Instruct "
        "Qwen/Qwen2.5-14B-Instruct Qwen/Qwen2.5-32B-Instruct",
    ),
    (
        BASE,
        "apache-2.0",
        _QWEN25,
        False,
        False,
        "Qwen/Qwen2.5-0.5B Qwen/Qwen2.5-1.5B Qwen/Qwen2.5-7B Qwen/Qwen2.5-14B Qwen/Qwen2.5-32B",
    ),
    (CHAT, "qwen-research", _QWEN25, False, False, "Qwen/Qwen2.5-3B-Instruct"),
    (BASE, "qwen-research", _QWEN25, False, False, "Qwen/Qwen2.5-3B"),
    (CHAT, "qwen", _QWEN25, False, False, "Qwen/Qwen2.5-72B-Instruct"),
    (BASE, "qwen", _QWEN25, False, False, "Qwen/Qwen2.5-72B"),
    (
        CHAT,
        "apache-2.0",
        "en",
        False,
        True,
        "HuggingFaceTB/SmolLM2-135M-Instruct HuggingFaceTB/SmolLM2-360M-Instruct "
        "HuggingFaceTB/SmolLM2-1.7B-Instruct",
    ),
    (
        BASE,
        "apache-2.0",
        "en",
        False,
        True,
        "HuggingFaceTB/SmolLM2-135M HuggingFaceTB/SmolLM2-360M HuggingFaceTB/SmolLM2-1.7B",
    ),
    (CHAT, "apache-2.0", "en fr es de it pt", False, True, "HuggingFaceTB/SmolLM3-3B"),
    (BASE, "apache-2.0", "en fr es de it pt", False, True, "HuggingFaceTB/SmolLM3-3B-Base"),
    (
        CHAT,
        "llama3.2",
        _LLAMA3,
        True,
        True,
        "meta-llama/Llama-3.2-1B-Instruct meta-llama/Llama-3.2-3B-Instruct",
    ),
    (BASE, "llama3.2", _LLAMA3, True, True, "meta-llama/Llama-3.2-1B meta-llama/Llama-3.2-3B"),
    (CHAT, "llama3.1", _LLAMA3, True, True, "meta-llama/Llama-3.1-8B-Instruct"),
    (BASE, "llama3.1", _LLAMA3, True, True, "meta-llama/Llama-3.1-8B"),
    (
        CHAT,
        "llama3.1",
        _LLAMA3,
        True,
        False,
        "meta-llama/Llama-3.1-70B-Instruct meta-llama/Llama-3.1-405B-Instruct",
    ),
    (BASE, "llama3.1", _LLAMA3, True, False, "meta-llama/Llama-3.1-70B meta-llama/Llama-3.1-405B"),
    (CHAT, "llama3.3", _LLAMA3, True, True, "meta-llama/Llama-3.3-70B-Instruct"),
    (BASE, "llama3", "en", True, False, "meta-llama/Meta-Llama-3-8B meta-llama/Meta-Llama-3-70B"),
    (CHAT, "llama3", "en", True, False, "meta-llama/Meta-Llama-3-8B-Instruct"),
    (
        BASE,
        "llama2",
        "en",
        True,
        False,
        "meta-llama/Llama-2-7b-hf meta-llama/Llama-2-13b-hf meta-llama/Llama-2-70b-hf",
    ),
    (
        CHAT,
        "llama2",
        "en",
        True,
        False,
        "meta-llama/Llama-2-7b-chat-hf meta-llama/Llama-2-13b-chat-hf meta-llama/Llama-2-70b-chat-hf",
    ),
    (CHAT, "apache-2.0", "en", False, False, "TinyLlama/TinyLlama-1.1B-Chat-v1.0"),
    (BASE, "apache-2.0", "en", False, False, "TinyLlama/TinyLlama_v1.1"),
    (CHAT, "apache-2.0", "en fr de es it pt ru zh ja", False, False, "mistralai/Mistral-Nemo-Instruct-2407"),
    (BASE, "apache-2.0", "en fr de es it pt ru zh ja", False, False, "mistralai/Mistral-Nemo-Base-2407"),
    (BASE, "apache-2.0", "", False, False, "mistralai/Mistral-7B-v0.1 mistralai/Mistral-7B-v0.3"),
    (
        CHAT,
        "apache-2.0",
        "",
        False,
        False,
        "mistralai/Mistral-7B-Instruct-v0.1 mistralai/Mistral-7B-Instruct-v0.2 "
        "mistralai/Mistral-7B-Instruct-v0.3",
    ),
    (
        CHAT,
        "apache-2.0",
        "fr it de es en",
        False,
        False,
        "mistralai/Mixtral-8x7B-Instruct-v0.1 mistralai/Mixtral-8x22B-Instruct-v0.1",
    ),
    (
        BASE,
        "apache-2.0",
        "fr it de es en",
        False,
        False,
        "mistralai/Mixtral-8x7B-v0.1 mistralai/Mixtral-8x22B-v0.1",
    ),
    (
        CHAT,
        "gemma",
        "en",
        True,
        False,
        "google/gemma-2b-it google/gemma-7b-it google/gemma-2-2b-it google/gemma-2-9b-it "
        "google/gemma-2-27b-it",
    ),
    (
        BASE,
        "gemma",
        "en",
        True,
        False,
        "google/gemma-2b google/gemma-7b google/gemma-2-2b google/gemma-2-9b google/gemma-2-27b",
    ),
    # The card says "more than 140 languages" and lists none.
    (CHAT, "gemma", "", True, True, "google/gemma-3-270m-it google/gemma-3-1b-it"),
    (BASE, "gemma", "", True, True, "google/gemma-3-270m google/gemma-3-1b-pt"),
    (BASE, "mit", "en", False, False, "microsoft/phi-1_5 microsoft/phi-2"),
    (
        CHAT,
        "mit",
        "en",
        False,
        False,
        "microsoft/Phi-3-mini-4k-instruct microsoft/Phi-3-mini-128k-instruct",
    ),
    (CHAT, "mit", _PHI4_MINI, False, False, "microsoft/Phi-3.5-mini-instruct"),
    (CHAT, "mit", _PHI4_MINI, False, True, "microsoft/Phi-4-mini-instruct"),
    (CHAT, "mit", "en", False, True, "microsoft/phi-4"),
    (
        CHAT,
        "apache-2.0",
        "en",
        False,
        True,
        "allenai/OLMo-2-0425-1B-Instruct allenai/OLMo-2-1124-7B-Instruct",
    ),
    (BASE, "apache-2.0", "en", False, True, "allenai/OLMo-2-0425-1B allenai/OLMo-2-1124-7B"),
    (
        CHAT,
        "apache-2.0",
        _GRANITE,
        False,
        True,
        "ibm-granite/granite-3.2-2b-instruct ibm-granite/granite-3.2-8b-instruct",
    ),
    (
        CHAT,
        "apache-2.0",
        _GRANITE,
        False,
        False,
        "ibm-granite/granite-3.1-2b-instruct ibm-granite/granite-3.1-8b-instruct",
    ),
    (
        BASE,
        "apache-2.0",
        _GRANITE,
        False,
        True,
        "ibm-granite/granite-3.1-2b-base ibm-granite/granite-3.1-8b-base",
    ),
    (BASE, "apache-2.0", "en", False, False, "EleutherAI/pythia-160m EleutherAI/pythia-2.8b"),
    (
        CHAT,
        "mit",
        "",
        False,
        False,
        "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B deepseek-ai/DeepSeek-R1-Distill-Qwen-14B "
        "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B",
    ),
    (
        BASE,
        "mit",
        "en",
        False,
        False,
        "gpt2 openai-community/gpt2 gpt2-medium openai-community/gpt2-medium gpt2-large "
        "openai-community/gpt2-large gpt2-xl openai-community/gpt2-xl",
    ),
    (BASE, "apache-2.0", "en", False, False, "distilgpt2 distilbert/distilgpt2"),
    (
        ENCODER,
        "apache-2.0",
        "en",
        False,
        False,
        "bert-base-uncased google-bert/bert-base-uncased bert-base-cased google-bert/bert-base-cased "
        "bert-large-uncased google-bert/bert-large-uncased",
    ),
    (
        ENCODER,
        "mit",
        "en",
        False,
        True,
        "roberta-base FacebookAI/roberta-base roberta-large FacebookAI/roberta-large",
    ),
    (
        ENCODER,
        "apache-2.0",
        "en",
        False,
        True,
        "distilbert-base-uncased distilbert/distilbert-base-uncased answerdotai/ModernBERT-base "
        "answerdotai/ModernBERT-large",
    ),
    (
        ENCODER,
        "mit",
        _XLMR,
        False,
        True,
        "FacebookAI/xlm-roberta-base FacebookAI/xlm-roberta-large xlm-roberta-base xlm-roberta-large",
    ),
    (
        ENCODER,
        "apache-2.0",
        _MBERT,
        False,
        True,
        "distilbert/distilbert-base-multilingual-cased distilbert-base-multilingual-cased",
    ),
    (
        ENCODER,
        "apache-2.0",
        _MBERT,
        False,
        False,
        "google-bert/bert-base-multilingual-cased bert-base-multilingual-cased",
    ),
    (
        REWRITER,
        "apache-2.0",
        "en fr ro de",
        False,
        False,
        "google-t5/t5-small google-t5/t5-base google-t5/t5-large t5-small t5-base t5-large",
    ),
    (
        REWRITER,
        "apache-2.0",
        "en fr de",
        False,
        True,
        "google/flan-t5-small google/flan-t5-base google/flan-t5-large google/flan-t5-xl",
    ),
    (REWRITER, "apache-2.0", "", False, False, "google/mt5-small google/mt5-base google/mt5-large"),
    (REWRITER, "apache-2.0", "en", False, True, "facebook/bart-base facebook/bart-large"),
    (REWRITER, "mit", "en", False, False, "facebook/bart-large-cnn"),
    (REWRITER, "mit", "", False, False, "facebook/mbart-large-50"),
)

# Filled on first use, like the catalogue of shapes.
_BY_ID: dict[str, PublishedCard] = {}


def find_published_card(name: str) -> PublishedCard | None:
    """Return the published facts about a hub id (case does not matter), or None."""
    if not _BY_ID:
        for kind, licence, languages, gated, first, ids in _CARDS:
            card = PublishedCard(kind, licence, tuple(languages.split()), gated, first)
            _BY_ID.update(dict.fromkeys(ids.lower().split(), card))
    return _BY_ID.get(name.strip().lower())


def list_published_names() -> list[str]:
    """Return the hub ids whose cards are known here."""
    return [name for *_unused, ids in _CARDS for name in ids.split()]
