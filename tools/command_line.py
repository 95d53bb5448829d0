"""Print the page of the command line: `python -m tools.command_line > docs/reference/command_line.md` writes it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from RecurrentFF.cli import argument_parser


def page() -> str:
    """Write the page of the command line: every command with its arguments, from the parser."""
    parser = argument_parser()
    (commands,) = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    lines = ["# Command line", "", "<!-- Written by: python -m tools.command_line > docs/reference/command_line.md -->", ""]
    lines += ["`python -m RecurrentFF` is the same command as `rff`. `rff COMMAND --help` prints what this page has.", ""]
    lines += ["| command | what it does |", "| --- | --- |"]
    known = {choice.dest: choice.help or "" for choice in commands._choices_actions}
    lines += [f"| [`rff {name}`](#rff-{name}) | {cell(text)} |" for name, text in known.items()]
    lines += [
        "",
        "A command ends with the exit code 0, with 2 after an error, which it prints in one line, or with 130 after Ctrl-C.",
        "",
    ]
    lines += ["The former commands `python -m RecurrentFF.benchmarks.mnist.mnist`, and likewise `moving_mnist.moving_mnist` and"]
    lines += ["`seq_mnist.seq_mnist`, take the arguments of `rff train` without DATA, and `--resume RUN` of their own."]
    for name in known:
        lines += ["", f"## rff {name}", "", *arguments_of(f"rff {name}", commands.choices[name])]
    return "\n".join(lines)


def arguments_of(command: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    """Yield the lines of Markdown that describe a command."""
    actions = [action for action in parser._actions if action.help != argparse.SUPPRESS and action.dest != "help"]
    positional = [shown(action) for action in actions if not action.option_strings]
    yield from (parser.description or "", "", "```text", " ".join([command, "[options]", *positional]), "```", "")
    yield from ("| argument | meaning |", "| --- | --- |")
    for action in actions:
        value = action.metavar or (action.dest.upper() if action.nargs != 0 else "")
        names = [f"{flag} {value}".strip() for flag in action.option_strings] or [str(value)]
        yield f"| {', '.join(f'`{name}`' for name in names)} | {cell((action.help or '') % vars(action))} |"


def shown(action: argparse.Action) -> str:
    """Write a positional argument as in a usage line: [NAME] if it can be left out, NAME... if there may be several."""
    return {None: "{}", "?": "[{}]", "+": "{}..."}[action.nargs].format(action.metavar)  # type: ignore[index]


def cell(text: str) -> str:
    """Write a text as a sentence, and escape it for a cell of a table."""
    sentence = text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")
    return sentence.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


if __name__ == "__main__":
    print(page())
