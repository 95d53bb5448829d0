"""All targets of fuzzing."""

from tools.fuzz import calls, checkpoints, idx, run_folders, settings_texts, strokes

TARGETS = [*settings_texts.TARGETS, *checkpoints.TARGETS, *calls.TARGETS, *idx.TARGETS, *strokes.TARGETS, *run_folders.TARGETS]
"""The targets, in the order of their turns."""
BY_NAME = {target.name: target for target in TARGETS}
"""The targets by their names."""
