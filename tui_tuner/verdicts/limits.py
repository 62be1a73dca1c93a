"""Every threshold of the verdicts, each with its reason. None of them is a loss of a certain task.

What is called a share is one of the loss at the start, or of what was gained since, so that nats of a model
that writes and squares of one that tells numbers are judged alike.
"""

from __future__ import annotations

DRAWS = 200  # of held-out rows with replacement: a confidence to about 3 %, in a few milliseconds
SURE = 2.576  # standard errors: 99 %, for several questions are asked of one curve
LIKELY = 1.96  # 95 %, for the intervals that are told

FEWEST_ROWS = (
    8  # held-out rows that differ: of fewer, even all of them better is chance in 1 of 100 (2 / 2 ** n)
)
FEWEST_STEPS = 5  # of less than that, no level and no noise can be told
FEWEST_ALONE = 30  # steps from which on losses in training alone show that nothing was learnt
MOST_COPIES = (
    0.1  # share of held-out rows that are trained on: beyond it they flatter as much as a good run gains
)

# unstable
ABOVE_START = 0.25  # share of the start by which a level rises above it: batches differ by less
ENDS_ABOVE = 0.1  # share of the start by which it ends above it
LOST_AGAIN = (
    0.5  # share of what was gained in training that is lost again: no overfitting makes training worse
)
CLEARLY = 5.0  # standard errors of a level: one of fifty levels is that far off in one of ten thousand runs
RECOVERED = (
    0.3  # share of the start that is gained in the end after a jump while the rate rose: a bad start, no more
)
EARLY = 0.1  # share of the steps that a rate usually takes to rise
BAD_NUMBERS = 0.01  # share of the steps without a number: a single one that was left out is no verdict
JUMP = 8.0  # robust standard deviations of a single step, as the warnings during a run have it
JUMP_SHARE = 0.5  # and so much of the usual loss
JUMPS = 4  # apart from each other, over half of the run: "again and again"
WANDERS = 1.5  # times the range of all levels that they rise in sum: a curve that falls hardly rises at all

# nothing learnt, memorised, overfit
LEAST_GAIN = 0.005  # share of the start: less is no use to anybody, however sure it is
WIDE = 0.05  # share of the start, half an interval: what is narrower and includes 0 shows that nothing came
FELL = (
    0.3  # share of the start that training fell by while held-out rows gained nothing: it learnt single rows
)
BY_HEART = 0.1  # share of the start that is left in training: known by heart
LITTLE = 0.25  # of what training gained, that held-out rows got: "little or nothing"
MUCH_WORSE = 0.5  # of what held-out rows had gained, that they lost again
WORSE = 0.1  # the same, from which on it is overfitting and not the noise of the last steps
KEPT = (
    0.5  # of what the deciding metric could gain above chance: what is by heart and keeps this is not useless
)

# pace
MATTERS = 0.15  # of what was gained so far, that as many steps again would add: worth as long a run again
STANDS = 0.03  # of what was gained, that the second half of the rate added: nothing
SMALL = 0.15  # share of the start that was gained: little, if it still goes on
MANY_STEPS = 100  # after which a model that still gains at the pace it began with has a rate that is too low
LOW_RATE = 0.34  # of the lower end of the usual rates: below it the rate is to blame, and not the steps
