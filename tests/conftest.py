"""For all tests: one thread, MNIST is unpacked once, pictures are rendered only where a test asks, and no time is remembered."""

import functools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure

from RecurrentFF.data import mnist
from RecurrentFF.training import measurements

torch.set_num_threads(1)  # the networks are tiny, so that threads would only wait for each other

_unpack, _render = mnist._packaged, Figure.savefig


@functools.cache
def _unpacked(name: str, checksum: str) -> tuple[bytes, str]:
    return _unpack(name)


def _unpacked_once(name: str) -> tuple[bytes, str]:
    """A file of MNIST, kept in memory unless a test changes its checksum. To unpack all takes longer than most trainings."""
    return _unpacked(name, mnist._MD5[name])


def _without_pixels(figure: Figure, file: Any, **options: Any) -> None:
    """Write the first bytes of a PNG file in place of a picture. To render those of a run takes longer than most trainings."""
    file.write(b"\x89PNG\r\n\x1a\n")


@pytest.fixture(scope="session", autouse=True)
def _fast_runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    cache = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measurements, "cache_folder", lambda name: cache / name)  # in place of the user's
        patch.setattr(mnist, "_packaged", _unpacked_once)
        patch.setattr(Figure, "savefig", _without_pixels)
        yield


@pytest.fixture
def rendered_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Render the pictures of this test, as they are outside of the tests."""
    monkeypatch.setattr(Figure, "savefig", _render)
