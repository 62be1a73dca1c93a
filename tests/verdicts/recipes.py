"""How each recorded run was made, the verdict that follows from it, and its half: one file each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.verdicts.rows import Rows

TUNING, REPORTING = "tuning", "reporting"
FILES = {
    TUNING: Path(__file__).parent / "recipes.yaml",
    REPORTING: Path(__file__).parent / "recipes_reporting.yaml",
}

# Verdicts that are wrong the other way round: whoever follows them makes it worse, or takes a useless model
# for a good one, or throws a good one away.
OPPOSITES: dict[str, frozenset[str]] = {
    "good": frozenset({"nothing_learnt", "unstable", "memorised"}),
    "not_converged": frozenset({"overfit", "memorised", "plateau", "unstable"}),
    "underfit": frozenset({"overfit", "memorised", "unstable", "good"}),
    "plateau": frozenset({"not_converged", "underfit", "nothing_learnt", "unstable"}),
    "overfit": frozenset({"underfit", "not_converged", "nothing_learnt"}),
    "memorised": frozenset({"underfit", "not_converged", "good", "plateau"}),
    "unstable": frozenset({"good", "underfit", "not_converged", "overfit"}),
    "nothing_learnt": frozenset({"good", "overfit", "plateau"}),
    "unclear": frozenset({"good"}),
}

# Settings that many recipes share
LIKE: dict[str, dict[str, Any]] = {
    "lora": {"method.kind": "lora", "method.rank": 16, "method.alpha": 32},
    "full": {"method.kind": "full"},
    "bert": {"model.name": "tiny-bert", "method.kind": "full", "data.max_length": 96},
    "distil": {"model.name": "tiny-distilbert", "method.kind": "full", "data.max_length": 96},
    # A Llama of random weights
    "scratch": {
        "model.architecture": {
            "model_type": "llama",
            "hidden_size": 64,
            "intermediate_size": 192,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
            "max_position_embeddings": 512,
            "tie_word_embeddings": True,
            "initializer_range": 0.12,
        },
        "model.tokenizer": "demo",
        "method.kind": "full",
    },
    # A wider one of three layers, and a Qwen that is narrow and deep
    "wide scratch": {
        "model.architecture": {
            "model_type": "llama",
            "hidden_size": 96,
            "intermediate_size": 256,
            "num_hidden_layers": 3,
            "num_attention_heads": 6,
            "num_key_value_heads": 2,
            "max_position_embeddings": 256,
            "tie_word_embeddings": True,
            "initializer_range": 0.1,
        },
        "model.tokenizer": "demo",
        "method.kind": "full",
    },
    "deep scratch": {
        "model.architecture": {
            "model_type": "qwen2",
            "hidden_size": 48,
            "intermediate_size": 128,
            "num_hidden_layers": 5,
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
            "max_position_embeddings": 256,
            "tie_word_embeddings": False,
            "initializer_range": 0.1,
        },
        "model.tokenizer": "demo",
        "method.kind": "full",
    },
    # A model that knows English, from a folder that RECORDED_MODELS names
    "smol": {
        "model.name": "SmolLM2-135M",
        "method.kind": "lora",
        "method.rank": 4,
        "method.alpha": 8,
        "data.max_length": 64,
    },
    # By task
    "sft": {},
    "pretraining": {},
    "classification": {},
    "token_classification": {"data.stride": 32},
    "question_answering": {"data.max_length": 160, "data.stride": 32},  # longer than the longest
}


@dataclass(frozen=True)
class Recipe:
    """How a run was made.

    Args:
        name: Of its journal.
        expected: The verdict that follows.
        rows: What it learnt from.
        values: Where its config differs from what all share (`make.COMMON`), by dotted names.
        also: Verdicts that are right as well, where how it was made leaves two words open.
    """

    name: str
    expected: str
    rows: Rows
    values: Mapping[str, Any] = field(default_factory=dict)
    task: str = "sft"
    also: frozenset[str] = frozenset()

    @property
    def key(self) -> str:
        """A hash of how it was made, which its journal has, too."""
        made = [self.task, asdict(self.rows), dict(self.values)]
        return hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()[:12]

    def is_right(self, verdict: str) -> bool:
        """Whether a verdict is the expected one, or one of those that are right as well."""
        return verdict == self.expected or verdict in self.also

    def is_opposite(self, verdict: str) -> bool:
        """Whether a verdict is wrong the other way round."""
        return not self.is_right(verdict) and verdict in OPPOSITES[self.expected]


def recipe_of(
    expected: str,
    name: str,
    rows: Rows,
    *settings: Mapping[str, Any],
    rate: float,
    epochs: float | None = None,
    steps: int | None = None,
    schedule: str = "cosine",
    batch: int = 8,
    every: float | None = 0.1,
    seed: int = 42,
    task: str = "sft",
    also: Iterable[str] = (),
) -> Recipe:
    """A recipe from few words."""
    settled: dict[str, Any] = {}
    for shared in settings:
        settled |= shared
    settled |= {
        "training.learning_rate": float(rate),
        "training.schedule": schedule,
        "training.batch_size": batch,
        "training.micro_batch": batch,
        "training.seed": seed,
        "evaluation.every": every,
    }
    if epochs is not None:
        settled["training.epochs"] = epochs
    if steps is not None:
        settled |= {"training.max_steps": steps, "training.epochs": 1000.0}
    return Recipe(name, expected, rows, settled, task, frozenset(also))


def read_groups(half: str) -> dict[str, list[Recipe]]:
    """The recipes of a half by the verdict that follows from them."""
    found: dict[str, list[dict[str, Any]]] = yaml.safe_load(FILES[half].read_text(encoding="utf-8"))
    return {expected: [_read(expected, entry) for entry in group] for expected, group in found.items()}


def _read(expected: str, entry: dict[str, Any]) -> Recipe:
    how = entry["how"]
    settings = [LIKE[shared] for shared in (*entry.get("like", ()), how.get("task", "sft"))]
    rows, values, also = Rows(**entry["rows"]), entry.get("values", {}), entry.get("also", ())
    return recipe_of(expected, entry["name"], rows, *settings, values, also=also, **how)


def in_turn(groups: Mapping[str, list[Recipe]]) -> list[Recipe]:
    """All recipes of a half, one of each group after another: so each kind is there early."""
    longest = max(map(len, groups.values()))
    return [group[turn] for turn in range(longest) for group in groups.values() if turn < len(group)]


HALVES = {half: in_turn(read_groups(half)) for half in FILES}
RECIPES = tuple(recipe for half in HALVES.values() for recipe in half)
_HALF_OF = {recipe.name: half for half, recipes in HALVES.items() for recipe in recipes}


def half_of(name: str) -> str:
    """`TUNING` or `REPORTING`: rules are made by the first, and what they are worth is told by the second."""
    return _HALF_OF[name]
