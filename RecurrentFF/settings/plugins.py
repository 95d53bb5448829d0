"""Plugins: modules that register components of one's own. To import them runs their code."""

from __future__ import annotations

import importlib

from RecurrentFF.errors import SettingsError


def import_modules(modules: object) -> None:
    """Import plugin modules by name, so that their components are registered.

    Raises:
        SettingsError: one can't be imported.
    """
    for module in modules if isinstance(modules, list | tuple) else (modules,):
        _import(str(module))


def _import(module: str) -> None:
    try:
        importlib.import_module(module)
    except SettingsError:
        raise
    except Exception as error:  # the module may raise anything
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        first, _, rest = module.partition(".")
        absent = isinstance(error, ModuleNotFoundError) and error.name in (first, module)
        home = f"run rff in the folder that contains {f'the folder {first}' if rest else f'{first}.py'}, or add it to PYTHONPATH"
        advice = home if absent else "correct the name or the module"
        raise SettingsError(f"plugins: {module} can't be imported ({reason}); {advice}", "plugins") from None
