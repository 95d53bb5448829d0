"""The Recurrent Forward-Forward network: pure functions on tensors, and thin modules around them.

Start with `reference`: the whole algorithm with autograd, slow and plain. Then read, in this order: `functional` (the
equations, with `activations` and `objectives`), `connections` and `convolutions`, `layers` (a block that learns from what
it alone knows), `state` and `network` (all blocks, and prediction), and `learner` (a training batch, with `negatives`,
`readout`, `regularizers` and `optimizers`). `assembly` makes the layers that a configuration describes, with
`initialization` and `receptive_fields`. `paths` and `fused` are the plain way to compute a timestep, and the fast one.
Nothing here reads a file, prints, or depends on a data set.
"""
