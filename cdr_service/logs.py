"""Log lines: one JSON object a line for programs, columns for people, and no secret in either.

structlog writes our own lines directly: its bridge to the standard library's logging costs several times as much a
line. What libraries say through the standard library comes out in the same form by a small handler.
"""

import io
import logging
import os
import re
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, TextIO

import msgspec
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from cdr_service.domain.events import EVENTS
from cdr_service.domain.text import harmless_json, printable
from cdr_service.settings.values import LogFormat, LogLevel

EVENT_NAMES: Final = EVENTS | frozenset(
    {
        # what happened to the service, beside what happened in the meetings of a deployment
        "service.started",
        "service.stopped",
        "worker.ended",
        "intake.open",
        "intake.refused",
        "request.failed",
        "document.failed",
        "events.dropped",
        "reader.dropped",
        "dead_letters.dropped",
        "directory.unreadable",
        "directory.differs",
        "directory.readable",
        "upkeep.failed",
        "tls.renewed",
        "tls.rejected",
        "store.unavailable",
        "store.restored",
        "store.unsafe",
        "store.memory",
        "library.message",
    }
)
"""Every `event` that a line may have. `library.message` is what a library said, with `logger` and `message`."""

OR_FAIL: Final = "or fail"
"""`get_logger(OR_FAIL)` makes a logger that raises OSError where a line cannot be written. Any other loses that line:
a full disk, or a reader that has left, must not be a reason for the service to do less."""


def configure_logging(format: LogFormat, level: LogLevel, stream: TextIO) -> None:  # noqa: A002 - the setting's name
    """Send every line at `level` or above to `stream`, as JSON or in columns.

    Loggers are made by `structlog.get_logger()`, or with `OR_FAIL`. One that is used as it comes looks its
    configuration up at each line; one that is kept as `get_logger().bind()` does not, is faster by a quarter, and stays
    with its stream.
    """
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")  # a log line must not fail for want of a letter
    first: list[Processor] = [_in_order, structlog.processors.format_exc_info, _without_secrets]
    if format == "json":
        output: Any = structlog.BytesLogger(stream.buffer)
        last: list[Processor] = [_json]
    else:
        colors = stream.isatty() and "NO_COLOR" not in os.environ
        output = structlog.WriteLogger(stream)
        last = [_harmless, structlog.dev.ConsoleRenderer(colors=colors, sort_keys=False)]
    structlog.configure(
        processors=first + last,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *given: output if given == (OR_FAIL,) else _Forgiving(output),
        cache_logger_on_first_use=False,
    )
    for handler in [known for known in logging.root.handlers if isinstance(known, _LibraryHandler)]:
        logging.root.removeHandler(handler)
    logging.root.addHandler(_LibraryHandler(logging.WARNING))
    logging.root.setLevel(logging.WARNING)


class _Forgiving:
    """Writes lines by another logger, and goes on without those that cannot be written."""

    def __init__(self, output: Any) -> None:
        self._output = output

    def msg(self, line: bytes | str) -> None:
        with suppress(OSError):
            self._output.msg(line)

    debug = info = warning = error = critical = msg


class _LibraryHandler(logging.Handler):
    """Writes what libraries say through the standard library's logging as lines of ours."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            structlog.get_logger().log(
                min(record.levelno // 10 * 10, logging.CRITICAL),
                "library.message",
                logger=record.name,
                message=record.getMessage(),
                exc_info=record.exc_info,
            )
        except Exception:  # noqa: BLE001 - as every handler does: a library must not fail over its log line
            self.handleError(record)


def _in_order(_logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Put event, timestamp and level first, and fill in what is missing of them."""
    name, timestamp = event.pop("event"), event.pop("timestamp", None)
    return {"event": name, "timestamp": timestamp or datetime.now(UTC), "level": method, **event}


_HIDDEN: Final = "***"
_SECRET_NAME: Final = re.compile("token|password|passcode|secret|authorization|cookie|credential", re.IGNORECASE)
# The bound on what follows a name keeps the search linear in a text such as "tokentokentoken".
_SECRET_TEXT: Final = re.compile(
    r"""((?:token|password|passcode|secret)(?:s|_\w{1,20})?["']?\s*[=:]\s*)
        (?: "(?:[^"\\]|\\.)*"? | '(?:[^'\\]|\\.)*'? | (?:bearer\s+)?[^\s&"'<>,;]+ )
      | (<[^<>]{0,40}(?:token|password|passcode|secret)>)[^<]+
      | (://[^\s/:@]*:)[^\s/]+(?=@)
      | (bearer\s+)[^\s"',]+""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
_SECRET_MARKS: Final = ("token", "pass", "secret", "bearer", "://")
_PLAIN: Final = frozenset({int, bool, float, type(None), datetime})


def _without_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Hide what is named as a secret, in keys and within texts; what is no plain value becomes one."""
    for key, value in event.items():
        kind = type(value)
        if kind in _PLAIN and not _names_secret(key):
            continue
        if kind is str and not _names_secret(key):
            if ":" in value or "=" in value or "<" in value or "earer" in value:
                event[key] = _hidden(value)
        else:
            event[key] = _walked(key, _plain(value))
    return event


def _walked(key: str, value: Any) -> Any:
    if _names_secret(key) and not isinstance(value, bool | None):
        return _HIDDEN
    if isinstance(value, str):
        return _hidden(value)
    if isinstance(value, dict):
        return {name: _walked(name, item) for name, item in value.items()}
    if isinstance(value, list):
        return [_walked("", item) for item in value]
    return value


def _plain(value: Any) -> Any:
    """Return strings, numbers, lists and mappings for whatever was logged."""
    try:
        return msgspec.to_builtins(value, str_keys=True, builtin_types=(datetime,), enc_hook=str)
    except (TypeError, ValueError, RecursionError):
        return repr(value)


@lru_cache(maxsize=1024)
def _names_secret(key: str) -> bool:
    return _SECRET_NAME.search(key) is not None


def _hidden(text: str) -> str:
    lowered = text.lower()
    if not any(word in lowered for word in _SECRET_MARKS):  # most texts: many times cheaper than the search
        return text
    return _SECRET_TEXT.sub(lambda found: found[found.lastindex or 0] + _HIDDEN, text)


def _json(_logger: WrappedLogger, _method: str, event: EventDict) -> bytes:
    """Render one line. JSON has escaped the controls below U+0020 already; the rest of what is unsafe follows here."""
    try:
        line = msgspec.json.encode(event)
    except UnicodeEncodeError:  # a lone surrogate, somewhere
        line = msgspec.json.encode({printable(key): _encodable(value) for key, value in event.items()})
    return harmless_json(line)


def _encodable(value: Any) -> Any:
    try:
        msgspec.json.encode(value)
    except UnicodeEncodeError:
        return printable(str(value))
    return value


def _harmless(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Make what came from the wire unable to act on the terminal. Values within values are shown by repr, which is."""
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = "\n".join(map(printable, value.split("\n"))) if key == "exception" else printable(value)
    moment = event["timestamp"]
    event["timestamp"] = f"{moment:%H:%M:%S}Z" if isinstance(moment, datetime) else f"{moment[11:19]}Z"
    return event
