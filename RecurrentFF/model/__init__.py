"""The Recurrent Forward-Forward network: pure functions on tensors, and thin modules around them.

Start with `reference`: the whole algorithm with autograd, slow and plain. Then, in this order: `functional` (the
equations), `objectives`, `connections`, `layers` (a block that learns from what it alone knows), `network` (blocks, state
and prediction) and `learner` (a training batch). `negatives`, `readout`, `regularizers` and `optimizers` are its parts.
`fused` exists only for speed. Nothing here reads a file, prints, or depends on a data set.
"""
