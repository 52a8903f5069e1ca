"""The library's log in the server's."""

import logging
from typing import Any


class ServerLog(logging.Handler):
    """Writes what the logger `pcsr` says, from INFO on, to the server's log.

    logger: the server's `pb_utils.Logger`.
    """

    def __init__(self, logger: Any) -> None:  # noqa: ANN401
        super().__init__(logging.INFO)
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        text = f"pcsr: {self.format(record)}"
        if record.levelno >= logging.ERROR:
            self._logger.log_error(text)
        elif record.levelno >= logging.WARNING:
            self._logger.log_warn(text)
        else:
            self._logger.log_info(text)


def log_to(logger: Any) -> None:  # noqa: ANN401
    """Sends the library's log to the server's, in place of where it was sent before."""
    log = logging.getLogger("pcsr")
    for handler in [one for one in log.handlers if isinstance(one, ServerLog)]:
        log.removeHandler(handler)
    log.addHandler(ServerLog(logger))
    log.setLevel(logging.INFO)
