"""The arguments of tasks, as programs pass them: converted to what a task needs, or refused in one line."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from RecurrentFF.data.raw import Label, as_class_names, listed
from RecurrentFF.data.transforms import Transform
from RecurrentFF.errors import InputError
from RecurrentFF.messages import shown
from RecurrentFF.registry import make
from RecurrentFF.values import of_python

MAX_CLASSES = 10**6
"""The maximum number of classes that are named by their number."""


def transform_of(transform: Any) -> Transform | None:
    """Return the transform that a program has chosen.

    Args:
        transform: a transform, its registered name, a dictionary of its name and options, or None for none.

    Raises:
        SettingsError: it is something else, or there is none of this name.
    """
    return None if transform is None else make("transform", transform, "transform")


def require_name(name: Any) -> str:
    """Return the name of a data set, as a text.

    Raises:
        InputError: it is something else.
    """
    text = of_python(name)
    if not isinstance(text, str):
        raise InputError(f"name = {shown(name)}: expected text")
    return text


def whole_number(value: Any, name: str, lowest: int = 0) -> int:
    """Return a whole number as Python's own.

    Raises:
        InputError: it is none, below `lowest`, or beyond 64 bits.
    """
    number = of_python(value)
    if type(number) is not int or not lowest <= number < 2**63:
        at_least = "of 64 bits" if lowest < 0 else f"of at least {lowest}"
        raise InputError(f"{name} = {shown(value)}: expected a whole number {at_least}")
    return number


def shape_of(input_shape: Any) -> tuple[int, ...]:
    """Return the shape of a raw sample as a tuple.

    Args:
        input_shape: the number of values along each axis, or a single number.

    Raises:
        InputError: it is something else.
    """
    given = of_python(input_shape)
    lengths = [of_python(length) for length in _entries(given, 1)]
    if lengths and all(type(length) is int and 0 < length < 2**63 for length in lengths):
        return tuple(lengths)
    raise InputError(f"input_shape = {shown(input_shape)}: expected the lengths of the axes of a sample, such as (28, 28)")


def sides_of(size: Any) -> tuple[int, int] | None:
    """Return the height and the width that a program has chosen; None for those of the first image.

    Raises:
        InputError: the size is neither None, a number, nor two numbers, above 0.
    """
    given = of_python(size)
    if given is None:
        return None
    sides = [of_python(side) for side in _entries(given, 2)]
    if len(sides) != 2 or not all(type(side) is int and 0 < side < 2**63 for side in sides):
        raise InputError(f"size = {shown(size)}: expected (height, width) in pixels, such as (28, 28), or one number for both")
    return sides[0], sides[1]


def _entries(value: Any, repeated: int) -> list[Any]:
    """Return the entries of a list or an array; another value a number of times."""
    is_list = isinstance(value, Iterable) and not isinstance(value, str | bytes) and getattr(value, "shape", None) != ()
    return list(value) if is_list else [value] * repeated


def _named(classes: Any) -> tuple[Label, ...]:
    """Return the names of classes that a program passes as names, or as their number.

    Raises:
        InputError: these are neither.
    """
    given = of_python(classes)
    if isinstance(given, int):
        if given > MAX_CLASSES:
            raise InputError(f"classes = {shown(given)}: expected at most {MAX_CLASSES:,}")
        return tuple(range(given))
    if not isinstance(given, Iterable) or isinstance(given, str | bytes) or getattr(given, "shape", None) == ():
        raise InputError(f"classes = {shown(classes)}: expected a number of classes, or a list of their names")
    return tuple(as_class_names(list(given)))


def classes_of(classes: int | Iterable[Any] | None, labels: Iterable[Label] = ()) -> tuple[Label, ...]:
    """Return the names of classes.

    Args:
        classes: the names; a number of classes, which are then named 0, 1, …; or None for those that occur in the labels, sorted.
        labels: the labels.

    Raises:
        InputError: classes are neither names nor a number, there are fewer than two, a name occurs twice, or labels are of
            texts and of numbers.
    """
    found = sorted(set(labels), key=lambda name: (isinstance(name, str), name)) if classes is None else _named(classes)
    if classes is None and len({isinstance(name, str) for name in found}) > 1:
        raise InputError(f"labels of texts and of numbers: {listed(found)}; give all labels as one of both, or name the classes")
    if len(found) < 2:
        raise InputError(f"classes {listed(found) or 'none'}: expected at least two")
    if len(set(found)) < len(found):
        raise InputError(f"classes {listed(found)}: a name occurs twice; give each class its own")
    return tuple(found)
