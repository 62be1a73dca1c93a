"""Notes of a laboratory, in the words of its trade: the text of the demo for new tokens.

    Take the plasmid from the freezer and thaw it on ice. Add the polymerase to the buffer, then spin the
    lysate. The supernatant holds the plasmid; the pellet holds the chromatin.

No tokenizer that was made for other texts has these words whole, and the small model of this package has
none of them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from tui_tuner.demo.demo_words import split_words

NOTES = 900
SEED = 20_261

_REAGENTS = split_words(
    """
    polymerase ligase nuclease helicase topoisomerase primase phosphatase kinase protease lysozyme
    agarose ethidium guanidine dithiothreitol mercaptoethanol acrylamide bromophenol ampicillin
    kanamycin chloramphenicol tetracycline"""
)
_SAMPLES = split_words(
    """
    plasmid chromatin lysate supernatant oligonucleotide amplicon transfectant fibroblast hepatocyte
    lymphocyte spheroplast mitochondria ribosome nucleosome bacteriophage inoculum homogenate eluate"""
)
_TOOLS = split_words(
    """
    centrifuge thermocycler sonicator spectrophotometer micropipette incubator electrophoresis"""
)
_STEPS = (
    "Take the {sample} from the freezer and thaw it on ice.",
    "Add the {reagent} to the buffer, then mix the {sample} gently.",
    "Spin the {sample} in the {tool} and keep the {other}.",
    "The {reagent} cuts the {sample} where the {other} begins.",
    "Leave the {sample} with the {reagent} for one hour.",
    "The {tool} shows how much {sample} is left beside the {other}.",
    "Without the {reagent} the {sample} stays as it is.",
    "Wash the {other} twice, and store the {sample} in the cold.",
)
_QUESTIONS = (
    ("What was added to the {sample}?", "The {reagent} was added to the {sample}."),
    ("Where was the {sample} spun?", "The {sample} was spun in the {tool}."),
)


def make_laboratory_notes() -> Iterator[dict[str, str]]:
    """Yield `NOTES` rows with the column text, the same on every machine."""
    chance = random.Random(SEED)
    for _note in range(NOTES):
        reagent, tool = chance.choice(_REAGENTS), chance.choice(_TOOLS)
        sample, other = chance.sample(_SAMPLES, 2)
        words = {"reagent": reagent, "tool": tool, "sample": sample, "other": other}
        lines = chance.sample(_STEPS, chance.randint(3, 5))
        question, answer = chance.choice(_QUESTIONS)
        yield {"text": " ".join([*lines, question, answer]).format(**words)}
