"""The exceptions of this package. Each message is one line for the user: what is wrong, where, and what to do."""

MAX_MESSAGE = 1000
"""Maximum number of characters of a message, about."""


MAX_REASON = 200
"""Maximum number of characters of what another library says about an error, about."""


def printable(text: str, length: int = MAX_MESSAGE) -> str:
    """Return a text as one line that any terminal can show, of limited length.

    Args:
        text: any text, for instance with the name of a file or a key that somebody else has written.
        length: what is longer loses its middle, since the advice is at the end.

    Returns:
        The text with an escape, such as \\n or \\x1b, in place of each character that is not printable: control characters, line
        ends, spaces other than " ", and bytes of a path that are not in the encoding of the file system.

    Examples:
        >>> printable("two\\nlines")
        'two\\\\nlines'
    """
    if len(text) > length:
        text = f"{text[: length * 3 // 4]}…{text[-length // 4 :]}"
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii") for character in text
    )


def first_line(error: BaseException, length: int = MAX_REASON) -> str:
    """The first line of the message of any exception, with escapes as in `printable`; the name of its class if it has none.

    Args:
        error: the exception.
        length: what is longer loses its end.
    """
    line = str(error).strip().partition("\n")[0].rstrip()
    return printable(line if len(line) <= length else f"{line[:length]}…") or type(error).__name__


def described(error: BaseException, length: int = MAX_REASON) -> str:
    """The name of an exception's class and the first line of its message, as in "ValueError: no such name".

    Args:
        error: the exception.
        length: as for `first_line`.
    """
    name, text = type(error).__name__, first_line(error, length)
    return name if text == name else f"{name}: {text}"


def lacks_memory(error: BaseException) -> bool:
    """Check if an error says that memory is used up. torch has errors of its own for this."""
    words = ("DefaultCPUAllocator", "out of memory", "not enough memory")
    return isinstance(error, MemoryError) or any(word in str(error) for word in words)


class RecurrentFFError(Exception):
    """Base class of all errors that RecurrentFF raises on purpose. The command line prints its message and exits with code 2.

    Args:
        message: the text for the user. It becomes one printable line of limited length, whatever a file or a key in it is called.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(printable(message))


class SettingsError(RecurrentFFError):
    """An invalid configuration: a file, an override or an argument.

    Args:
        message: the text for the user.
        place: the first invalid key as "section.key", or its section; empty if it is not known.
    """

    def __init__(self, message: str = "", place: str = "") -> None:
        super().__init__(message)
        self.place = place


class DataError(RecurrentFFError):
    """A data set or a data file that is missing, damaged or of the wrong form."""


class DeviceError(RecurrentFFError):
    """A device that this machine does not have."""


class InputError(RecurrentFFError):
    """A tensor of the wrong shape, type or range, given to the network."""


class DivergenceError(RecurrentFFError):
    """A training whose loss or weights are NaN or infinite."""


class BlackBoxError(RecurrentFFError):
    """A function or program of a black-box connection that fails, or whose result is no activity of the same shape."""


class ProcessError(RecurrentFFError):
    """A training by several processes that can't begin or continue: one of them has failed, was killed, or does not answer."""


class OutputError(RecurrentFFError):
    """A file that can't be written."""


class CheckpointError(RecurrentFFError):
    """A checkpoint or run folder that can't be read, or that doesn't fit the network."""


class CallbackError(RecurrentFFError):
    """A callback of the user that has failed. The original error is its cause."""
