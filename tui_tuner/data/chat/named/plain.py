"""Define the formats that put a text before and after each turn, as their authors publish them.

They have no tools: a row with tools is refused. BOS is where the published text has one.
"""

from __future__ import annotations

from tui_tuner.data.chat.named.sides import ANY_BOS, BOS, END, EOS, Pieces, SideFormat


def _make_chatml(preamble: str | None = None, start: Pieces = ()) -> SideFormat:
    return SideFormat(
        start=start,
        preamble=preamble,
        system=("<|im_start|>system\n", "<|im_end|>\n"),
        user=("<|im_start|>user\n", "<|im_end|>\n"),
        answer="<|im_start|>assistant\n",
        after=(END, "\n"),
        ends=("<|im_end|>",),
        tokens=("<|im_start|>", "<|im_end|>"),
    )


def _make_tulu(start: Pieces) -> SideFormat:
    return SideFormat(
        start=start,
        system=("<|system|>\n", "\n"),
        user=("<|user|>\n", "\n"),
        answer="<|assistant|>\n",
        after=(END, "\n"),
        last=(END,),
    )


def _make_phi(line: str, last: Pieces | None = None) -> SideFormat:
    return SideFormat(
        start=(),
        system=(f"<|system|>{line}", f"<|end|>{line}"),
        user=(f"<|user|>{line}", f"<|end|>{line}"),
        answer=f"<|assistant|>{line}",
        after=(END, line),
        last=last,
        ends=("<|end|>",),
        tokens=("<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
    )


PLAIN: dict[str, SideFormat] = {
    "alpaca": SideFormat(
        preamble="Below is an instruction that describes a task. "
        "Write a response that appropriately completes the request.",
        system=("", "\n\n"),
        user=("### Instruction:\n", "\n\n"),
        answer="### Response:\n",
        after=(END, "\n\n"),
        last=(END,),
    ),
    "vicuna": SideFormat(
        preamble="A chat between a curious user and an artificial intelligence assistant. "
        "The assistant gives helpful, detailed, and polite answers to the user's questions.",
        system=("", " "),
        user=("USER: ", " "),
        answer="ASSISTANT: ",
        prompt="ASSISTANT:",
    ),
    "zephyr": SideFormat(
        start=(),
        system=("<|system|>\n", (END, "\n")),
        user=("<|user|>\n", (END, "\n")),
        answer="<|assistant|>\n",
        after=(END, "\n"),
    ),
    "llama2": SideFormat(
        start=(),
        fold=("<<SYS>>\n", "\n<</SYS>>\n\n"),
        user=((BOS, "[INST] "), " [/INST]"),
        answer=" ",
        prompt="",
        after=(" ", END),
        trim=True,
    ),
    "llama3": SideFormat(
        system=("<|start_header_id|>system<|end_header_id|>\n\n", "<|eot_id|>"),
        user=("<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>"),
        answer="<|start_header_id|>assistant<|end_header_id|>\n\n",
        trim=True,
        ends=("<|eot_id|>",),
        tokens=("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    ),
    "llama4": SideFormat(
        system=("<|header_start|>system<|header_end|>\n\n", "<|eot|>"),
        user=("<|header_start|>user<|header_end|>\n\n", "<|eot|>"),
        answer="<|header_start|>assistant<|header_end|>\n\n",
        ends=("<|eot|>",),
        tokens=("<|header_start|>", "<|header_end|>", "<|eot|>"),
    ),
    "mistral_v1": SideFormat(
        fold=("", "\n\n"), user=(" [INST] ", " [/INST]"), answer=" ", prompt="", after=(END,)
    ),
    "gemma": SideFormat(
        fold=("", "\n\n"),
        user=("<start_of_turn>user\n", "<end_of_turn>\n"),
        answer="<start_of_turn>model\n",
        after=(END, "\n"),
        trim=True,
        trim_folded=True,
        ends=("<end_of_turn>",),
        tokens=("<start_of_turn>", "<end_of_turn>"),
    ),
    "gemma4": SideFormat(
        system=("<|turn>system\n", "<turn|>\n"),
        user=("<|turn>user\n", "<turn|>\n"),
        answer="<|turn>model\n",
        after=(END, "\n"),
        trim=True,
        ends=("<turn|>",),
        tokens=("<|turn>", "<turn|>"),
    ),
    "qwen2": _make_chatml("You are a helpful assistant."),
    "yi": _make_chatml(),
    "internlm2": _make_chatml(start=(BOS,)),
    "smollm2": _make_chatml("You are a helpful AI assistant named SmolLM, trained by Hugging Face"),
    "lfm2": _make_chatml(start=(BOS,)),
    "falcon_h1": _make_chatml(start=(BOS,)),
    "deepseek": SideFormat(
        system=("", "\n\n"),
        user=("User: ", "\n\n"),
        answer="Assistant: ",
        prompt="Assistant:",
    ),
    "phi3": _make_phi("\n", (END, "\n", EOS)),
    "phi4_mini": _make_phi(""),
    "phi4": SideFormat(
        start=(),
        system=("<|im_start|>system<|im_sep|>", "<|im_end|>"),
        user=("<|im_start|>user<|im_sep|>", "<|im_end|>"),
        answer="<|im_start|>assistant<|im_sep|>",
        ends=("<|im_end|>",),
        tokens=("<|im_start|>", "<|im_sep|>", "<|im_end|>"),
    ),
    # In these three an answer is followed directly by the next question; only the last one has an end token.
    "chatglm2": SideFormat(
        start=(),
        front=("[gMASK]", "sop"),
        system=("", "\n\n"),
        rounds="[Round {}]\n\n",
        user=("问：", "\n\n"),
        answer="答：",
        after="\n\n",
        last=(END,),
        tokens=("[gMASK]", "sop"),
    ),
    "chatglm3": SideFormat(
        start=(),
        front=("[gMASK]", "sop"),
        system=("<|system|>\n ", ""),
        user=("<|user|>\n ", ""),
        answer="<|assistant|>\n ",
        prompt="<|assistant|>",
        after=(),
        last=(END,),
        ends=("<|user|>",),
        tokens=("[gMASK]", "sop", "<|system|>", "<|user|>", "<|assistant|>"),
    ),
    "baichuan2": SideFormat(
        start=(),
        user=("<reserved_106>", ""),
        answer="<reserved_107>",
        after=(),
        last=(END,),
        tokens=("<reserved_106>", "<reserved_107>"),
    ),
    "cohere": SideFormat(
        system=("<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>", "<|END_OF_TURN_TOKEN|>"),
        user=("<|START_OF_TURN_TOKEN|><|USER_TOKEN|>", "<|END_OF_TURN_TOKEN|>"),
        answer="<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>",
        trim=True,
        ends=("<|END_OF_TURN_TOKEN|>",),
        tokens=(
            "<|START_OF_TURN_TOKEN|>",
            "<|SYSTEM_TOKEN|>",
            "<|USER_TOKEN|>",
            "<|CHATBOT_TOKEN|>",
            "<|END_OF_TURN_TOKEN|>",
        ),
    ),
    "openchat": SideFormat(
        system=("", "<|end_of_turn|>"),
        user=("GPT4 Correct User: ", "<|end_of_turn|>"),
        answer="GPT4 Correct Assistant: ",
        prompt="GPT4 Correct Assistant:",
        ends=("<|end_of_turn|>",),
        tokens=("<|end_of_turn|>",),
    ),
    "solar": SideFormat(
        system=("### System:\n", "\n\n"),
        user=("### User:\n", "\n\n"),
        answer="### Assistant:\n",
        after="\n\n",
        last=(END,),
    ),
    "jamba": SideFormat(
        preamble="",
        system=("<|bom|><|system|> ", "<|eom|>"),
        user=("<|bom|><|user|> ", "<|eom|>"),
        answer="<|bom|><|assistant|> ",
        prompt="<|bom|><|assistant|>",
        ends=("<|eom|>",),
        tokens=("<|bom|>", "<|system|>", "<|user|>", "<|assistant|>", "<|eom|>"),
    ),
    "seed_oss": SideFormat(
        start=(),
        system=("<seed:bos>system\n", "<seed:eos>"),
        user=("<seed:bos>user\n", "<seed:eos>"),
        answer="<seed:bos>assistant\n",
        ends=("<seed:eos>",),
        tokens=("<seed:bos>", "<seed:eos>"),
    ),
    "granite": SideFormat(
        start=(),
        system=("<|start_of_role|>system<|end_of_role|>", "<|end_of_text|>\n"),
        user=("<|start_of_role|>user<|end_of_role|>", "<|end_of_text|>\n"),
        answer="<|start_of_role|>assistant<|end_of_role|>",
        after=(END, "\n"),
        ends=("<|end_of_text|>",),
        tokens=("<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>"),
    ),
    "exaone": SideFormat(
        start=(),
        preamble="",
        system=("[|system|]", "[|endofturn|]\n"),
        user=("[|user|]", "\n"),
        answer="[|assistant|]",
        after=(END, "\n"),
        ends=("[|endofturn|]",),
        tokens=("[|system|]", "[|user|]", "[|assistant|]", "[|endofturn|]"),
    ),
    "olmo2": _make_tulu((ANY_BOS,)),
    "tulu": _make_tulu((BOS,)),
    "kimi": SideFormat(
        start=(),
        preamble="You are a helpful assistant",
        system=("<|im_system|>system<|im_middle|>", "<|im_end|>"),
        user=("<|im_user|>user<|im_middle|>", "<|im_end|>"),
        answer="<|im_assistant|>assistant<|im_middle|>",
        ends=("<|im_end|>",),
        tokens=("<|im_system|>", "<|im_user|>", "<|im_assistant|>", "<|im_middle|>", "<|im_end|>"),
    ),
}
