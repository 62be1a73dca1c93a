"""The question of the model: candidates, whether each fits, and which come first.

`rank_models` answers at once, `watch_models` as models are found; `ways_out` helps where one does not fit.
"""

from tui_tuner.guiding.models.choice import Choice, facts_of, find_choice
from tui_tuner.guiding.models.outs import WayOut, smaller_that_fits, smallest_card, ways_out
from tui_tuner.guiding.models.ranking import rank_models, watch_models

__all__ = [
    "Choice",
    "WayOut",
    "facts_of",
    "find_choice",
    "rank_models",
    "smaller_that_fits",
    "smallest_card",
    "watch_models",
    "ways_out",
]
