"""The paths in a configuration, made absolute when a run is made, so that it can be resumed from any folder."""

from __future__ import annotations

from RecurrentFF.errors import SettingsError
from RecurrentFF.paths import expanded, reported
from RecurrentFF.settings.tree import Settings


def with_absolute_paths(settings: Settings) -> Settings:
    """The settings with absolute paths, and the home folder in place of ~: data.data_dir, if it is a text, and training.weights.

    Raises:
        SettingsError: a path is empty or can't be one, or begins with the ~ of a user who has no home folder.
    """
    paths: dict[str, object] = {}
    folder, weights = getattr(settings.data, "data_dir", None), settings.training.weights
    if isinstance(folder, str):
        paths["data"] = {"data_dir": _absolute(folder, "data.data_dir")}
    if weights:  # it is empty in a former configuration that waits for --weights
        paths["weights"] = _absolute(weights, "training.weights")
    changed = paths != {"data": {"data_dir": folder}, "weights": weights}
    return settings.with_arguments(**paths) if paths and changed else settings


def _absolute(path: str, key: str) -> str:
    if not path:
        raise SettingsError(f"{key} is empty; name a path, or leave it out", key)
    with reported(f"{key} = '{path}'", SettingsError, "can't be made an absolute path"):
        try:
            return str(expanded(path, SettingsError).absolute())
        except SettingsError as error:
            raise SettingsError(f"{key} = {error}", key) from None
