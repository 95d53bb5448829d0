"""The training loop, with devices, checkpoints, metrics and plots."""
