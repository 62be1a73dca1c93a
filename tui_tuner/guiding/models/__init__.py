"""The guide's model question: candidates, whether each fits, and their ranking.

`rank_models` returns one list, `watch_models` yields growing lists; `list_ways_out` helps if a model does not
fit.
"""

from tui_tuner.guiding.models.choice import Choice, find_choice, find_data_facts
from tui_tuner.guiding.models.ranking import rank_models, watch_models
from tui_tuner.guiding.models.ways_out import WayOut, find_smaller_model, find_smallest_card, list_ways_out

__all__ = [
    "Choice",
    "WayOut",
    "find_choice",
    "find_data_facts",
    "find_smaller_model",
    "find_smallest_card",
    "list_ways_out",
    "rank_models",
    "watch_models",
]
