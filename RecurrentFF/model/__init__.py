"""The Recurrent Forward-Forward network: pure functions on tensors and thin modules around them.

Read in this order: `dynamics` (one timestep), `objectives` (what a layer wants), `learning` (how it gets there),
`negatives` (wrong labels), then `topology`, `initialisation`, `network` and `learner`, which put them together.
Nothing here reads a file, prints, or knows a data set.
"""
