"""`explain`: which license a described meeting would take, under each policy, and why."""

import json
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from cdr_service.cli.ask import license_text
from cdr_service.cli.asking import ask, print_json
from cdr_service.cli.serve import config_option
from cdr_service.cli.tables import Row, show
from cdr_service.compose import now, options_of
from cdr_service.domain.description import DescriptionError, read_description
from cdr_service.domain.directory import Directory
from cdr_service.domain.explain import explain as explain_meeting
from cdr_service.domain.text import printable
from cdr_service.holders import HoldersFile
from cdr_service.settings import SettingsError, load_settings
from cdr_service.settings.models import setting_name

_STEPS: Final[Mapping[str, Callable[[Any], dict[str, Any]]]] = {
    "--join": lambda who: {"join": who},
    "--join-audio": lambda who: {"join": who, "video": False},
    "--guest": lambda _: {"join": None},
    "--leave": lambda who: {"leave": who},
    "--record": lambda on: {"record": on},
    "--stream": lambda on: {"stream": on},
}
"""Options that are steps, and what each does."""
_ORDER: Final = "order of the steps"


class _InOrder(click.Command):
    """A command some of whose options are steps, which count in the order in which they were given."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Remember the order; click hands over each option's values apart from the others'."""
        ctx.meta[_ORDER] = [name for name in (arg.partition("=")[0] for arg in args) if name in _STEPS]
        return super().parse_args(ctx, args)


@click.command(cls=_InOrder)
@config_option
@click.argument("file", required=False, type=click.Path(path_type=Path, allow_dash=True))
@click.option("--owner", help="Who owns the space.")
@click.option("--initiator", help="Who escalated an ad hoc conference in CUCM.")
@click.option("--scheduler", help="Whom TMS hands over as the owner.")
@click.option("--holder", "holders", multiple=True, help="Who holds PMP+, once for each; else the known holders.")
@click.option("--call-type", help="coSpace (the default), adHoc, lyncConferencing or forwarding.")
@click.option("--release", help="The release of the Meeting Server, such as 2.9.")
@click.option("--join", multiple=True, help="A step: this user, address or number joins.")
@click.option("--join-audio", multiple=True, help="A step: joins, and uses no video.")
@click.option("--guest", multiple=True, is_flag=True, help="A step: somebody unknown joins.")
@click.option("--leave", multiple=True, help="A step: leaves, as named on joining.")
@click.option("--record", multiple=True, is_flag=True, help="A step: recording begins.")
@click.option("--stream", multiple=True, is_flag=True, help="A step: streaming begins.")
@click.option("--deployment", help="Whose users and settings count; else the first.")
@click.option("--url", help="Ask the service at this API, by what it knows of users; else the settings here decide.")
@click.option("--json", "as_json", is_flag=True, help="The API's answer, for programs.")
@click.pass_context
def explain(
    ctx: click.Context, /, config: Path | None, file: Path | None, url: str | None, as_json: bool, **given: Any
) -> None:
    """Say which license a described meeting would take after each step, under each policy, and why.

    The meeting is described by FILE (JSON, TOML, or - for standard input), or by options. Those that are steps count
    in their order, as in: --owner carol@example.com --join bob@example.com --join alice@example.com --record
    """
    description = _description(ctx, file, given)
    try:
        checked = read_description(description)
    except DescriptionError as problem:
        raise click.UsageError(printable(str(problem), 1000)) from None
    if url is not None:
        answer = ask(url, "/v1/explain", body=description)
    else:
        directory, options = _known_here(config, checked.deployment)
        answer = msgspec.to_builtins(explain_meeting(checked, directory, options, now()))
    if as_json:
        print_json(answer)
    else:
        _print(answer)


def _description(ctx: click.Context, file: Path | None, given: Mapping[str, Any]) -> Any:
    """Return what describes the meeting, not yet checked."""
    about = ("owner", "initiator", "scheduler", "call_type", "release", "deployment")
    told = {name: given[name] for name in about if given[name] is not None}
    if given["holders"]:
        told["holders"] = list(given["holders"])
    steps = list(_steps(ctx.meta[_ORDER], given))
    if file is None:
        if not steps:
            raise click.UsageError("Describe the meeting by a FILE, or by steps such as --join bob@example.com.")
        return {**told, "steps": steps}
    if steps:
        raise click.UsageError("Give the steps in the FILE or as options, not both.")
    data = _read(file)
    return {**data, **told} if isinstance(data, dict) else data


def _steps(order: list[str], given: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    values = {name: iter(given[name.removeprefix("--").replace("-", "_")]) for name in _STEPS}
    return (_STEPS[name](next(values[name])) for name in order)


def _read(file: Path) -> Any:
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8-sig")
        return tomllib.loads(text) if file.suffix == ".toml" else json.loads(text)
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or problem
        raise click.UsageError(f"{printable(str(file))} cannot be read as a description: {reason}.") from None


def _known_here(config: Path | None, deployment: str | None) -> tuple[Directory, Any]:
    """Return the users and options of a deployment by the settings, which need no service to run."""
    settings = load_settings(config)
    name = deployment or "default"
    given = settings.deployments.get(name)
    if given is None:
        raise SettingsError(f"There is no deployment {name}; those that are set: {', '.join(settings.deployments)}.")
    if given.cms_url:
        click.echo("What the Meeting Server knows of users is not asked; --url asks a service that read it.", err=True)
    holders = HoldersFile(given, setting_name(name, "holders"))
    holders.require()
    return holders.read() or Directory([]), options_of(given)


def _print(answer: Mapping[str, Any]) -> None:
    policies = list(answer["items"][0]["licenses"])
    rows = [
        Row((number, _happens(item["step"]), *(license_text(item["licenses"][policy]) for policy in policies)))
        for number, item in enumerate(answer["items"], 1)
    ]
    show(("step", "what happens", *(f"under {policy}" for policy in policies)), rows, "Nothing happens.")
    before: Mapping[str, Any] = {"licenses": dict.fromkeys(policies), "would_change": []}
    for number, item in enumerate(answer["items"], 1):
        click.echo(f"\n{number}. {printable(_happens(item['step']))}")
        for sentence in _why(item, before):
            click.echo(printable(f"   {sentence}", 2000))
        before = item
    click.echo(f"\nThe policy that decides here is {answer['policy']}. - what decided; ~ what would have changed it.")


def _why(item: Mapping[str, Any], before: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is to be said of a step, leaving out what stays as it was before."""
    for policy, taken in item["licenses"].items():
        if taken is not None and taken == before["licenses"][policy]:
            yield f"{policy}: as before"
        elif taken is not None:
            yield f"{policy}: `{taken['rule']}`, for {taken['reason']}"
            yield f"  source: {taken['source']} (confidence: {taken['confidence']})"
    yield from (f"- {sentence}" for sentence in item["inputs"])
    if item["would_change"] != before["would_change"]:
        yield from (f"~ {sentence}" for sentence in item["would_change"])


def _happens(step: Mapping[str, Any]) -> str:
    """Return a step in words."""
    if "join" in step:
        how = ["guest"] if step.get("guest") else []
        how += ["audio only"] if step.get("video") is False else []
        how += [f"on {step['bridge']}"] if step.get("bridge") else []
        return f"{step['join'] or 'somebody unknown'} joins" + (f" ({', '.join(how)})" if how else "")
    if "leave" in step:
        return f"{step['leave'] or 'somebody unknown'} leaves"
    if "end" in step:
        return "the call ends"
    (name,) = step
    what = {"record": "recording", "stream": "streaming", "video": "video"}[name]
    return f"{what} {'begins' if step[name] else 'ends'}"
