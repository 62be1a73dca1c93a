"""Every threshold of the verdicts, each with its reason. None of them is a loss of a certain task.

What is called a share is one of the loss at the start, or of what was gained since, so that nats of a model
that writes and squares of one that tells numbers are judged alike. What is said to be in ratios is the
logarithm of losses: a model new to its rows falls from 10 to 2 in a few steps, and what matters is below 2.
"""

from __future__ import annotations

# Of held-out rows with replacement: a confidence to about 3 %, in some tens of milliseconds
DRAWS = 200
# Standard errors: 99 %, for several questions are asked of one curve; and 95 %, for intervals that are told
SURE = 2.576
LIKELY = 1.96

# Held-out rows that differ: of fewer, even all of them better is chance in 1 of 100 cases (2 / 2 ** n)
FEWEST_ROWS = 8
# Of fewer steps, neither a level nor a pace can be told
FEWEST_STEPS = 5
# Of a curve that has two halves
FEWEST_POINTS = 3
# Steps from which on losses in training alone show that nothing was learnt
FEWEST_ALONE = 30
# Share of held-out rows that are trained on, beyond what texts that come again and again make likely: most
# of them say what was trained, and nothing of new rows
MOST_COPIES = 0.5

# Share of the start that is next to nothing: below it ratios of losses say no more
NOTHING = 0.01

# ---- unstable

# Share of the start by which a level rises above it: batches differ by less
ABOVE_START = 0.25
# The same, that no end makes good: twice the start
FAR_ABOVE = 1.0
# Share of the start by which it ends above it
ENDS_ABOVE = 0.1
# Share of what was gained in training that is lost again: no overfitting makes training worse
LOST_AGAIN = 0.5
# Standard errors of a level: one of fifty levels is that far off in one of ten thousand runs
CLEARLY = 5.0
# Share of the start that is gained in the end, after a rise in the first steps: a bad start, and no more
RECOVERED = 0.7
# Share of the steps in which a rate usually rises to its peak
EARLY = 0.1
# Share of the steps without a number: a single one that was left out is no verdict
BAD_NUMBERS = 0.01
# Robust standard deviations of a single step, as the warnings during a run have it; and so much of the loss
JUMP = 8.0
JUMP_SHARE = 0.5
# So many that were still there at the next step, over half of the run: "again and again"
JUMPS = 4
# Steps far above the start that are no hard batch any more, and the share of the start below which a run
# has made good what they threw away
THROWN = 2
MADE_GOOD = 0.35
# Share of the start that the second half of the steps still gains: it is making good what was thrown away
MAKES_GOOD = 0.2
# Of the highest usual rate: beyond it even small models are thrown off, and a single such step will do
WILD_RATE = 40.0
# Times that held-out rows became clearly worse and better again, and by which share of the start
TURNS = 2
TURNS_BY = 0.03
# Times the range of all levels that they rise in sum: a curve that falls hardly rises at all
WANDERS = 1.5

# ---- nothing learnt, memorised, overfit

# Share of the start: less is of no use to anybody, however sure it is
LEAST_GAIN = 0.005
# Share of the start, half an interval: what is narrower and includes 0 shows that nothing came of it
WIDE = 0.05
# Share of the start that training fell by while held-out rows gained nothing: it learnt single rows; and so
# far that it is most of them
FELL = 0.3
FELL_FAR = 0.5
# Share of the start that is left in training: known by heart
BY_HEART = 0.05
# Of what training gained, in ratios, that held-out rows got: "little or nothing"
LITTLE = 0.5
# Of what held-out rows had gained, in ratios, that they lost again: from which on it is overfitting however
# little was gained; and too much to be excused by a metric that is still at its best
LOST = 0.25
MUCH_WORSE = 0.5
# Share of the best loss by which it is worse: less is what the last steps wobble
WORSE = 0.03
# Of what the deciding metric could gain above chance: whoever keeps that is not useless
KEPT = 0.5

# ---- pace

# Of all words that a model that writes names right, beside those before: with less, a loss that fell far fell
# for how often words come, and not for what comes next
NAMES_MORE = 0.02
# Of what was gained so far that as many steps again would add: worth as long a run again
MATTERS = 0.05
# Of what was gained, in ratios, that everything since a step added: nothing
STANDS = 0.03
# Share of the start that was gained: little, if it still goes on or has ended
SMALL = 0.25
# The same after some steps, where the rate is known to be far too low
SMALL_AT_LOW_RATE = 0.5
# Of what was gained that as many steps again would add, by which a curve has hardly begun to bend
HARDLY_BEGUN = 0.7
# After which a model that still gains at the pace it began with has a rate that is too low
MANY_STEPS = 100
# The same, where the rate or the method is known to be the reason
SOME_STEPS = 50
# Of the usual rate: below it the rate is to blame, and not the steps
LOW_RATE = 0.34
