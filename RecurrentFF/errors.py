"""The errors that this package raises: each message is one line for a person, saying what is wrong, where, and what to do."""


class RecurrentFFError(Exception):
    """Base of every error that RecurrentFF raises on purpose; the command line prints its message and exits with code 2."""


class SettingsError(RecurrentFFError):
    """A configuration (file, override or argument) that can't be used.

    Args:
        message: for the user.
        place: the first key that is at fault, "section.key", or its section; empty where that is not known.
    """

    def __init__(self, message: str, place: str = "") -> None:
        super().__init__(message)
        self.place = place


class DataError(RecurrentFFError):
    """A data set or a data file that is missing or not what it should be."""


class DeviceError(RecurrentFFError):
    """A device that this machine does not have."""


class InputError(RecurrentFFError):
    """A tensor of the wrong shape, type or range given to the network."""


class DivergenceError(RecurrentFFError):
    """A training whose numbers are no longer finite."""


class OutputError(RecurrentFFError):
    """A file that can't be written."""


class CheckpointError(RecurrentFFError):
    """A checkpoint or run folder that can't be read or doesn't fit."""
