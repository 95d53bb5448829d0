"""A handwritten digit that moves over a larger canvas and bounces off its walls."""
