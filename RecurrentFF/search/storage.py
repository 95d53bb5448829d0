"""The storage of a study: a database that several workers share. This module imports Optuna."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, RDBStorage, RetryHeartbeatStaleTrialCallback
from sqlalchemy.exc import SQLAlchemyError

from RecurrentFF.errors import OutputError, RecurrentFFError, SettingsError, first_line

HEARTBEAT_SECONDS = 30
"""The time between two signs of life of a trial that is being trained."""

GRACE_SECONDS = 120
"""The time without a sign of life after which a trial counts as lost, because its worker was killed: it is run again."""

MAX_RETRIES = 3
"""The maximum number of times that a lost trial is run again."""

_TRIES = 7
"""The number of times that opening a database is tried while another worker creates its tables."""

_LOCK_SECONDS = 60
"""The longest time to wait for another process that writes into the same SQLite file."""


class SharedStorage(RDBStorage):
    """A database in which a trial that is being trained gives signs of life. One that fails is left out."""

    def record_heartbeat(self, trial_id: int) -> None:
        """Record a sign of life of a trial, if the database can be written."""
        with contextlib.suppress(Exception):
            super().record_heartbeat(trial_id)


def open_storage(url: str) -> BaseStorage:
    """Open a database, and create its tables if there are none.

    Args:
        url: the database in SQLAlchemy's form, for instance "sqlite:///search.db" or
            "postgresql+psycopg2://user:password@host/name".

    Raises:
        SettingsError: the URL is not of this form, its driver is not installed, or the database can't be opened.
    """
    for attempt in range(_TRIES):
        storage = _try_to_open(url, is_last=attempt == _TRIES - 1)
        if storage is not None:
            return storage
        time.sleep(0.05 * 2**attempt)
    raise AssertionError("the last try returns a storage or raises an error")


def _try_to_open(url: str, *, is_last: bool) -> BaseStorage | None:
    """Open a database; None if another worker is creating the same tables, and this is not the last try.

    Raises:
        SettingsError: as for `open_storage`.
    """
    options = {"connect_args": {"timeout": _LOCK_SECONDS}} if url.startswith("sqlite") else {"pool_pre_ping": True}
    try:
        return SharedStorage(
            url,
            engine_kwargs=options,
            heartbeat_interval=HEARTBEAT_SECONDS,
            grace_period=GRACE_SECONDS,
            heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(max_retry=MAX_RETRIES),
        )
    except ImportError as error:
        reason = first_line(error.__cause__ or error)
        raise SettingsError(f"storage {shown_url(url)}: its driver can't be imported ({reason}); install it with pip") from None
    except (SQLAlchemyError, StorageInternalError, RuntimeError, ValueError) as error:
        if _is_of_another_worker(error) and not is_last:
            return None
        raise SettingsError(
            f"storage {shown_url(url)}: can't be opened ({first_line(error.__cause__ or error)}); write a URL such as "
            "sqlite:///search.db"
        ) from None


def _is_of_another_worker(error: Exception) -> bool:
    """Check if another worker creates the same tables at this moment, so that a second try finds them."""
    text = str(error).lower()
    return any(words in text for words in ("already exists", "unique", "duplicate", "locked"))


def shown_url(url: str) -> str:
    """The URL of a database for messages, without its password."""
    try:
        return sqlalchemy.engine.make_url(url).render_as_string(hide_password=True)
    except SQLAlchemyError:
        return repr(url)


@contextlib.contextmanager
def reported(url: str) -> Iterator[None]:
    """Report a database that fails during a search in one line, as a context manager around what uses it.

    Args:
        url: the database, for the message.

    Raises:
        OutputError: the database has failed.
    """
    try:
        yield
    except RecurrentFFError:
        raise
    except Exception as error:
        failure = _failure_in(error)
        if failure is None:
            raise
        raise OutputError(
            f"storage {shown_url(url)}: can't be read or written ({first_line(failure)}); finished trials are kept, and the same "
            "command continues the study"
        ) from None


def _failure_in(error: BaseException | None) -> BaseException | None:
    """The error of the database among an error and those that it follows; None if there is none.

    After an error of the database, Optuna may raise any other one.
    """
    found = None
    while error is not None:
        if isinstance(error, StorageInternalError | SQLAlchemyError):
            found = error.__cause__ or error
        error = error.__cause__ or error.__context__
    return found
