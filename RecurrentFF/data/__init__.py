"""Data sets and their preprocessing, as tensors on a device. Imports no network and no configuration."""
