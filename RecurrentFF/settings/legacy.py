"""Translation of former configurations: those of the original project, and of this one before it had components.

They have the sections [device], [model], [data_config] and [training]. `translate` takes whole files and overrides alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from RecurrentFF.errors import SettingsError
from RecurrentFF.messages import nearest, shown
from RecurrentFF.options import as_flag
from RecurrentFF.registry import make
from RecurrentFF.settings.former_keys import (
    BENCHMARK_KEYS,
    DATASETS,
    FORMER_SECTIONS,
    GROUPS,
    MOVED,
    OPTIMIZERS,
    Tree,
    former_path,
    known_paths,
)


class Translation(NamedTuple):
    """A former configuration in the present form."""

    tree: Tree
    """Sections and keys of the present form, only those that were given."""
    former_names: dict[str, str]
    """The former path of keys by their present path."""


def is_former(tree: Mapping[str, Any]) -> bool:
    """True if a configuration, or a part of one, has a section that only former ones have."""
    return any(section in tree for section in FORMER_SECTIONS)


def hint(former_names: Mapping[str, str], error: SettingsError) -> str:
    """The end of a message about a mistake in the present form: the former path of the key that it names, if it has one."""
    text = str(error)
    place = error.place or text.partition(" ")[0].rstrip(":")  # a check across keys has no place, but names one first
    named = [
        former
        for path, former in former_names.items()
        if place == path or place.startswith((f"{path}.", f"{path}["))
        or (path.startswith(f"{place}.") and path.rpartition(".")[2] in text)
    ]  # fmt: skip
    return f" (the former {named[0]})" if named else ""


def with_related(override: Mapping[str, Any], former: Mapping[str, Any]) -> Tree:
    """An override of one former key, with those given before it that describe the same component.

    Args:
        override: a section with one key.
        former: all former keys that were given, this one included.
    """
    ((section, keys),) = override.items()
    groups = list(GROUPS.values()) if section == "model" else [("edge_directions", "edge_places")]
    related = next((group for group in groups if set(keys) <= set(group)), tuple(keys))
    return {section: {key: value for key, value in former[section].items() if key in related}}


def joined(tree: Mapping[str, Any], more: Mapping[str, Any]) -> Tree:
    """A former configuration with more keys, of which sections are joined and other values replaced."""
    values = dict(tree)
    for key, value in more.items():
        before = values.get(key)
        values[key] = joined(before, value) if isinstance(before, Mapping) and isinstance(value, Mapping) else value
    return values


def translate(tree: Mapping[str, Any], present: Mapping[str, Any], *, strict: bool = True) -> Translation:
    """Translate a former configuration, or a part of one.

    Args:
        tree: sections and keys; those of the present form are passed on.
        present: the configuration that it is merged into, in the present form; it is not changed.
        strict: refuse options that have no effect on the named data set.

    Raises:
        SettingsError: a key is unknown, a value of a changed key is invalid, or a key is given in both forms.
    """
    given = {f"{section}.{key}": value for section in FORMER_SECTIONS for key, value in _section(tree, section).items()}
    new: Tree = {section: _copied(value) for section, value in tree.items() if section not in FORMER_SECTIONS}
    if isinstance(new.get("data"), str):
        new["data"] = {"name": new["data"]}
    if isinstance(new.get("objective"), str) and any(f"model.{key}" in given for key in GROUPS["objective"]):
        given.setdefault("model.objective", new.pop("objective"))  # the name is the same in both forms
    names: dict[str, str] = {}
    for former in [path for path in given if former_path(path.partition(".")[2]) != path]:
        section, _, key = former.partition(".")
        known = [path.partition(".")[2] for path in known_paths() if path.startswith(f"{section}.")]
        raise SettingsError(f"unknown key '{former}'{nearest(key, known)}", former)
    for former in given:
        _refuse_both(former, new)
    data_name = _data(given, present, new, names, strict)
    for former, value in given.items():
        if former in MOVED and _has_effect(former.partition(".")[2], data_name):
            target = MOVED[former]
            if target in names:
                raise SettingsError(f"{former} and {names[target]} are two names of one key; remove one", former)
            _set(new, target, value)
            names[target] = former
    for group, keys in GROUPS.items():
        options = {key: given[f"model.{key}"] for key in keys if f"model.{key}" in given}
        if options:
            _BUILD[group](options, present, new)
            section = f"network.{group}" if group == "connections" else group
            names |= {f"{section}.count": "model.negatives"} if "negatives" in options else {}
            names[section] = f"model.{next(iter(options))}"
    _others(given, new)
    return Translation(new, names)


def _copied(value: Any) -> Any:
    """A value with all its dictionaries copied."""
    return {key: _copied(item) for key, item in value.items()} if isinstance(value, Mapping) else value


def _refuse_both(former: str, new: Mapping[str, Any]) -> None:
    """Raise SettingsError if the present form of a key is given, too."""
    section, _, key = former.partition(".")
    group = next((group for group, keys in GROUPS.items() if section == "model" and key in keys), None)
    others = {"dataset": "data.name", "edge_directions": "transform", "edge_places": "transform"}
    target = MOVED.get(former) or others.get(key)
    if group is not None:
        target = "network.connections" if group == "connections" else group
    path: list[str] = []
    value: Any = new
    for step in target.split(".") if target is not None else ():
        if isinstance(value, Mapping) and step not in value:
            return
        if isinstance(value, Mapping):
            value, path = value[step], [*path, step]
    if path:
        raise SettingsError(f"{former} and {'.'.join(path)} are two names of one key; remove one", former)


def translate_file(tree: Mapping[str, Any], present: Mapping[str, Any], *, strict: bool = True) -> Translation:
    """Translate a whole former configuration, with its former defaults. Arguments as for `translate`.

    The test accuracy was reported in every epoch, and the key training.weights had no effect without
    model.should_load_weights.
    """
    translated, names = translate(tree, present, strict=strict)
    training = translated.get("training", {})
    if isinstance(training, Mapping):
        loads = "should_load_weights" in _section(tree, "model")
        kept = {key: value for key, value in training.items() if loads or key != "weights"}
        translated = translated | {"training": {"test_every_epoch": True} | kept}
    return Translation(translated, names)


def _section(tree: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = tree.get(name, {})
    if not isinstance(section, Mapping):
        raise SettingsError(f"{name} = {shown(section)}: expected a section with keys of its own", name)
    return section


def _set(tree: Tree, path: str, value: Any) -> None:
    *parents, key = path.split(".")
    for parent in parents:
        if not isinstance(tree.setdefault(parent, {}), dict):
            raise SettingsError(f"{parent} = {shown(tree[parent])}: expected a section with keys of its own", parent)
        tree = tree[parent]
    tree[key] = value


# ---------------------------------------------------------------- data and its transform


def _has_effect(key: str, data_name: str | None) -> bool:
    """False for a key that only another data set uses."""
    benchmark = next((name for name, keys in BENCHMARK_KEYS.items() if key in keys), None)
    return benchmark is None or benchmark == ("mnist" if data_name == "fashion_mnist" else data_name)


def _data(given: Tree, present: Mapping[str, Any], new: Tree, names: dict[str, str], strict: bool) -> str | None:
    """Translate the name of the data set and the kind of its transform. Returns the name; None if it is not known."""
    dataset = given.get("data_config.dataset")
    name = None if dataset is None else DATASETS.get(str(dataset).lower())
    if dataset is not None and name is None:
        raise SettingsError(
            f"data_config.dataset = {shown(dataset)}: there is no such data set{nearest(str(dataset), DATASETS)}",
            "data_config.dataset",
        )
    keys = {path.partition(".")[2]: value for path, value in given.items() if path.startswith("data_config.")}
    used = [benchmark for benchmark, defaults in BENCHMARK_KEYS.items()
            if any(key in keys and keys[key] != default for key, default in defaults.items())]  # fmt: skip
    known = _section_dict(new, "data").get("name") or present.get("data", {}).get("name")
    if name is None and known == "own" and used:
        key = next(key for key in BENCHMARK_KEYS[used[0]] if key in keys)
        raise SettingsError(
            f"data_config.{key}: an option of the data set {used[0]}; name it too, as data = {used[0]!r}, or give your data to a "
            "task with a transform",
            f"data_config.{key}",
        )
    if name is None and known is None and used:
        name = used[0]
    current = name or (None if known == "own" else known)
    if strict and current is not None:
        _refuse_foreign(keys, current)
    if name is not None:
        _set(new, "data.name", name)
    if current in ("mnist", "fashion_mnist"):
        _image_transform(keys, present, new, names)
    elif current == "seq_mnist" and any(key in keys for key in BENCHMARK_KEYS["seq_mnist"]):
        _set(new, "transform.name", "pen_strokes")
    return current


def _refuse_foreign(keys: Tree, name: str) -> None:
    for benchmark, defaults in BENCHMARK_KEYS.items():
        for key, default in defaults.items():
            if key in keys and keys[key] != default and not _has_effect(key, name):
                raise SettingsError(
                    f"data_config.{key} = {shown(keys[key])}: used by the {benchmark} benchmark only, and this is {name}; "
                    f"leave it out or set it to {shown(default)}",
                    f"data_config.{key}",
                )


def _image_transform(keys: Tree, present: Mapping[str, Any], new: Tree, names: dict[str, str]) -> None:
    """Choose between pixels and oriented-gradient features."""
    if not any(key in keys for key in ("deskew", "size_normalization", "size_normalisation", "edge_directions", "edge_places")):
        return
    now = dict(present.get("transform") or {"name": "pixels"})
    directions = keys.get("edge_directions", now.get("directions", 0))
    if type(directions) is not int or not (directions == 0 or 4 <= directions <= 64):
        raise SettingsError(
            f"data_config.edge_directions = {shown(directions)}: expected 0 (none) or 4 to 64, for instance 8",
            "data_config.edge_directions",
        )
    kept = {key: now[key] for key in ("deskew", "size_normalization") if key in now}
    new["transform"] = {"name": "oriented_gradients" if directions else "pixels"} | kept
    names |= {f"transform.{key}": f"data_config.{former}" for key, former in (("directions", "edge_directions"),
              ("grid_size", "edge_places")) if former in keys}  # fmt: skip
    if directions:
        places = keys.get("edge_places", now.get("grid_size", BENCHMARK_KEYS["mnist"]["edge_places"]))
        new["transform"] |= {"directions": directions, "grid_size": places}


# ---------------------------------------------------------------- keys that together describe one component


def _objective(given: Tree, present: Mapping[str, Any], new: Tree) -> None:
    now = present.get("objective", {})
    former = {"objective": now.get("name", "threshold"), "loss_threshold": now.get("theta", 1.5),
              "pairwise_alpha": now.get("alpha", 8.0)}  # fmt: skip
    for part in now.get("objectives", ()):
        former["loss_threshold"] = part.get("theta", former["loss_threshold"])
        former["pairwise_alpha"] = part.get("alpha", former["pairwise_alpha"])
    former |= given
    threshold = {"name": "threshold", "theta": former["loss_threshold"]}
    pairwise = {"name": "pairwise", "alpha": former["pairwise_alpha"]}
    kinds = {"threshold": threshold, "pairwise": pairwise, "sum": {"name": "sum", "objectives": [threshold, pairwise]}}
    name = former["objective"]
    if name not in list(kinds):  # it may be unhashable
        raise SettingsError(f"model.objective = {shown(name)}: there is no such objective{nearest(str(name), kinds)}",
                            "model.objective")  # fmt: skip
    _require_valid("objective", threshold, {"theta": "model.loss_threshold"})
    _require_valid("objective", pairwise, {"alpha": "model.pairwise_alpha"})
    new["objective"] = kinds[name]


def _optimizer_of(owner: str, given: Tree, now: Mapping[str, Any], defaults: Mapping[str, Tree]) -> Tree:
    """The optimizer that the keys `owner`_optimizer, `owner`_rmsprop and so on describe."""
    name = given.get(f"{owner}_optimizer", now.get("name", "rmsprop"))
    if name not in list(OPTIMIZERS):
        path = f"model.{owner}_optimizer"
        raise SettingsError(f"{path} = {shown(name)}: there is no such optimizer{nearest(str(name), OPTIMIZERS)}", path)
    for kind in OPTIMIZERS:
        options = given.get(f"{owner}_{kind}", {})
        path = f"model.{owner}_{kind}"
        if not isinstance(options, Mapping):
            raise SettingsError(f"{path} = {shown(options)}: expected a section with keys of its own", path)
        unknown = next((key for key in options if key not in OPTIMIZERS[kind]), None)
        if unknown is not None:
            raise SettingsError(f"unknown key '{path}.{unknown}'{nearest(unknown, OPTIMIZERS[kind])}", f"{path}.{unknown}")
        _require_valid("optimizer", {"name": kind} | dict(options), {key: f"{path}.{key}" for key in options})
    own = {key: value for key, value in now.items() if key != "name"} if now.get("name") == name else {}
    return {"name": name} | defaults[name] | own | dict(given.get(f"{owner}_{name}", {}))


def _optimizer(given: Tree, present: Mapping[str, Any], new: Tree) -> None:
    new["optimizer"] = _optimizer_of("ff", given, present.get("optimizer", {}), OPTIMIZERS)


def _negatives(given: Tree, present: Mapping[str, Any], new: Tree) -> None:
    now = present.get("negatives", {})
    name = now.get("name", "uniform")
    former = {"should_replace_neg_data": name != "uniform", "negatives_from": "badness" if name == "badness" else "classifier",
              "negative_temperature": now.get("temperature", 1.0), "negatives": now.get("count", 1)} | given  # fmt: skip
    replace = as_flag(former["should_replace_neg_data"])
    if not isinstance(replace, bool):
        path = "model.should_replace_neg_data"
        raise SettingsError(f"{path} = {shown(replace)}: expected true or false (or 1 or 0)", path)
    source = former["negatives_from"]
    if source not in ("classifier", "badness"):
        raise SettingsError(f"model.negatives_from = {shown(source)}: expected 'classifier' or 'badness'", "model.negatives_from")
    readout_defaults = OPTIMIZERS | {"rmsprop": OPTIMIZERS["rmsprop"] | {"learning_rate": 1e-3}}
    optimizer = _optimizer_of("classifier", given, now.get("optimizer", {}), readout_defaults)
    chosen = {"count": former["negatives"], "temperature": former["negative_temperature"]}
    _require_valid("negatives", {"name": "badness"} | chosen,
                   {"count": "model.negatives", "temperature": "model.negative_temperature"})  # fmt: skip
    if not replace:
        new["negatives"] = {"name": "uniform", "count": chosen["count"]}
    elif source == "badness":
        new["negatives"] = {"name": "badness"} | chosen
    else:
        new["negatives"] = {"name": "readout"} | chosen | {"optimizer": optimizer}


def _schedule(given: Tree, present: Mapping[str, Any], new: Tree) -> None:
    now = present.get("schedule", {})
    former = {"lr_schedule": now.get("name", "step"), "lr_step_size": now.get("step_size", 1), "lr_gamma": now.get("gamma", 1.0),
              "lr_warmup_epochs": now.get("warmup_epochs", 0.0)} | given  # fmt: skip
    name = former["lr_schedule"]
    if name not in ("step", "cosine"):
        raise SettingsError(f"model.lr_schedule = {shown(name)}: expected 'step' or 'cosine'", "model.lr_schedule")
    step = {"name": "step", "step_size": former["lr_step_size"], "gamma": former["lr_gamma"],
            "warmup_epochs": former["lr_warmup_epochs"]}  # fmt: skip
    _require_valid("schedule", step, {"step_size": "model.lr_step_size", "gamma": "model.lr_gamma",
                                      "warmup_epochs": "model.lr_warmup_epochs"})  # fmt: skip
    new["schedule"] = step if name == "step" else {"name": "cosine", "warmup_epochs": former["lr_warmup_epochs"]}


def _connections(given: Tree, present: Mapping[str, Any], new: Tree) -> None:
    entries = present.get("network", {}).get("connections", ())
    by_name = {entry.get("name"): entry for entry in entries}
    field = by_name.get("receptive_field", {})
    former = {"receptive_field": field.get("side", 0), "lateral_field": field.get("lateral", 0)} | given
    connections: list[Tree] = []
    convolution = {key: value for key, value in by_name.get("convolution", {}).items() if key != "name"}
    if given.get("convolution") is not None or convolution:
        options = given.get("convolution", {})
        if not isinstance(options, Mapping):
            raise SettingsError(f"model.convolution = {shown(options)}: expected a section with keys of its own",
                                "model.convolution")  # fmt: skip
        connections.append({"name": "convolution"} | convolution | dict(options))
    side, lateral = former["receptive_field"], former["lateral_field"]
    for path, value in (("model.receptive_field", side), ("model.lateral_field", lateral)):
        if type(value) is not int or value < 0:
            raise SettingsError(f"{path} = {shown(value)}: expected a whole number, at least 0", path)
    if side and connections:
        raise SettingsError(
            f"model.receptive_field = {side}: a convolution has receptive fields of its own, of kernel_size; "
            "leave out one of model.receptive_field and [model.convolution]",
            "model.receptive_field",
        )
    if side:
        connections.append({"name": "receptive_field", "side": side, "lateral": lateral})
    others = [entry for entry in entries if entry.get("name") not in ("convolution", "receptive_field")]
    _set(new, "network.connections", [*connections, *others])


_BUILD = {"objective": _objective, "optimizer": _optimizer, "negatives": _negatives, "schedule": _schedule,
          "connections": _connections}  # fmt: skip


def _require_valid(kind: str, options: Tree, paths: Mapping[str, str]) -> None:
    """Check options that may have no effect, so that a mistake in them is named. Errors name the former path."""
    try:
        make(kind, options, kind)
    except SettingsError as error:
        key = error.place.rpartition(".")[2]
        raise SettingsError(str(error).replace(f"{kind}.{key}", paths.get(key, key), 1), paths.get(key, "")) from None


# ---------------------------------------------------------------- single keys


def _others(given: Tree, new: Tree) -> None:
    density = given.get("model.interconnect_density", 1)
    if density != 1:
        raise SettingsError(
            f"model.interconnect_density = {shown(density)}: layers are fully connected here; set it to 1 or leave it out",
            "model.interconnect_density",
        )
    for key in ("skip_profiling", "should_load_weights"):
        value = given.get(f"model.{key}")
        if value is not None and value not in (0, 1):
            raise SettingsError(f"model.{key} = {shown(value)}: expected true or false (or 1 or 0)", f"model.{key}")
    if "model.skip_profiling" in given:
        _set(new, "tracking.profile", not given["model.skip_profiling"])
    if "model.should_load_weights" in given:
        if not given["model.should_load_weights"]:
            _section_dict(new, "training").pop("weights", None)
        elif "weights" not in _section_dict(new, "training"):
            _set(new, "training.weights", "")  # to be named with --weights


def _section_dict(new: Tree, name: str) -> Tree:
    return new[name] if isinstance(new.get(name), dict) else {}
