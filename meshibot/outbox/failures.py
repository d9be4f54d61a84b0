"""Whatever is raised around a request, as one of the publisher's outcomes."""

import logging

from meshibot.errors import MeshibotError
from meshibot.publishers.base import PublishError, Rejected, RetryLater, Unclear

log = logging.getLogger(__name__)


def before_sending(error: Exception) -> PublishError:
    """What went wrong before anything was sent."""
    if isinstance(error, Unclear):
        return RetryLater(error.reason, http_status=error.http_status)
    if isinstance(error, PublishError):
        return error
    cause = error if isinstance(error, OSError) else error.__cause__
    if isinstance(cause, OSError) and cause.errno is not None and not isinstance(cause, FileNotFoundError):
        return RetryLater(f"The picture can't be made now. {error}")  # a full disk, say
    if isinstance(error, MeshibotError | OSError):
        return Rejected(str(error))
    log.error("an unexpected failure before sending", exc_info=error)
    return RetryLater(f"An unexpected failure before sending: {type(error).__name__}, see the log.")


def in_flight(error: Exception) -> PublishError:
    """What went wrong in a request that may have had its effect."""
    if isinstance(error, PublishError):
        return error
    log.error("an unexpected failure of a request", exc_info=error)
    return Unclear(f"An unexpected failure of the request: {type(error).__name__}, see the log.")
