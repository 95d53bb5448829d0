"""The refusal of a call, as most tests of wrong input look at it."""

from collections.abc import Callable
from typing import Any

import pytest

from RecurrentFF.errors import MAX_MESSAGE, InputError, RecurrentFFError


def refusal(call: Callable[[], Any], kind: type[RecurrentFFError] = InputError) -> str:
    """The message of the error of a kind that a call raises, which is one printable line of limited length."""
    with pytest.raises(kind) as caught:
        call()
    message = str(caught.value)
    assert type(caught.value) is kind and message.isprintable() and len(message) < 3 * MAX_MESSAGE
    return message
