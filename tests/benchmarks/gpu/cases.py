"""What is measured: models of real shapes, methods, sizes of a step, and who does the same work."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

# The published config.json of Llama-3.1-8B and Llama-3.2-1B; `tiny` is for a dry run
SHAPES: dict[str, dict[str, Any]] = {
    "l8b": {
        "hidden_size": 4096,
        "num_hidden_layers": 32,
        "intermediate_size": 14336,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
        "tie_word_embeddings": False,
    },
    "l1b": {
        "hidden_size": 2048,
        "num_hidden_layers": 16,
        "intermediate_size": 8192,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
        "tie_word_embeddings": True,
    },
    "tiny": {
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "intermediate_size": 128,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 1200,
        "tie_word_embeddings": True,
    },
}
MEAN_TOKENS = 262  # of a chat, as its tokenizer counts them
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
OURS, LIVE, TRL, UNSLOTH, BARE = "ours", "ours, live pane", "TRL + Liger", "Unsloth", "bare loop"
PEERS = {TRL: ("trl", "liger_kernel"), UNSLOTH: ("unsloth",)}  # packages that each needs
LENGTH = 2048  # of a row, at most


@dataclass(frozen=True)
class Case:
    """One kind of work.

    Args:
        tokens: Of an optimizer step, about.
        checkpointing: Its degree, for a count of launches: programs choose it themselves.
    """

    model: str
    method: str
    quantization: str
    tokens: int
    checkpointing: bool | str = True

    @property
    def name(self) -> str:
        method = "qlora" if self.quantization != "none" else self.method
        return f"{self.model}-{method}-{self.tokens // 1000 or 1}k"

    @property
    def batch(self) -> int:
        """Chats of a step."""
        return max(2, round(self.tokens / MEAN_TOKENS))

    @property
    def packed(self) -> int:
        """Rows of `LENGTH` tokens that hold as many."""
        return max(1, round(self.tokens / LENGTH))


@dataclass(frozen=True)
class Steps:
    """Steps before the clock starts, with it, and under the profiler."""

    warm: int
    timed: int
    profiled: int

    @property
    def all(self) -> int:
        return self.warm + self.timed + self.profiled


@dataclass
class Stage:
    """What one process does. Seconds: `limit` ends it, and it is not begun with less than `least` left."""

    who: str
    case: Case
    steps: Steps
    limit: float
    least: float
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.case.name}: {self.who}"


def stages(tiny: bool) -> list[Stage]:
    """All of them, those that matter most first."""
    if tiny:
        few = Steps(2, 3, 1)
        lora = Case("tiny", "lora", "none", 1000)
        full = Case("tiny", "full", "none", 1000)
        found = [Stage(who, lora, few, 240, 5) for who in (OURS, TRL, UNSLOTH, LIVE, BARE)]
        return [*found, Stage(OURS, full, few, 240, 5), Stage(BARE, full, few, 240, 5)]
    small, large = Steps(5, 12, 3), Steps(3, 6, 2)
    order = [
        (("l8b", "lora", "none", 4000), (OURS, TRL, UNSLOTH)),
        (("l8b", "lora", "nf4", 4000), (OURS, UNSLOTH)),
        (("l8b", "lora", "none", 16000), (OURS, TRL)),
        (("l1b", "full", "none", 4000), (OURS, TRL)),
        (("l8b", "lora", "none", 4000), (LIVE, BARE)),
        (("l1b", "full", "none", 16000), (OURS, TRL)),
        (("l8b", "lora", "nf4", 16000), (OURS, UNSLOTH)),
        (("l1b", "full", "none", 4000), (BARE,)),
        (("l8b", "lora", "nf4", 4000), (TRL,)),
    ]
    found = []
    for values, programs in order:
        case = Case(*values)
        steps = small if case.tokens < 10_000 else large
        limit, least = (75, 40) if case.model == "l8b" else (50, 25)
        found += [Stage(who, case, steps, limit, least) for who in programs]
    return found
