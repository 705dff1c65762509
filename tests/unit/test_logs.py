"""Log lines are whole, ordered and harmless, and no secret is in any of them."""

import io
import json
import logging
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from cdr_service.domain.text import printable
from cdr_service.logs import EVENT_NAMES, OR_FAIL, _LibraryHandler, configure_logging
from cdr_service.settings.values import LogFormat, LogLevel

SECRET = "s3cr3t"


class Output:
    """A stream in memory, as a process's standard output is."""

    def __init__(self, encoding: str = "utf-8") -> None:
        self.stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)

    @property
    def text(self) -> str:
        """All that was written."""
        return self.stream.buffer.getvalue().decode(self.stream.encoding)

    @property
    def lines(self) -> list[dict[str, Any]]:
        """All that was written, as JSON lines."""
        assert not self.text or self.text.endswith("\n")
        return [json.loads(line) for line in self.text.split("\n")[:-1]]


def logging_to(format: LogFormat = "json", level: LogLevel = "info", encoding: str = "utf-8") -> Output:  # noqa: A002
    """Configure logging to a new stream in memory."""
    output = Output(encoding)
    configure_logging(format, level, output.stream)
    return output


def fail(text: str) -> None:
    """Raise an error with a text."""
    raise ValueError(text)


@pytest.fixture(autouse=True)
def _undo() -> Iterator[None]:
    level = logging.root.level
    yield
    structlog.reset_defaults()
    logging.root.setLevel(level)
    for handler in [known for known in logging.root.handlers if isinstance(known, _LibraryHandler)]:
        logging.root.removeHandler(handler)


def test_a_line_is_one_json_object_with_event_time_and_level_first() -> None:
    """`event`, `timestamp` and `level` lead, then the keys in the order given, whatever they are called."""
    output = logging_to()
    structlog.get_logger().bind(deployment="default").info("license.switched", **{"from": "SMP+", "to": "PMP+"})
    structlog.get_logger().warning("intake.open")
    first, second = output.lines
    assert list(first) == ["event", "timestamp", "level", "deployment", "from", "to"]
    assert (first["event"], first["level"], first["from"]) == ("license.switched", "info", "SMP+")
    assert (second["event"], second["level"]) == ("intake.open", "warning")


def test_the_time_is_rfc_3339_in_utc() -> None:
    """A line bears the time at which it was written, with Z; one that brings its time keeps it."""
    output = logging_to()
    before = datetime.now(UTC)
    structlog.get_logger().info("call.started")
    structlog.get_logger().info("call.started", timestamp="2026-01-05T09:00:00Z")
    written, brought = (line["timestamp"] for line in output.lines)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z", written)
    assert before <= datetime.fromisoformat(written) <= datetime.now(UTC)
    assert brought == "2026-01-05T09:00:00Z"


def test_lines_below_the_level_are_not_written() -> None:
    """The level is the least that comes out."""
    output = logging_to(level="warning")
    log = structlog.get_logger()
    log.debug("call.started")
    log.info("call.started")
    log.warning("store.unavailable")
    log.error("store.unavailable")
    assert [line["level"] for line in output.lines] == ["warning", "error"]


@pytest.mark.parametrize("format", ["json", "console"])
def test_a_line_that_cannot_be_written_stops_nobody_who_did_not_ask(format: LogFormat) -> None:  # noqa: A002
    """A full disk costs lines and no more, but for whoever writes them again later."""
    with Path("/dev/full").open("w") as full:
        configure_logging(format, "info", full)
        for log in (structlog.get_logger(), structlog.get_logger().bind(deployment="default")):
            log.info("service.started")
            log.error("upkeep.failed", exc_info=ValueError("…"))
        with pytest.raises(OSError, match="No space"):
            structlog.get_logger(OR_FAIL).bind().info("call.started")
        os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())  # what waits to be written is flushed at the close


def test_logging_can_be_configured_again() -> None:
    """A logger made before keeps working and writes where the last configuration says, once."""
    first = logging_to()
    log = structlog.get_logger()
    log.info("call.started")
    second = logging_to()
    log.info("call.ended")
    logging.getLogger("redis").warning("x")
    assert [line["event"] for line in first.lines] == ["call.started"]
    assert [line["event"] for line in second.lines] == ["call.ended", "library.message"]


def test_what_libraries_say_comes_out_in_our_form() -> None:
    """A warning or worse of aiohttp, asyncio or redis is one JSON line; less than that is not written."""
    output = logging_to(level="debug")
    logging.getLogger("aiohttp.access").info("GET /")
    logging.getLogger("aiohttp.server").warning("bad request from %s: ?token=%s", "192.0.2.7", SECRET)
    logging.getLogger("odd").log(35, "between two levels")
    logging.getLogger("odd").log(99, "above all levels")
    try:
        fail("broken")
    except ValueError:
        logging.getLogger("asyncio").exception("Task exception was never retrieved")
    lines = output.lines
    assert [(line["logger"], line["level"]) for line in lines] == [
        ("aiohttp.server", "warning"),
        ("odd", "warning"),
        ("odd", "critical"),
        ("asyncio", "error"),
    ]
    assert {line["event"] for line in lines} == {"library.message"}
    assert lines[0]["message"] == "bad request from 192.0.2.7: ?token=***"
    assert lines[3]["exception"].endswith("ValueError: broken")


def test_a_library_with_a_broken_message_does_not_fail(capsys: pytest.CaptureFixture[str]) -> None:
    """A message whose arguments do not fit is told on standard error, as logging does, and raises nothing."""
    output = logging_to()
    record = logging.LogRecord("odd", logging.WARNING, __file__, 1, "%d", ("x",), None)
    _LibraryHandler().handle(record)  # not by way of the root logger, where pytest's own handler raises
    assert output.lines == []
    assert "Logging error" in capsys.readouterr().err


def test_the_event_names_are_those_of_the_contract_and_ours() -> None:
    """Each name of the contract is there, and all names are of one form."""
    assert EVENT_NAMES >= CONTRACT
    assert all(re.fullmatch(r"[a-z_]+\.[a-z_]+", name) for name in EVENT_NAMES)


CONTRACT = {
    "service.started",
    "service.stopped",
    "call.started",
    "call.ended",
    "leg.joined",
    "leg.left",
    "license.assigned",
    "license.switched",
    "license.weight_changed",
    "license.released",
    "license.corrected",
    "policy.advice",
    "records.missing",
    "session.replaced",
    "document.rejected",
    "record.rejected",
    "directory.changed",
    "store.unavailable",
    "store.restored",
    "reconcile.drift",
    "reconcile.agreed",
    "intake.open",
}


@pytest.mark.parametrize("format", ["json", "console"])
@pytest.mark.parametrize(
    "fields",
    [
        {"token": SECRET},
        {"intake_token": SECRET, "X-Token": SECRET},
        {"cmsPassword": SECRET, "client_secret": SECRET, "guestPasscode": SECRET},
        {"tokens": [SECRET, SECRET]},
        {"passcode": 5_3237},
        {"nested": {"deep": [{"password": SECRET}, {"url": f"/cdr?bridge=a&token={SECRET}&x=1"}]}},
        {"url": f"https://cdr.example.com/cdr?token={SECRET}"},
        {"url": f"/cdr?TOKEN={SECRET}"},
        {"url": f"redis://user:{SECRET}@redis.example.com:6379"},
        {"url": f"redis+sentinel://:{SECRET}@a.example.com:1,b.example.com:2/service"},
        {"headers": {"Authorization": f"Bearer {SECRET}", "Cookie": SECRET}},
        {"header": f"Bearer {SECRET}"},
        {"header": f"authorization: bearer {SECRET}"},
        {"body": f"<coSpace><passcode>{SECRET} {SECRET}</passcode></coSpace>"},
        {"body": json.dumps({"passcode": SECRET})},
        {"body": json.dumps({"api_token": f'quoted " {SECRET}'})},
        {"body": repr({"password": f"with space {SECRET}"})},
        {"settings": SecretStr(SECRET)},
        {"error": ValueError(f"no answer from /cdr?token={SECRET}")},
        {"path": Path(f"/cdr?token={SECRET}")},
    ],
)
def test_no_secret_is_in_a_line(format: LogFormat, fields: dict[str, Any]) -> None:  # noqa: A002
    """Values under a secret's name, and secrets within texts, are hidden in both forms, however deep."""
    output = logging_to(format)
    structlog.get_logger().info("service.started", **fields)
    assert "service.started" in output.text
    assert SECRET not in output.text
    assert "53237" not in output.text


@pytest.mark.parametrize("format", ["json", "console"])
def test_no_secret_is_in_a_traceback(format: LogFormat) -> None:  # noqa: A002
    """An exception's text is searched as any other."""
    output = logging_to(format)
    try:
        fail(f"/cdr?token={SECRET}")
    except ValueError:
        structlog.get_logger().exception("store.unavailable")
    assert "ValueError" in output.text
    assert SECRET not in output.text


def test_what_is_no_secret_is_left_as_it_is() -> None:
    """Words that merely look alike, the fact that a secret is set, and what stands beside one are kept."""
    output = logging_to()
    fields = {
        "reason": "alice@example.com, who holds PMP+, joined as leg 1",
        "record_time": "2026-01-05T09:01:12Z",
        "remote_address": "sip:alice@example.com;transport=tls",
        "passcode_required": True,
        "token": None,
        "intake_url": "http://127.0.0.1:8080/cdr",
        "name": "Tokenize: the passing of secretaries",
    }
    structlog.get_logger().info("leg.joined", **fields)
    line = output.lines[0]
    assert {key: line[key] for key in fields} == fields
    structlog.get_logger().info("leg.joined", url=f"/cdr?bridge=a&token={SECRET}&x=1")
    assert output.lines[1]["url"] == "/cdr?bridge=a&token=***&x=1"


@given(st.text(st.characters(exclude_categories=())), st.text(st.characters(exclude_categories=())))
def test_a_json_line_is_one_line_that_can_do_nothing(name: str, nested: str) -> None:
    """Any text is written as one line without controls or direction marks, and can be read back."""
    output = logging_to()
    structlog.get_logger().info("leg.joined", name=f"({name})", nested={"x": [nested]})
    assert len(output.text.splitlines()) == 1
    line = output.text.removesuffix("\n")
    assert line == printable(line, len(line))
    if all(not "\ud800" <= character <= "\udfff" for character in name + nested):
        written = f"({name})"
        assert output.lines[0]["name"] == written or "***" in output.lines[0]["name"]


def test_a_direction_mark_is_escaped_as_json_does() -> None:
    """What a reader of JSON gets back is the text itself."""
    output = logging_to()
    name = "\x1b[2J \u202eevil\u2069 \u200f\x9b\x7f\u2028 Zoë 山"
    structlog.get_logger().info("leg.joined", name=name)
    assert r"\u001b[2J \u202eevil\u2069 \u200f\u009b\u007f\u2028 Zoë 山" in output.text
    assert output.lines[0]["name"] == name


@given(st.text(st.characters(exclude_categories=())), st.text(st.characters(exclude_categories=())))
def test_a_console_line_can_do_nothing_to_the_terminal(name: str, nested: str) -> None:
    """Any text, in values, in values within values and in the event's name, leaves one line that is only text."""
    output = logging_to("console")
    structlog.get_logger().info(f"leg.joined {name}", name=name, nested={"x": [nested]})
    line = output.text.removesuffix("\n")
    assert line == printable(line, len(line))


def test_a_traceback_on_the_console_keeps_its_lines_and_can_do_nothing_else() -> None:
    """Lines of a traceback stay lines; what an exception quotes from the wire is shown by escapes."""
    output = logging_to("console")
    try:
        fail("\x1b[2J\u202e")
    except ValueError:
        structlog.get_logger().exception("store.unavailable")
    lines = output.text.split("\n")
    assert len(lines) > 3
    assert all(line == printable(line, 1000) for line in lines)
    assert "ValueError: \\x1b[2J\\u202e" in output.text


class Unprintable:
    """A value that no encoder knows."""

    def __str__(self) -> str:
        return "some\x1bthing"


def test_a_line_is_written_whatever_is_logged() -> None:
    """Values that JSON does not know are written as text, and cost neither the line nor the values beside them."""
    output = logging_to()
    circle: list[Any] = []
    circle.append(circle)
    moment = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
    structlog.get_logger().info(
        "leg.joined",
        weight=Fraction(1, 6),
        things={1, 2},
        unknown=Unprintable(),
        circle=circle,
        at=moment,
        big=2**80,
        lone="\udc80",
        kind=b"bytes",
        by_number={1: "a"},
        beside={"call": "c1"},
    )
    line = output.lines[0]
    assert (line["weight"], line["things"], line["unknown"]) == ("1/6", [1, 2], "some\x1bthing")
    assert (line["at"], line["beside"]) == ("2026-01-05T09:00:00Z", {"call": "c1"})
    assert (line["big"], line["lone"], line["by_number"]) == (2**80, "\\udc80", {"1": "a"})
    assert line["timestamp"].endswith("Z")
    assert set(line) >= {"circle", "kind"}


def test_a_console_that_lacks_letters_gets_escapes() -> None:
    """A stream that can only write ASCII loses no line."""
    output = logging_to("console", encoding="ascii")
    structlog.get_logger().info("leg.joined", name="Zoë 山")
    assert "Zo\\xeb \\u5c71" in output.text
