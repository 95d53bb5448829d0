"""Data sets as tensors on the device. Stands alone: knows neither the network nor the configuration."""
