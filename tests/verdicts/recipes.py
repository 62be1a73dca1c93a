"""How each recorded run was made (`recipes.yaml`), the verdict that follows from it, and its half."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.verdicts.rows import Rows

RECIPES_FILE = Path(__file__).parent / "recipes.yaml"
TUNING, REPORTING = "tuning", "reporting"

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


def read_groups() -> dict[str, list[Recipe]]:
    """The recipes of the file by the verdict that follows from them."""
    found: dict[str, list[dict[str, Any]]] = yaml.safe_load(RECIPES_FILE.read_text(encoding="utf-8"))
    return {expected: [_read(expected, entry) for entry in group] for expected, group in found.items()}


def _read(expected: str, entry: dict[str, Any]) -> Recipe:
    how = entry["how"]
    settings = [LIKE[shared] for shared in (*entry.get("like", ()), how.get("task", "sft"))]
    rows, values, also = Rows(**entry["rows"]), entry.get("values", {}), entry.get("also", ())
    return recipe_of(expected, entry["name"], rows, *settings, values, also=also, **how)


def half_in(group: list[Recipe], place: int) -> str:
    """The half of a recipe: of two neighbours in a group, a hash of the first one's name tells it."""
    first = group[place - place % 2].name
    turned = hashlib.sha256(first.encode()).digest()[0] % 2
    return TUNING if place % 2 == turned else REPORTING


def in_turn(groups: Mapping[str, list[Recipe]]) -> tuple[Recipe, ...]:
    """All recipes, the tuning half first, one of each group after another: so each kind is there early."""
    longest = max(map(len, groups.values()))
    found = [group[turn] for turn in range(longest) for group in groups.values() if turn < len(group)]
    return tuple(sorted(found, key=lambda one: half_of(one.name) != TUNING))


GROUPS = read_groups()
_HALVES = {one.name: half_in(group, place) for group in GROUPS.values() for place, one in enumerate(group)}


def half_of(name: str) -> str:
    """`TUNING` or `REPORTING`: rules are made by the first, and what they are worth is told by the second."""
    return _HALVES[name]


RECIPES = in_turn(GROUPS)
