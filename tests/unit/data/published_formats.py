"""One exchange in each named chat format, typed from what its authors publish.

`text` is a system turn, "Hello", "Hi!", "Bye" and "See you."; `prompt` asks for the answer to "Hello" alone,
so it shows the system text that a format has of its own. `tokens` are what a tokenizer of that model knows:
its BOS, its eos and the tokens of the format.
"""

from __future__ import annotations

from dataclasses import dataclass

SYSTEM, TURNS = "Be brief.", ("Hello", "Hi!", "Bye", "See you.")


@dataclass(frozen=True)
class Published:
    """`end` is what ends the last answer; `unstopped`: answers before it have no end of their own."""

    name: str
    source: str
    tokens: tuple[str, ...]
    end: str
    text: str
    prompt: str
    bos: str | None = None
    eos: str = ""
    unstopped: bool = False


IM = ("<|im_start|>", "<|im_end|>")
PIECES = ("<s>", "</s>")
CHATML = (
    "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
    "Hi!<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\nSee you.<|im_end|>\n"
)
ASK = "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
VICUNA = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
ALPACA = (
    "Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request."
)
HARMONY = (
    "<|start|>system<|message|>You are ChatGPT, a large language model trained by OpenAI.\n"
    "Knowledge cutoff: 2024-06\n\nReasoning: medium\n\n"
    "# Valid channels: analysis, commentary, final. Channel must be included for every message.<|end|>"
)
LLAMA31 = (
    "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n"
    "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"
)
HEADERS = ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
COHERE = (
    "<|START_OF_TURN_TOKEN|>",
    "<|END_OF_TURN_TOKEN|>",
    "<|SYSTEM_TOKEN|>",
    "<|USER_TOKEN|>",
    "<|CHATBOT_TOKEN|>",
)

PUBLISHED = (
    Published("chatml", "ChatML document (openai-python 0.x)", IM, "<|im_end|>", CHATML, ASK),
    Published(
        "alpaca",
        "Stanford Alpaca README, its prompt without input; later turns as trainers of this format go on",
        PIECES,
        "</s>",
        "<s>Be brief.\n\n### Instruction:\nHello\n\n### Response:\nHi!</s>\n\n"
        "### Instruction:\nBye\n\n### Response:\nSee you.</s>",
        f"<s>{ALPACA}\n\n### Instruction:\nHello\n\n### Response:\n",
        bos="<s>",
    ),
    Published(
        "vicuna",
        "FastChat, conversation vicuna_v1.1 (two separators: a space and </s>)",
        PIECES,
        "</s>",
        "<s>Be brief. USER: Hello ASSISTANT: Hi!</s>USER: Bye ASSISTANT: See you.</s>",
        f"<s>{VICUNA} USER: Hello ASSISTANT:",
        bos="<s>",
    ),
    Published(
        "zephyr",
        "Zephyr 7B beta model card",
        PIECES,
        "</s>",
        "<|system|>\nBe brief.</s>\n<|user|>\nHello</s>\n<|assistant|>\nHi!</s>\n<|user|>\nBye</s>\n"
        "<|assistant|>\nSee you.</s>\n",
        "<|user|>\nHello</s>\n<|assistant|>\n",
        bos="<s>",
    ),
    Published(
        "llama2",
        "Llama 2 prompt format (llama.com): <s>[INST] <<SYS>> … [/INST] answer </s><s>[INST] …",
        PIECES,
        "</s>",
        "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHello [/INST] Hi! </s><s>[INST] Bye [/INST] See you. </s>",
        "<s>[INST] Hello [/INST]",
        bos="<s>",
    ),
    Published(
        "llama3",
        "Llama 3 prompt format (llama.com)",
        HEADERS,
        "<|eot_id|>",
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nHello<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nHi!<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nSee you.<|eot_id|>",
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHello<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        bos="<|begin_of_text|>",
        eos="<|end_of_text|>",
    ),
    Published(
        "llama3.1",
        "Llama 3.1 prompt format (llama.com), with the dates of the published system turn",
        HEADERS,
        "<|eot_id|>",
        f"{LLAMA31}Be brief.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHello<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nHi!<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nSee you.<|eot_id|>",
        f"{LLAMA31}<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHello<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        bos="<|begin_of_text|>",
        eos="<|end_of_text|>",
    ),
    Published(
        "llama4",
        "Llama 4 prompt format (llama.com)",
        ("<|begin_of_text|>", "<|end_of_text|>", "<|header_start|>", "<|header_end|>", "<|eot|>"),
        "<|eot|>",
        "<|begin_of_text|><|header_start|>system<|header_end|>\n\nBe brief.<|eot|>"
        "<|header_start|>user<|header_end|>\n\nHello<|eot|><|header_start|>assistant<|header_end|>\n\nHi!<|eot|>"
        "<|header_start|>user<|header_end|>\n\nBye<|eot|>"
        "<|header_start|>assistant<|header_end|>\n\nSee you.<|eot|>",
        "<|begin_of_text|><|header_start|>user<|header_end|>\n\nHello<|eot|>"
        "<|header_start|>assistant<|header_end|>\n\n",
        bos="<|begin_of_text|>",
        eos="<|end_of_text|>",
    ),
    Published(
        "mistral_v1",
        "Mistral cookbook, chat templates: v1",
        PIECES,
        "</s>",
        "<s> [INST] Be brief.\n\nHello [/INST] Hi!</s> [INST] Bye [/INST] See you.</s>",
        "<s> [INST] Hello [/INST]",
        bos="<s>",
    ),
    Published(
        "mistral_v3",
        "Mistral cookbook, chat templates: v3 (the system text in the last question)",
        (*PIECES, "[INST]", "[/INST]"),
        "</s>",
        "<s>[INST] Hello[/INST] Hi!</s>[INST] Be brief.\n\nBye[/INST] See you.</s>",
        "<s>[INST] Hello[/INST]",
        bos="<s>",
    ),
    Published(
        "mistral_tekken",
        "Mistral cookbook, chat templates: v3-tekken",
        (*PIECES, "[INST]", "[/INST]"),
        "</s>",
        "<s>[INST]Hello[/INST]Hi!</s>[INST]Be brief.\n\nBye[/INST]See you.</s>",
        "<s>[INST]Hello[/INST]",
        bos="<s>",
    ),
    Published(
        "mistral_small",
        "Mistral Small 24B Instruct 2501 model card: V7-Tekken",
        (*PIECES, "[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"),
        "</s>",
        "<s>[SYSTEM_PROMPT]Be brief.[/SYSTEM_PROMPT][INST]Hello[/INST]Hi!</s>[INST]Bye[/INST]See you.</s>",
        "<s>[INST]Hello[/INST]",
        bos="<s>",
    ),
    Published(
        "gemma",
        "Gemma formatting guide (ai.google.dev): the system text inside the first question",
        ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"),
        "<end_of_turn>",
        "<bos><start_of_turn>user\nBe brief.\n\nHello<end_of_turn>\n<start_of_turn>model\nHi!<end_of_turn>\n"
        "<start_of_turn>user\nBye<end_of_turn>\n<start_of_turn>model\nSee you.<end_of_turn>\n",
        "<bos><start_of_turn>user\nHello<end_of_turn>\n<start_of_turn>model\n",
        bos="<bos>",
        eos="<eos>",
    ),
    Published(
        "gemma4",
        "Gemma 4 prompt formatting (ai.google.dev)",
        ("<bos>", "<eos>", "<|turn>", "<turn|>"),
        "<turn|>",
        "<bos><|turn>system\nBe brief.<turn|>\n<|turn>user\nHello<turn|>\n<|turn>model\nHi!<turn|>\n"
        "<|turn>user\nBye<turn|>\n<|turn>model\nSee you.<turn|>\n",
        "<bos><|turn>user\nHello<turn|>\n<|turn>model\n",
        bos="<bos>",
        eos="<eos>",
    ),
    Published(
        "qwen2",
        "Qwen2 model card and its quickstart",
        IM,
        "<|im_end|>",
        CHATML,
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n" + ASK,
    ),
    Published(
        "qwen2.5",
        "Qwen2.5 documentation (qwen.readthedocs.io): control tokens and chat template",
        IM,
        "<|im_end|>",
        CHATML,
        "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
        + ASK,
    ),
    Published(
        "qwen3",
        "Qwen3 documentation: thinking stands in the last answer only",
        (*IM, "<think>", "</think>"),
        "<|im_end|>",
        CHATML.replace("See you.", "<think>\n\n</think>\n\nSee you."),
        ASK,
    ),
    Published("qwen3_instruct", "Qwen3 Instruct 2507 model card", IM, "<|im_end|>", CHATML, ASK),
    Published(
        "qwen3.5",
        "Qwen3.5 model card: thinking by default",
        (*IM, "<think>", "</think>"),
        "<|im_end|>",
        CHATML.replace("See you.", "<think>\n\n</think>\n\nSee you."),
        ASK + "<think>\n",
    ),
    Published(
        "qwen3.5_nothink",
        "Qwen3.5 model card: enable_thinking=False",
        (*IM, "<think>", "</think>"),
        "<|im_end|>",
        CHATML.replace("See you.", "<think>\n\n</think>\n\nSee you."),
        ASK + "<think>\n\n</think>\n\n",
    ),
    Published(
        "qwen3.6",
        "Qwen3.6 model card: thinking by default",
        (*IM, "<think>", "</think>"),
        "<|im_end|>",
        CHATML.replace("See you.", "<think>\n\n</think>\n\nSee you."),
        ASK + "<think>\n",
    ),
    Published(
        "deepseek",
        "DeepSeek-V2-Chat model card",
        ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"),
        "<｜end▁of▁sentence｜>",
        "<｜begin▁of▁sentence｜>Be brief.\n\nUser: Hello\n\nAssistant: Hi!<｜end▁of▁sentence｜>"
        "User: Bye\n\nAssistant: See you.<｜end▁of▁sentence｜>",
        "<｜begin▁of▁sentence｜>User: Hello\n\nAssistant:",
        bos="<｜begin▁of▁sentence｜>",
    ),
    Published(
        "deepseek_v3",
        "DeepSeek-V2.5 model card",
        ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"),
        "<｜end▁of▁sentence｜>",
        "<｜begin▁of▁sentence｜>Be brief.<｜User｜>Hello<｜Assistant｜>Hi!<｜end▁of▁sentence｜>"
        "<｜User｜>Bye<｜Assistant｜>See you.<｜end▁of▁sentence｜>",
        "<｜begin▁of▁sentence｜><｜User｜>Hello<｜Assistant｜>",
        bos="<｜begin▁of▁sentence｜>",
    ),
    Published(
        "deepseek_r1",
        "DeepSeek-R1 model card: an answer begins with <think> and a new line",
        ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"),
        "<｜end▁of▁sentence｜>",
        "<｜begin▁of▁sentence｜>Be brief.<｜User｜>Hello<｜Assistant｜>Hi!<｜end▁of▁sentence｜>"
        "<｜User｜>Bye<｜Assistant｜>See you.<｜end▁of▁sentence｜>",
        "<｜begin▁of▁sentence｜><｜User｜>Hello<｜Assistant｜><think>\n",
        bos="<｜begin▁of▁sentence｜>",
    ),
    Published(
        "phi3",
        "Phi-3-mini model card; the eos behind everything as its tokenizer writes it",
        ("<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
        "<|end|>",
        "<|system|>\nBe brief.<|end|>\n<|user|>\nHello<|end|>\n<|assistant|>\nHi!<|end|>\n"
        "<|user|>\nBye<|end|>\n"
        "<|assistant|>\nSee you.<|end|>\n<|endoftext|>",
        "<|user|>\nHello<|end|>\n<|assistant|>\n",
        eos="<|endoftext|>",
    ),
    Published(
        "phi4",
        "Phi-4 model card",
        ("<|endoftext|>", "<|im_sep|>", *IM),
        "<|im_end|>",
        "<|im_start|>system<|im_sep|>Be brief.<|im_end|><|im_start|>user<|im_sep|>Hello<|im_end|>"
        "<|im_start|>assistant<|im_sep|>Hi!<|im_end|><|im_start|>user<|im_sep|>Bye<|im_end|>"
        "<|im_start|>assistant<|im_sep|>See you.<|im_end|>",
        "<|im_start|>user<|im_sep|>Hello<|im_end|><|im_start|>assistant<|im_sep|>",
        eos="<|endoftext|>",
    ),
    Published(
        "phi4_mini",
        "Phi-4-mini-instruct model card",
        ("<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
        "<|end|>",
        "<|system|>Be brief.<|end|><|user|>Hello<|end|><|assistant|>Hi!<|end|><|user|>Bye<|end|>"
        "<|assistant|>See you.<|end|>",
        "<|user|>Hello<|end|><|assistant|>",
        eos="<|endoftext|>",
    ),
    Published(
        "chatglm2",
        "ChatGLM2-6B, build_prompt and its prefix tokens",
        ("</s>", "[gMASK]", "sop"),
        "</s>",
        "[gMASK]sopBe brief.\n\n[Round 1]\n\n问：Hello\n\n答：Hi!\n\n"
        "[Round 2]\n\n问：Bye\n\n答：See you.</s>",
        "[gMASK]sop[Round 1]\n\n问：Hello\n\n答：",
        unstopped=True,
    ),
    Published(
        "chatglm3",
        "ChatGLM3 prompt description (PROMPT_en.md); a turn stops where the next role begins",
        ("</s>", "[gMASK]", "sop", "<|system|>", "<|user|>", "<|assistant|>"),
        "<|user|>",
        "[gMASK]sop<|system|>\n Be brief.<|user|>\n Hello<|assistant|>\n Hi!<|user|>\n Bye<|assistant|>\n "
        "See you.<|user|>",
        "[gMASK]sop<|user|>\n Hello<|assistant|>",
        eos="</s>",
    ),
    Published(
        "glm4",
        "GLM-4 chat template; its fine-tuning example ends chats with <|user|>",
        ("<|endoftext|>", "[gMASK]", "<sop>", "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"),
        "<|user|>",
        "[gMASK]<sop><|system|>\nBe brief.<|user|>\nHello<|assistant|>\nHi!<|user|>\nBye<|assistant|>\n"
        "See you.<|user|>",
        "[gMASK]<sop><|user|>\nHello<|assistant|>",
        eos="<|endoftext|>",
    ),
    Published(
        "glm4.5",
        "GLM-4.5 chat template: answers say whether they thought",
        ("<|endoftext|>", "[gMASK]", "<sop>", "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"),
        "<|user|>",
        "[gMASK]<sop><|system|>\nBe brief.<|user|>\nHello<|assistant|>\n<think></think>\nHi!<|user|>\nBye"
        "<|assistant|>\n<think></think>\nSee you.<|user|>",
        "[gMASK]<sop><|user|>\nHello<|assistant|>",
        eos="<|endoftext|>",
    ),
    Published(
        "baichuan2",
        "Baichuan2 build_chat_input: reserved tokens 195 and 196",
        ("</s>", "<reserved_106>", "<reserved_107>"),
        "</s>",
        "Be brief.<reserved_106>Hello<reserved_107>Hi!<reserved_106>Bye<reserved_107>See you.</s>",
        "<reserved_106>Hello<reserved_107>",
        unstopped=True,
    ),
    Published(
        "internlm2",
        "InternLM2 chat format document",
        (*PIECES, *IM),
        "<|im_end|>",
        "<s>" + CHATML,
        "<s>" + ASK,
        bos="<s>",
        eos="</s>",
    ),
    Published("yi", "Yi-34B-Chat model card", IM, "<|im_end|>", CHATML, ASK),
    Published(
        "cohere",
        "Command R model card",
        ("<BOS_TOKEN>", *COHERE),
        "<|END_OF_TURN_TOKEN|>",
        "<BOS_TOKEN><|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>Be brief.<|END_OF_TURN_TOKEN|>"
        "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>Hello<|END_OF_TURN_TOKEN|>"
        "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>Hi!<|END_OF_TURN_TOKEN|>"
        "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>Bye<|END_OF_TURN_TOKEN|>"
        "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>See you.<|END_OF_TURN_TOKEN|>",
        "<BOS_TOKEN><|START_OF_TURN_TOKEN|><|USER_TOKEN|>Hello<|END_OF_TURN_TOKEN|>"
        "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>",
        bos="<BOS_TOKEN>",
    ),
    Published(
        "openchat",
        "OpenChat 3.5 model card",
        (*PIECES, "<|end_of_turn|>"),
        "<|end_of_turn|>",
        "<s>Be brief.<|end_of_turn|>GPT4 Correct User: Hello<|end_of_turn|>GPT4 Correct Assistant: Hi!"
        "<|end_of_turn|>GPT4 Correct User: Bye<|end_of_turn|>GPT4 Correct Assistant: See you.<|end_of_turn|>",
        "<s>GPT4 Correct User: Hello<|end_of_turn|>GPT4 Correct Assistant:",
        bos="<s>",
    ),
    Published(
        "solar",
        "SOLAR 10.7B Instruct model card; the eos behind the last answer as it stops",
        PIECES,
        "</s>",
        "<s>### System:\nBe brief.\n\n### User:\nHello\n\n### Assistant:\nHi!\n\n### User:\nBye\n\n"
        "### Assistant:\nSee you.</s>",
        "<s>### User:\nHello\n\n### Assistant:\n",
        bos="<s>",
        unstopped=True,
    ),
    Published(
        "jamba",
        "Jamba 1.5 chat template",
        ("<|startoftext|>", "<|bom|>", "<|eom|>", "<|system|>", "<|user|>", "<|assistant|>"),
        "<|eom|>",
        "<|startoftext|><|bom|><|system|> Be brief.<|eom|><|bom|><|user|> Hello<|eom|>"
        "<|bom|><|assistant|> Hi!<|eom|><|bom|><|user|> Bye<|eom|><|bom|><|assistant|> See you.<|eom|>",
        "<|startoftext|><|bom|><|system|> <|eom|><|bom|><|user|> Hello<|eom|><|bom|><|assistant|>",
        bos="<|startoftext|>",
    ),
    Published(
        "seed_oss",
        "Seed-OSS chat template",
        ("<seed:bos>", "<seed:eos>"),
        "<seed:eos>",
        "<seed:bos>system\nBe brief.<seed:eos><seed:bos>user\nHello<seed:eos><seed:bos>assistant\nHi!"
        "<seed:eos><seed:bos>user\nBye<seed:eos><seed:bos>assistant\nSee you.<seed:eos>",
        "<seed:bos>user\nHello<seed:eos><seed:bos>assistant\n",
    ),
    Published(
        "granite",
        "Granite 3.0 model card",
        ("<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>"),
        "<|end_of_text|>",
        "<|start_of_role|>system<|end_of_role|>Be brief.<|end_of_text|>\n"
        "<|start_of_role|>user<|end_of_role|>Hello<|end_of_text|>\n"
        "<|start_of_role|>assistant<|end_of_role|>Hi!<|end_of_text|>\n"
        "<|start_of_role|>user<|end_of_role|>Bye<|end_of_text|>\n"
        "<|start_of_role|>assistant<|end_of_role|>See you.<|end_of_text|>\n",
        "<|start_of_role|>user<|end_of_role|>Hello<|end_of_text|>\n<|start_of_role|>assistant<|end_of_role|>",
    ),
    Published(
        "exaone",
        "EXAONE 3.5 tokenizer, and its example in the model card",
        ("[|system|]", "[|user|]", "[|assistant|]", "[|endofturn|]"),
        "[|endofturn|]",
        "[|system|]Be brief.[|endofturn|]\n[|user|]Hello\n[|assistant|]Hi![|endofturn|]\n[|user|]Bye\n"
        "[|assistant|]See you.[|endofturn|]\n",
        "[|system|][|endofturn|]\n[|user|]Hello\n[|assistant|]",
    ),
    Published(
        "olmo2",
        "OLMo-2-Instruct model card",
        ("<|endoftext|>",),
        "<|endoftext|>",
        "<|endoftext|><|system|>\nBe brief.\n<|user|>\nHello\n<|assistant|>\nHi!<|endoftext|>\n"
        "<|user|>\nBye\n"
        "<|assistant|>\nSee you.<|endoftext|>",
        "<|endoftext|><|user|>\nHello\n<|assistant|>\n",
        bos="<|endoftext|>",
    ),
    Published(
        "tulu",
        "Tulu 2 model card; the system turn as in Tulu 3",
        PIECES,
        "</s>",
        "<s><|system|>\nBe brief.\n<|user|>\nHello\n<|assistant|>\nHi!</s>\n<|user|>\nBye\n<|assistant|>\n"
        "See you.</s>",
        "<s><|user|>\nHello\n<|assistant|>\n",
        bos="<s>",
    ),
    Published(
        "smollm2",
        "SmolLM2 Instruct tokenizer",
        IM,
        "<|im_end|>",
        CHATML,
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        + ASK,
    ),
    Published(
        "lfm2",
        "LFM2 model card",
        ("<|startoftext|>", *IM),
        "<|im_end|>",
        "<|startoftext|>" + CHATML,
        "<|startoftext|>" + ASK,
        bos="<|startoftext|>",
    ),
    Published(
        "falcon_h1",
        "Falcon-H1 Instruct tokenizer",
        ("<|begin_of_text|>", "<|end_of_text|>", *IM),
        "<|im_end|>",
        "<|begin_of_text|>" + CHATML,
        "<|begin_of_text|>" + ASK,
        bos="<|begin_of_text|>",
        eos="<|end_of_text|>",
    ),
    Published(
        "kimi",
        "Kimi K2 chat template",
        ("<|im_system|>", "<|im_user|>", "<|im_assistant|>", "<|im_middle|>", "<|im_end|>"),
        "<|im_end|>",
        "<|im_system|>system<|im_middle|>Be brief.<|im_end|><|im_user|>user<|im_middle|>Hello<|im_end|>"
        "<|im_assistant|>assistant<|im_middle|>Hi!<|im_end|><|im_user|>user<|im_middle|>Bye<|im_end|>"
        "<|im_assistant|>assistant<|im_middle|>See you.<|im_end|>",
        "<|im_system|>system<|im_middle|>You are a helpful assistant<|im_end|>"
        "<|im_user|>user<|im_middle|>Hello<|im_end|><|im_assistant|>assistant<|im_middle|>",
    ),
    Published(
        "gpt_oss",
        "OpenAI harmony response format, without the line of the date",
        ("<|start|>", "<|message|>", "<|channel|>", "<|end|>", "<|return|>"),
        "<|return|>",
        f"{HARMONY}<|start|>developer<|message|># Instructions\n\nBe brief.\n\n<|end|>"
        "<|start|>user<|message|>Hello<|end|><|start|>assistant<|channel|>final<|message|>Hi!<|end|>"
        "<|start|>user<|message|>Bye<|end|><|start|>assistant<|channel|>final<|message|>See you.<|return|>",
        f"{HARMONY}<|start|>user<|message|>Hello<|end|><|start|>assistant",
    ),
)
