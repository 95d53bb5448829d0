"""The one training loop, and what goes with it: devices, checkpoints, metrics, pictures."""
