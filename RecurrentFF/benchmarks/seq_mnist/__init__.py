"""The Seq MNIST benchmark: a handwritten digit as the moves of a pen that draws it."""
