"""Plugins: modules that register components of one's own. To import them runs their code."""

from __future__ import annotations

import importlib

from RecurrentFF.errors import SettingsError, first_line
from RecurrentFF.messages import shown


def import_modules(modules: object) -> None:
    """Import plugin modules by name, so that their components are registered.

    Args:
        modules: a list of names. Nothing is imported if it is anything else.

    Raises:
        SettingsError: it is no list of names, or one can't be imported.
    """
    if not isinstance(modules, list | tuple) or not all(isinstance(module, str) for module in modules):
        raise SettingsError(f'plugins = {shown(modules)}: expected a list of names, such as ["module"]', "plugins")
    for module in modules:
        if not all(part.isidentifier() for part in module.split(".")):
            raise SettingsError(
                f"plugins: {shown(module)} can't be imported (not the name of a module); correct the name", "plugins"
            )
        _import(module)


def _import(module: str) -> None:
    try:
        importlib.import_module(module)
    except SettingsError:
        raise
    except (Exception, SystemExit) as error:  # the module may raise anything, or end the program as a script does
        reason = "it ends the program" if isinstance(error, SystemExit) else first_line(error)
        first, _, rest = module.partition(".")
        absent = isinstance(error, ModuleNotFoundError) and error.name in (first, module)
        home = f"run rff in the folder that contains {f'the folder {first}' if rest else f'{first}.py'}, or add it to PYTHONPATH"
        advice = home if absent else "correct the name or the module"
        raise SettingsError(f"plugins: {module} can't be imported ({reason}); {advice}", "plugins") from None
