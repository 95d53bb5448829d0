"""The gate of tensors that a user passes: `as_inputs` for network inputs, `as_labels` for class numbers."""
