"""Strategies of nested dictionaries and lists: valid ones in which some values, keys or branches are replaced."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import Any

from hypothesis import strategies as st

from tools.fuzz.mutations import NUMBERS, among, positions

Edit = Callable[[Any], Any]


def nested(depth: int, inner: Any, *, lists: bool) -> Any:
    """A value inside of `depth` lists or dictionaries."""
    for _ in range(depth):
        inner = [inner] if lists else {"a": inner}
    return inner


DEEP = [nested(depth, 1, lists=lists) for depth in (3, 90) for lists in (True, False)]
"""Values with many levels. Texts of files have more, since the stack does not suffice to write them from values."""

TEXTS = (
    "", " ", "a", "nan", "é", "\n", "\0", "\x1b[31m", "\x7f", "\x85", "\xa0", "\xad", "\u2028", "\ud800", "\udc80", "\\x", '"',
    "'", "a.b", "~", "~nobody", "/dev/full", "../x", "a" * 5000, "relu", "cpu", "cuda:99", "1", "日本", "\u202e",
)  # fmt: skip
"""Texts that some programs can't print, store or take for a path."""

scalars = st.one_of(
    among([*NUMBERS, -(2**63), -(2**31), 10**400, -(10**400), 10**5000]),
    among([float("nan"), float("inf"), -float("inf"), -0.0, 5e-324, 1e308, 0.5, 1.0, 1e19]),
    st.integers(-5, 50),
    st.floats(),
    st.booleans(),
    among(TEXTS),
    st.text(max_size=5),
)


def values(more: st.SearchStrategy[Any] | None = None) -> st.SearchStrategy[Any]:
    """Any value of a tree: plain ones, and small or deep lists and dictionaries of them.

    Args:
        more: further plain values.
    """
    plain = scalars if more is None else st.one_of(scalars, more)
    few = st.recursive(plain, lambda inner: st.one_of(st.lists(inner, max_size=3), branches(inner)), max_leaves=5)
    return st.one_of(plain, few, among(DEEP))


def branches(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Dictionaries with one to three short or odd keys."""
    keys = st.one_of(among(["name", "a", *TEXTS]), st.text(max_size=3))
    return st.dictionaries(keys, inner, max_size=3)


def edited(trees: Sequence[Any], new: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Trees with none to four changes.

    Args:
        trees: valid trees, which are not changed.
        new: the values to insert.
    """
    keys = st.one_of(among(_keys(trees)), among(TEXTS))
    edits = st.one_of(
        st.builds(partial, st.just(_replace), positions, new),
        st.builds(partial, st.just(_add), positions, keys, new),
        st.builds(partial, st.just(_remove), positions),
        st.builds(partial, st.just(_wrap), positions),
        st.builds(partial, st.just(_move), positions, positions),
    )
    return st.builds(changed, among(trees), st.lists(edits, max_size=4))


def changed(tree: Any, edits: Sequence[Edit]) -> Any:
    """Apply changes to a copy of a tree, one after the other. A tree that becomes too deep to be copied stays unchanged."""
    try:
        return reduce(lambda current, edit: edit(current), edits, copied(tree))
    except RecursionError:
        return tree


def copied(tree: Any) -> Any:
    """A copy of the dictionaries and lists of a tree. Other values, such as tensors, are shared."""
    if isinstance(tree, dict):
        return {key: copied(value) for key, value in tree.items()}
    return [copied(value) for value in tree] if isinstance(tree, list) else tree


def places(tree: Any) -> list[tuple[Any, Any]]:
    """All entries of a tree as pairs of a dictionary or list and a key in it."""
    found, queue = [], [tree]
    while queue:
        branch = queue.pop(0)
        keys = list(branch) if isinstance(branch, dict) else range(len(branch)) if isinstance(branch, list) else ()
        found += [(branch, key) for key in keys]
        queue += [branch[key] for key in keys]
    return found[:2000]


def _keys(trees: Sequence[Any]) -> list[str]:
    return sorted({key for tree in trees for _, key in places(tree) if isinstance(key, str)})


def _replace(position: int, new: Any, tree: Any) -> Any:
    root = [tree]
    branch, key = _entry(root, position)
    branch[key] = copied(new)
    return root[0]


def _add(position: int, key: str, new: Any, tree: Any) -> Any:
    branch, place = _entry([tree], position)
    target = branch[place]
    if isinstance(target, dict):
        target[key] = copied(new)
    elif isinstance(target, list):
        target.append(copied(new))
    return tree


def _remove(position: int, tree: Any) -> Any:
    branch, key = _entry([tree], position)
    del branch[key]
    return tree


def _wrap(position: int, tree: Any) -> Any:
    root = [tree]
    branch, key = _entry(root, position)
    branch[key] = [branch[key]]
    return root[0]


def _move(position: int, other: int, tree: Any) -> Any:
    """Replace an entry by a copy of another one."""
    root = [tree]
    (branch, key), (source, name) = _entry(root, position), _entry(root, other)
    branch[key] = copied(source[name])
    return root[0]


def _entry(root: list[Any], position: int) -> tuple[Any, Any]:
    """The dictionary or list of an entry, and its key. The tree is inside of a list, so that there is always one."""
    found = places(root)
    return found[position % len(found)]
