"""Every threshold of the verdicts, each with its reason; none depends on the task.

A share is a share of the loss at the start or of the gain since then, so that the nats of a model that
writes and the squared errors of one that predicts numbers are judged alike. "In ratios" means the logarithm
of losses: a model new to its rows falls from 10 to 2 in a few steps, and what matters happens below 2.
"""

from __future__ import annotations

# Resamples of the held-out rows: enough for a confidence to about 3 %, in some tens of milliseconds
DRAWS = 200
# Standard errors: 99 %, because several questions are asked of one curve; 95 % for intervals that are shown
SURE = 2.576
LIKELY = 1.96

# Distinct held-out rows: with fewer, all of them improve by chance in 1 of 100 runs or more (2 / 2 ** n)
FEWEST_ROWS = 8
# With fewer steps, neither a level nor a pace can be estimated
FEWEST_STEPS = 5
# Points of a curve that has two halves
FEWEST_POINTS = 3
# Steps from which the training loss alone can show that nothing was learned
FEWEST_ALONE = 30
# Share of held-out rows that are trained on, beyond what repeated texts make likely: from half on, most of
# their loss is about trained rows and not about new ones
MOST_COPIES = 0.5

# Share of the start that is next to nothing: below it, ratios of losses mean nothing
NOTHING = 0.01

# ---- unstable

# Share of the start by which a level is above it: batches differ by less
ABOVE_START = 0.25
# The same for a rise to twice the start, which no good ending excuses
FAR_ABOVE = 1.0
# Share of the start by which the end is above it
ENDS_ABOVE = 0.1
# Share of the gain in training that is lost again: overfitting does not raise the training loss
LOST_AGAIN = 0.5
# Standard errors of a level: one of fifty levels is that far off in one of ten thousand runs
CLEARLY = 5.0
# Share of the start that is gained in the end after a rise in the first steps: then it was just a bad start
RECOVERED = 0.7
# Share of the steps in which a learning rate usually rises to its peak
EARLY = 0.1
# Share of the steps whose loss is NaN or infinite: a single skipped step does not decide a verdict
BAD_NUMBERS = 0.01
# Robust standard deviations of a single step, as for the warnings during a run; and the share of the loss
JUMP = 8.0
JUMP_SHARE = 0.5
# Jumps that were still there at the next step, spread over half of the run: they keep happening
JUMPS = 4
# Steps far above the start that hard batches no longer explain, and the share of the start below which a run
# has recovered from them
THROWN = 2
MADE_GOOD = 0.35
# Share of the start that the second half of the steps still gains: the run is recovering
MAKES_GOOD = 0.2
# Multiple of the highest usual rate: beyond it even small models diverge, and a single such step is enough
WILD_RATE = 40.0
# Times that held-out rows became clearly worse and better again, and by which share of the start
TURNS = 2
TURNS_BY = 0.03
# Sum of all rises as a multiple of the range of the levels: a curve that falls hardly rises at all
WANDERS = 1.5

# ---- nothing learnt, memorised, overfit

# Share of the start: a smaller gain is useless, however certain it is
LEAST_GAIN = 0.005
# Share of the start, half the width of an interval: a narrower one around 0 shows that nothing was gained
WIDE = 0.05
# Share of the start by which training fell without a gain on held-out rows: single rows were learned; and by
# which most of them were
FELL = 0.3
FELL_FAR = 0.5
# Share of the start that is left of the training loss: the rows are memorised
BY_HEART = 0.05
# Share of the gain in training, in ratios, that held-out rows had too: below it, "little or nothing"
LITTLE = 0.5
# Share of the gain on held-out rows, in ratios, that is lost again: from LOST on it is overfitting, however
# small the gain was; MUCH_WORSE is too much to be excused by a metric that is still at its best
LOST = 0.25
MUCH_WORSE = 0.5
# Share of the best loss by which the last one is worse: the noise of the last steps is less
WORSE = 0.03
# Share of the possible gain above chance in the deciding metric: a model that keeps it is not useless
KEPT = 0.5

# ---- pace

# Growth in the share of words predicted correctly: with less, a loss that fell far fell because the model
# learned how frequent words are, not which one comes next
NAMES_MORE = 0.02
# Share of the gain so far that as many steps again would add: worth running as long again
MATTERS = 0.05
# Share of the gain, in ratios, that everything since a step added: no more than this is a plateau
STANDS = 0.03
# Share of the start that was gained: below it, the gain is small
SMALL = 0.25
# The same after some steps, if the learning rate is known to be far too low
SMALL_AT_LOW_RATE = 0.5
# Share of the gain that as many steps again would add: above it, a curve has hardly begun to bend
HARDLY_BEGUN = 0.7
# Steps after which a model that still gains at its first pace has too low a learning rate
MANY_STEPS = 100
# The same, if the rate or the method is known to be the reason
SOME_STEPS = 50
# Share of the usual rate: below it the rate is the reason, and not the number of steps
LOW_RATE = 0.34
