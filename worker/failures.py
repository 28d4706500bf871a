"""What the log says of background work that fails, which is always tried again: it stands in the database."""

import logging

from models import faults
from models.errors import WaybillError


def note(log: logging.Logger, what: str, error: Exception) -> None:
    """PostgreSQL or S3 being away is a line and no trace: nobody has to look for a fault of ours."""
    known = error if isinstance(error, WaybillError) else faults.translate(error)
    if known is not None:
        log.warning("%s waits: %s", what, known)
    else:
        log.error("%s failed", what, exc_info=error)
