"""The fine-tuning task of the demo: a list of attributes becomes an advertising sentence.

    type: coat | colour: red | material: wool
    Meet our new coat: it shines in red and it is made of fine wool. Order it now!

The held-out rows use only values that no training row uses, so an answer that mentions them shows that the
model learned to copy from the prompt.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from tui_tuner.demo.demo_words import ATTRIBUTES, list_held_out_values, list_trained_values

ROWS = 1600
HELD_OUT_ROWS = 160
SEED = 20_260

_OPENINGS = (
    "Meet our new {}",
    "Here is your next {}",
    "Say hello to the {}",
    "This is the {} of the season",
    "You will love this {}",
    "Treat yourself to a wonderful {}",
)

_CLAUSES = {
    "colour": "it shines in {}",
    "material": "it is made of fine {}",
    "pattern": "it shows off its {} look",
    "style": "it brings {} charm",
    "detail": "it is finished with neat {}",
    "occasion": "it was born for {}",
    "quality": "it feels truly {}",
    "audience": "it delights all {}",
}

_CLOSINGS = ("Get yours today!", "Order it now!", "Only while stocks last!", "Come and see it!")


def make_advertising_rows() -> Iterator[dict[str, str]]:
    """Yield `ROWS` rows with the columns prompt and response, the same on every machine."""
    yield from _make_rows(ROWS, random.Random(SEED), list_trained_values)


def make_held_out_adverts() -> Iterator[dict[str, str]]:
    """Yield `HELD_OUT_ROWS` rows in which every value is one that no training row uses."""
    yield from _make_rows(HELD_OUT_ROWS, random.Random(SEED + 1), list_held_out_values)


def _make_rows(
    count: int, chance: random.Random, values: Callable[[str], tuple[str, ...]]
) -> Iterator[dict[str, str]]:
    """Yield `count` rows with different prompts: a type and 3 to 5 other attributes in any order."""
    taken: set[str] = set()
    others = [key for key in ATTRIBUTES if key != "type"]
    while count:
        keys = ["type", *chance.sample(others, chance.randint(3, 5))]
        chosen = [(key, chance.choice(values(key))) for key in keys]
        # The answer keeps this order, so that copying is all a model must learn.
        prompt = " | ".join(f"{key}: {value}" for key, value in chosen)
        if prompt in taken:
            continue
        taken.add(prompt)
        yield {"prompt": prompt, "response": _write_advertisement(chosen, chance)}
        count -= 1


def _write_advertisement(chosen: list[tuple[str, str]], chance: random.Random) -> str:
    opening = chance.choice(_OPENINGS).format(chosen[0][1])
    clauses = [_CLAUSES[key].format(value) for key, value in chosen[1:]]
    body = ", ".join(clauses[:-1]) + " and " + clauses[-1]
    return f"{opening}: {body}. {chance.choice(_CLOSINGS)}"
