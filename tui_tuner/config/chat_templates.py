"""Names and aliases of the chat templates that this package contains.

Only names are here, so that forms and validation load no templates. The templates are in `data/chat/named`,
and a test checks that the two lists agree.
"""

from __future__ import annotations

import difflib

from tui_tuner.locales import N_

OWN = "tokenizer_default"  # the word for the template that comes with the tokenizer

CHAT_TEMPLATES: dict[str, str] = {
    "chatml": N_("ChatML, with tools; for models without a format of their own"),
    "alpaca": N_("Stanford Alpaca: ### Instruction, ### Response"),
    "vicuna": N_("Vicuna 1.1 and later: USER, ASSISTANT"),
    "zephyr": N_("Zephyr, and other models with <|user|> and an eos after each turn"),
    "llama2": N_("Llama 2 Chat and Code Llama: [INST], <<SYS>>"),
    "llama3": N_("Llama 3, and later versions without date and tools"),
    "llama3.1": N_("Llama 3.1, 3.2 and 3.3, with the dates of their system turn, and tools"),
    "llama4": N_("Llama 4"),
    "mistral_v1": N_("Mistral 7B Instruct 0.1 and 0.2, Mixtral: the system turn in the first question"),
    "mistral_v3": N_("Mistral 7B Instruct 0.3, Mixtral 8x22B: the system turn in the last question; tools"),
    "mistral_tekken": N_("Mistral Nemo: like mistral_v3, without spaces; tools"),
    "mistral_small": N_("Mistral Small 3 (v7 Tekken): [SYSTEM_PROMPT]; tools"),
    "gemma": N_("Gemma 1, 2, 3 and 3n: the system turn in the first question"),
    "gemma4": N_("Gemma 4, without tools"),
    "qwen2": N_("Qwen 1.5, Qwen 2 and Qwen2-VL (text)"),
    "qwen2.5": N_("Qwen 2.5, with tools"),
    "qwen3": N_("Qwen 3 that thinks before it answers, with tools"),
    "qwen3_instruct": N_("Qwen 3 Instruct 2507 and other Qwen 3 models that do not think, with tools"),
    "qwen3.5": N_("Qwen 3.5 that thinks before it answers, with tools"),
    "qwen3.5_nothink": N_("Qwen 3.5 that answers at once, with tools"),
    "qwen3.6": N_("Qwen 3.6 that thinks before it answers, with tools"),
    "deepseek": N_("DeepSeek LLM and DeepSeek V2: User, Assistant"),
    "deepseek_v3": N_("DeepSeek V2.5 and V3, with tools"),
    "deepseek_r1": N_("DeepSeek R1 and models distilled from it, with reasoning and tools"),
    "phi3": N_("Phi 3 and 3.5"),
    "phi4": N_("Phi 4"),
    "phi4_mini": N_("Phi 4 mini"),
    "chatglm2": N_("ChatGLM2: [Round 1], 问, 答"),
    "chatglm3": N_("ChatGLM3, without tools"),
    "glm4": N_("GLM-4, with tools"),
    "glm4.5": N_("GLM-4.5 and 4.6, with reasoning and tools"),
    "baichuan2": N_("Baichuan2 Chat"),
    "internlm2": N_("InternLM2 Chat"),
    "yi": N_("Yi Chat"),
    "cohere": N_("Cohere Command R and Aya"),
    "openchat": N_("OpenChat 3.5: GPT4 Correct User"),
    "solar": N_("SOLAR Instruct: ### User, ### Assistant"),
    "granite": N_("IBM Granite 3, without tools"),
    "exaone": N_("EXAONE 3 and 3.5"),
    "olmo2": N_("OLMo 2"),
    "tulu": N_("Tulu 2 and 3"),
    "smollm2": N_("SmolLM2"),
    "lfm2": N_("Liquid LFM2, without tools"),
    "falcon_h1": N_("Falcon H1, without tools"),
    "kimi": N_("Kimi K2 and Moonlight, without tools"),
    "jamba": N_("Jamba, without tools"),
    "seed_oss": N_("ByteDance Seed-OSS, without reasoning and tools"),
    "gpt_oss": N_("gpt-oss (harmony), with reasoning, without dates and tools"),
}

# Other names of the same formats, from other trainers and model cards. Case, dots, hyphens and underscores
# are ignored: qwen_25, Qwen-2.5 and qwen2.5 are the same name.
_ALIASES = {
    "vicuna_v1.1": "vicuna",
    "llava": "vicuna",
    "codellama": "llama2",
    "llama3.2": "llama3.1",
    "llama3.3": "llama3.1",
    "llama3.2_vision": "llama3.1",
    "mllama": "llama3.1",
    "mixtral": "mistral_v1",
    "mistral": "mistral_v3",
    "mistral_v2v3": "mistral_v3",
    "mistral_v3_tekken": "mistral_tekken",
    "mistral_nemo": "mistral_tekken",
    "pixtral": "mistral_tekken",
    "mistral_v7_tekken": "mistral_small",
    "gemma2": "gemma",
    "gemma3": "gemma",
    "gemma3n": "gemma",
    "gemma4_unified": "gemma4",
    "gemma4n": "gemma4",
    "qwen": "qwen2.5",
    "qwen1.5": "qwen2",
    "qwen2_vl": "qwen2",
    "qwen2.5_vl": "qwen2",
    "qwen3_think": "qwen3",
    "qwen3_nothink": "qwen3_instruct",
    "qwen3_2507": "qwen3_instruct",
    "qwen3_instruct_2507": "qwen3_instruct",
    "qwen3_vl": "qwen3_instruct",
    "qwen3_vl_nothink": "qwen3_instruct",
    "qwen3.5_think": "qwen3.5",
    "deepseek_llm": "deepseek",
    "deepseek_v2": "deepseek",
    "deepseek_v2.5": "deepseek_v3",
    "deepseek3": "deepseek_v3",
    "phi3.5": "phi3",
    "phi3_mini": "phi3",
    "chatglm4": "glm4",
    "glm4_moe": "glm4.5",
    "glm4.6": "glm4.5",
    "baichuan": "baichuan2",
    "internlm2.5": "internlm2",
    "intern2": "internlm2",
    "yi1.5": "yi",
    "command_r": "cohere",
    "aya": "cohere",
    "openchat3.5": "openchat",
    "granite3": "granite",
    "exaone3.5": "exaone",
    "olmo": "olmo2",
    "tulu3": "tulu",
    "smollm": "smollm2",
    "kimi_k2": "kimi",
    "moonlight": "kimi",
    "gptoss": "gpt_oss",
    "harmony": "gpt_oss",
}


def _make_key(word: str) -> str:
    return "".join(letter for letter in word.lower() if letter not in "-_. ")


_BY_KEY = {_make_key(name): name for name in CHAT_TEMPLATES} | {
    _make_key(a): name for a, name in _ALIASES.items()
}


def find_template_name(word: str) -> str | None:
    """Return the name in `CHAT_TEMPLATES` that a word stands for; None for anything else, such as a path."""
    return _BY_KEY.get(_make_key(word))


def is_template_word(word: str) -> bool:
    """Return whether a word names a template, this package's or the tokenizer's own, and so is not a path."""
    return _make_key(word) == _make_key(OWN) or find_template_name(word) is not None


def is_own_template(word: str) -> bool:
    """Return whether a word asks for the template that comes with the tokenizer."""
    return _make_key(word) == _make_key(OWN)


def list_similar_templates(word: str) -> list[str]:
    """Return up to four names that are similar to an unknown word, best first."""
    known = {**_BY_KEY, _make_key(OWN): OWN}
    found = difflib.get_close_matches(_make_key(word), list(known), n=6, cutoff=0.6)
    return list(dict.fromkeys(known[key] for key in found))[:4]


def list_template_aliases(name: str) -> list[str]:
    """Return the aliases of a template."""
    return [alias for alias, meant in _ALIASES.items() if meant == name]
