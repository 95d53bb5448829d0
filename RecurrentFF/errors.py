"""The exceptions of this package. Each message is one line for the user: what is wrong, where, and what to do."""


class RecurrentFFError(Exception):
    """Base class of all errors that RecurrentFF raises on purpose. The command line prints its message and exits with code 2."""


class SettingsError(RecurrentFFError):
    """An invalid configuration: a file, an override or an argument.

    Args:
        message: the text for the user.
        place: the first invalid key as "section.key", or its section; empty if it is not known.
    """

    def __init__(self, message: str, place: str = "") -> None:
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


class OutputError(RecurrentFFError):
    """A file that can't be written."""


class CheckpointError(RecurrentFFError):
    """A checkpoint or run folder that can't be read, or that doesn't fit the network."""


class CallbackError(RecurrentFFError):
    """A callback of the user that has failed. The original error is its cause."""
