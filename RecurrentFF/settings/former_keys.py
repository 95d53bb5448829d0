"""The keys of former configurations, and what they are called now. Module `legacy` translates by these tables."""

from __future__ import annotations

from typing import Any

Tree = dict[str, Any]

FORMER_SECTIONS = ("model", "data_config")
"""The sections that only former configurations have."""

MOVED = {
    "model.hidden_sizes": "network.hidden_sizes",
    "model.residual_connections": "network.residual_connections",
    "model.ff_activation": "network.activation",
    "model.straight_through": "network.straight_through",
    "model.damping_factor": "network.damping_factor",
    "model.epsilon": "network.epsilon",
    "model.badness": "network.badness",
    "model.dropout": "network.dropout",
    "model.activity_dropout": "network.activity_dropout",
    "model.input_dropout": "network.input_dropout",
    "model.adversarial_noise": "network.adversarial_noise",
    "model.hard_example_fraction": "network.hard_example_fraction",
    "model.hard_share": "network.hard_example_fraction",
    "model.peer_normalization": "network.peer_normalization",
    "model.peer_normalisation": "network.peer_normalization",
    "model.prelabel_timesteps": "network.prelabel_timesteps",
    "model.prediction_window": "network.prediction_window",
    "model.prediction_layers": "network.prediction_layers",
    "model.epochs": "training.epochs",
    "model.weight_averaging": "training.weight_averaging",
    "model.should_log_metrics": "tracking.wandb",
    "data_config.data_size": "network.input_size",
    "data_config.num_classes": "network.num_classes",
    "data_config.iterations": "network.label_timesteps",
    "data_config.train_batch_size": "training.batch_size",
    "data_config.test_batch_size": "training.prediction_batch_size",
    "data_config.train_samples": "data.train_samples",
    "data_config.validation_samples": "data.validation_samples",
    "data_config.test_samples": "data.test_samples",
    "data_config.data_dir": "data.data_dir",
    "data_config.fresh_velocities": "data.fresh_velocities",
    "data_config.shift": "data.augmentation.translate",
    "data_config.rotation": "data.augmentation.rotation",
    "data_config.scaling": "data.augmentation.scale",
    "data_config.bending": "data.augmentation.elastic",
    "data_config.cutout": "data.augmentation.cutout",
    "data_config.deskew": "transform.deskew",
    "data_config.size_normalization": "transform.size_normalization",
    "data_config.size_normalisation": "transform.size_normalization",
    "data_config.moves_per_timestep": "transform.moves_per_timestep",
    "data_config.delay_line": "transform.delay_line",
    "data_config.repeat_strokes": "transform.repeat",
}
"""Keys that have another name or section now, and the same values."""

GROUPS = {
    "objective": ("objective", "loss_threshold", "pairwise_alpha"),
    "optimizer": ("ff_optimizer", "ff_rmsprop", "ff_adam", "ff_adadelta"),
    "negatives": (
        "should_replace_neg_data", "negatives_from", "negative_temperature", "negatives",
        "classifier_optimizer", "classifier_rmsprop", "classifier_adam", "classifier_adadelta",
    ),
    "schedule": ("lr_schedule", "lr_step_size", "lr_gamma", "lr_warmup_epochs"),
    "connections": ("convolution", "receptive_field", "lateral_field"),
}  # fmt: skip
"""Keys of [model] that together describe one component now."""

OTHERS = ("model.should_load_weights", "model.skip_profiling", "model.interconnect_density", "data_config.dataset",
          "data_config.edge_directions", "data_config.edge_places")  # fmt: skip
"""Keys that are translated one by one, in `_others` and `_data`."""

DATASETS = {"mnist": "mnist", "fashion_mnist": "fashion_mnist", "moving mnist": "moving_mnist", "seq mnist": "seq_mnist"}
"""The former names of data sets, in lower case, and the present ones."""

BENCHMARK_KEYS: dict[str, Tree] = {
    "mnist": {"shift": 0, "rotation": 0.0, "scaling": 0.0, "bending": 0.0, "cutout": 0, "deskew": False,
              "size_normalization": 0.0, "size_normalisation": 0.0, "edge_directions": 0, "edge_places": 7},
    "moving_mnist": {"fresh_velocities": True},
    "seq_mnist": {"moves_per_timestep": 4, "delay_line": 32, "repeat_strokes": False},
}  # fmt: skip
"""The keys of [data_config] that only one benchmark used, with their defaults."""

OPTIMIZERS: dict[str, Tree] = {
    "rmsprop": {"learning_rate": 5e-5, "momentum": 0.0},
    "adam": {"learning_rate": 1e-3, "weight_decay": 0.0},
    "adadelta": {"learning_rate": 1.0},
}
"""The former optimizers, with the defaults of their options."""


def former_path(key: str) -> str | None:
    """The former path of a key by its name alone, as in `from_arguments(ff_optimizer="adam")`; None if there was none."""
    paths = [*MOVED, *OTHERS, *(f"model.{name}" for names in GROUPS.values() for name in names)]
    return next((path for path in paths if path.partition(".")[2] == key), None)


def known_paths() -> list[str]:
    """The paths of all former keys of [model] and [data_config]."""
    return [*MOVED, *OTHERS, *(f"model.{name}" for keys in GROUPS.values() for name in keys)]
