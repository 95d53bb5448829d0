"""Print docs/reference/former_configurations.md: python tools/former_configurations.py > docs/reference/former_configurations.md

The page lists the keys of former configurations, as `RecurrentFF.settings.legacy` translates them, with their present form.
"""

from __future__ import annotations

from RecurrentFF.settings.former_keys import GROUPS, MOVED, OTHERS

TOP = """# Keys of former configurations

<!-- Written by: python tools/former_configurations.py > docs/reference/former_configurations.md -->

Configurations of the original project, and of this one before it had components, have the sections `[model]` and
`[data_config]`. They are read unchanged: by `--config-file`, by `--set`, by `rff.build` and in checkpoints. The command
`rff config --former FILE` prints one in the present form.

A component is now one section with the key `name` and the options of that name. The keys that described it are gathered there.
"""

COMPONENTS = {
    "objective": {
        "objective": '`objective.name`; "sum" has `objective.objectives`, a list of tables',
        "loss_threshold": '`objective.theta`, of "threshold"',
        "pairwise_alpha": '`objective.alpha`, of "pairwise"',
    },
    "optimizer": {
        "ff_optimizer": "`optimizer.name`",
        "ff_rmsprop": '`optimizer.learning_rate`, `optimizer.momentum`, of "rmsprop"',
        "ff_adam": '`optimizer.learning_rate`, `optimizer.weight_decay`, of "adam"',
        "ff_adadelta": '`optimizer.learning_rate`, of "adadelta"',
    },
    "negatives": {
        "should_replace_neg_data": '`negatives.name`: "uniform" for false, "readout" or "badness" for true',
        "negatives_from": '`negatives.name`: "readout" for "classifier", or "badness"',
        "negative_temperature": '`negatives.temperature`, of "readout" and "badness"',
        "negatives": "`negatives.count`",
        "classifier_optimizer": '`negatives.optimizer.name`, of "readout"',
        "classifier_rmsprop": "`negatives.optimizer.learning_rate`, `negatives.optimizer.momentum`",
        "classifier_adam": "`negatives.optimizer.learning_rate`, `negatives.optimizer.weight_decay`",
        "classifier_adadelta": "`negatives.optimizer.learning_rate`",
    },
    "schedule": {
        "lr_schedule": "`schedule.name`",
        "lr_step_size": '`schedule.step_size`, of "step"',
        "lr_gamma": '`schedule.gamma`, of "step"',
        "lr_warmup_epochs": "`schedule.warmup_epochs`",
    },
    "connections": {
        "convolution": '`[[network.connections]]` with `name = "convolution"`, and the same options',
        "receptive_field": '`[[network.connections]]` with `name = "receptive_field"`, its `side`',
        "lateral_field": 'its `lateral`, of "receptive_field"',
    },
}
"""The present form of the keys in `GROUPS`, in the same order."""

SINGLE = {
    "model.should_load_weights": "`training.weights`: set it, or leave it out",
    "model.skip_profiling": "`tracking.profile`, the opposite",
    "model.interconnect_density": "none: layers are fully connected, and only 1 is accepted",
    "data_config.dataset": '`data.name`: "mnist", "fashion_mnist", "moving_mnist" or "seq_mnist"',
    "data_config.edge_directions": '`transform.directions`, of "oriented_gradients"; 0 is now the transform "pixels"',
    "data_config.edge_places": '`transform.grid_size`, of "oriented_gradients"',
}
"""The present form of the keys in `OTHERS`, in the same order."""


def rows() -> list[tuple[str, str]]:
    """Return the former keys, with their sections, and their present forms."""
    moved = [(former, f"`{present}`") for former, present in MOVED.items()]
    gathered = [(f"model.{key}", COMPONENTS[group][key]) for group, keys in GROUPS.items() for key in keys]
    return [*moved, *gathered, *((key, SINGLE[key]) for key in OTHERS)]


def page() -> str:
    """Return the page as Markdown."""
    table = [f"| `{former}` | {present} |" for former, present in rows()]
    return "\n".join([TOP, "| former key | present key |", "| --- | --- |", *table]) + "\n"


if __name__ == "__main__":
    print(page(), end="")
