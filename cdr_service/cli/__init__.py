"""The command line. Exit codes: 0 done, 1 the work failed, 2 the command line or the settings are wrong."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from click.exceptions import Exit

from cdr_service.cli.ask import call, calls, switches, why
from cdr_service.cli.bridges import bridges
from cdr_service.cli.describe import openapi
from cdr_service.cli.explain import explain
from cdr_service.cli.follow import tail
from cdr_service.cli.keep import check, rebuild
from cdr_service.cli.reconcile import reconcile
from cdr_service.cli.register import register
from cdr_service.cli.report import report
from cdr_service.cli.send import replay, simulate
from cdr_service.cli.serve import demo, serve
from cdr_service.cli.usage import usage
from cdr_service.errors import EmbeddedServerError, StoreLayoutError, StoreUnavailable, StoreUrlError
from cdr_service.settings import SettingsError
from cdr_service.web.server import ListenError


@contextmanager
def _until_read() -> Iterator[None]:
    """End without a failure when whoever reads the output has read enough."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # What is still in the buffer would fail once more when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise Exit(0) from None


class _Commands(click.Group):
    """The commands; click itself would call it a failure that nobody reads on."""

    def make_context(self, *args: Any, **options: Any) -> click.Context:
        with _until_read():
            return super().make_context(*args, **options)

    def invoke(self, ctx: click.Context) -> Any:
        with _until_read():
            return super().invoke(ctx)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="cdr-service")
def cli() -> None:
    """Receive the CDRs of Cisco Meeting Servers and tell which license each call uses, why, and when it switched."""


COMMANDS = (
    *(serve, demo, simulate, replay),
    *(calls, call, why, switches, usage, bridges, tail, report, explain, openapi),
    *(reconcile, register, rebuild, check),
)

for command in COMMANDS:
    cli.add_command(command)


def main() -> None:
    """Run the command line; errors that a user can mend end in one sentence."""
    _open_streams()
    try:
        cli.main(prog_name="cdr-service", standalone_mode=False)
    except click.ClickException as problem:
        problem.show()
        sys.exit(problem.exit_code)
    except click.Abort:
        sys.exit(1)
    except (SettingsError, ListenError, StoreUrlError) as problem:
        _end(str(problem), 2)
    except (EmbeddedServerError, StoreLayoutError, StoreUnavailable) as problem:
        _end(str(problem), 1)


def _open_streams() -> None:
    """Open those of the standard streams that are closed: what is opened next would take their numbers."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(descriptor, True)
            setattr(sys, name, os.fdopen(descriptor, mode))


def _end(sentence: str, code: int) -> None:
    click.echo(f"cdr-service: {sentence}", err=True)
    sys.exit(code)
