"""The Moving MNIST benchmark: a handwritten digit moves over a larger canvas and bounces off its walls."""
