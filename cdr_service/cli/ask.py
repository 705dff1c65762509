"""`calls`, `call`, `why` and `switches`: the query API in a terminal."""

from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote

import click

from cdr_service.cli.asking import ask, asking, print_json, repeat, watching
from cdr_service.cli.tables import Row, moment, show, show_facts
from cdr_service.domain.text import printable

MEETINGS_MAX: Final = 5
"""Meetings that `why` tells about unless asked for more."""


def license_text(license_: Mapping[str, Any] | None) -> str:
    """Return a license of the API in short."""
    if license_ is None:
        return "none"
    if license_["holder"]:
        return f"{license_['type']} of {license_['holder']}"
    return license_["type"] if license_["weight"] == "1" else f"{license_['weight']} {license_['type']}"


def print_hints(shown: Mapping[str, Any]) -> None:
    """Print what to look at where a license is not the one that might be expected."""
    for hint in shown["hints"]:
        click.echo(f"Look at: {printable(hint, 2000)}")


def say_more(answer: Mapping[str, Any]) -> None:
    """Say so where there is more than was shown."""
    if answer["next"]:
        click.echo(f"These are the newest {len(answer['items'])}; there are more. --limit takes up to 500.")


@click.command()
@asking
@watching
@click.option("--state", type=click.Choice(["active", "ended", "all"]), default="active", show_default=True)
@click.option("--license", "license_", type=click.Choice(["SMP+", "PMP+", "none"]))
@click.option("--find", help="A part of a name, a person, a number, a space; or an id.")
@click.option("--holder", help="Whose PMP+ pays or paid.")
@click.option("--participant", help="A user, an address or a number.")
@click.option("--name", help="A part of the name.")
@click.option("--meeting", help="Id of a meeting.")
@click.option("--deployment")
@click.option("--limit", type=click.IntRange(1, 500), default=100, show_default=True)
def calls(url: str | None, as_json: bool, watch: bool, license_: str | None, **filters: Any) -> None:
    """List calls with the license that each uses."""

    def once() -> None:
        answer = ask(url, "/v1/calls", {"license": license_, **filters})
        if as_json:
            print_json(answer)
            return
        rows = [
            Row(
                (moment(c["started_at"]), c["participants"], license_text(c["license"]), c["name"]),
                f"{c['id']}  {c['license']['reason'] if c['license'] else c['state']}",
            )
            for c in answer["items"]
        ]
        show(("started (UTC)", "people", "license", "name"), rows, "No calls.", below="id  why this license")
        say_more(answer)

    repeat(once, watch=watch)


@click.command()
@asking
@watching
@click.argument("id_", metavar="ID")
@click.option("--deployment", help="Where the id is known in several.")
def call(url: str | None, as_json: bool, watch: bool, id_: str, deployment: str | None) -> None:
    """Show one call: its license, who came and went, and how one led to the other."""
    path = f"/v1/calls/{quote(id_, safe='')}"

    def once() -> None:
        answer = ask(url, path, {"deployment": deployment}, member="transitions")
        if as_json:
            print_json(answer)
            return
        _show_call(answer)
        print_hints(answer)
        click.echo()
        legs = ask(url, f"{path}/legs", {"limit": 500, "deployment": deployment})["items"]
        show(
            ("at (UTC)", "what"),
            [row for _, row in _timeline(answer, legs)],
            "No license was taken yet.",
            below="why",
            whole=True,
        )

    repeat(once, watch=watch)


def _show_call(answer: Mapping[str, Any]) -> None:
    show_facts(
        {
            "call": answer["id"],
            "name": answer["name"],
            "state": answer["state"],
            "from (UTC)": moment(answer["started_at"]),
            "to (UTC)": moment(answer["ended_at"]),
            "people": f"{answer['participants']}, at most {answer['participants_peak']}",
            "license": license_text(answer["license"]),
            "why": (answer["license"] or {}).get("reason"),
            **{f"under {policy}": license_text(other) for policy, other in answer["alternatives"].items()},
            "meeting": answer["meeting"],
            "complete": "yes" if answer["complete"] else "no, records that could belong to it are lost",
        }
    )


def _timeline(answer: Mapping[str, Any], legs: list[dict[str, Any]]) -> list[tuple[tuple[str, int], Row]]:
    """Return who came and went, and what the license became by it, in order of time."""
    found = [((at.rstrip("Z"), 0), Row((moment(at), f"{who} {did}"))) for at, who, did in _comings(answer["id"], legs)]
    found += [
        (
            (t["at"].rstrip("Z"), t["seq"]),
            Row((moment(t["at"]), f"{license_text(t['from'])} -> {license_text(t['to'])}"), _because(t)),
        )
        for t in answer["transitions"]
    ]
    return sorted(found, key=lambda one: one[0])


def _comings(call: str, legs: list[dict[str, Any]]) -> Iterator[tuple[str, str, str]]:
    for leg in legs:
        who = leg["user"] or leg["display_name"] or leg["remote_party"] or leg["id"]
        holds = ", who holds PMP+," if leg["holds_license"] else ""
        for stay in leg["stays"]:
            if leg["counted"] and stay["call"] == call:
                yield stay["joined_at"], f"{who}{holds}", "joins"
                if stay["left_at"]:
                    yield stay["left_at"], f"{who}{holds}", "leaves"


def _because(transition: Mapping[str, Any]) -> str:
    late = ", learned later" if transition["late"] else ""
    return f"{transition['cause']}{late}: {transition['reason']}"


@click.command()
@asking
@click.argument("text", nargs=-1, required=True)
@click.option(
    "--license", "license_", type=click.Choice(["SMP+", "PMP+"]), help="Only meetings that take it, or last took it."
)
@click.option("--state", type=click.Choice(["active", "ended", "all"]), default="all", show_default=True)
@click.option("--limit", type=click.IntRange(1, 100), default=MEETINGS_MAX, show_default=True)
def why(url: str | None, as_json: bool, text: tuple[str, ...], license_: str | None, state: str, limit: int) -> None:
    """Say why meetings took their license. TEXT is a person, a number, a space, a name, or a part of one."""
    looked_for = " ".join(text)
    wanted = {"find": looked_for, "license": license_, "state": state, "limit": limit}
    answer = ask(url, "/v1/calls", wanted)
    ids = list(dict.fromkeys(c["meeting"] for c in answer["items"]))
    meetings = [ask(url, f"/v1/meetings/{quote(id_, safe='')}", member="transitions") for id_ in ids]
    if as_json:
        print_json({"items": meetings, "next": answer["next"]})
        return
    if not meetings:
        click.echo(f"Nothing is called so: {printable(looked_for)}. A part of a name, an address or a number will do.")
    for place, meeting in enumerate(meetings):
        if place:
            click.echo()
        _show_meeting(meeting)
    if answer["next"]:
        click.echo("\nThere are more, and older ones; --limit takes up to 100.")


def _show_meeting(meeting: Mapping[str, Any]) -> None:
    show_facts(
        {
            "meeting": meeting["name"] or meeting["id"],
            "call": "  ".join(one["id"] for one in meeting["calls"]),
            "from (UTC)": moment(meeting["started_at"]),
            "to (UTC)": moment(meeting["ended_at"]) or "now",
            "license": license_text(meeting["license"] or _last(meeting)),
            **{f"under {policy}": license_text(other) for policy, other in meeting["alternatives"].items() if other},
        }
    )
    print_hints(meeting)
    rows = [
        Row((moment(t["at"]), f"{license_text(t['from'])} -> {license_text(t['to'])}"), _because(t))
        for t in meeting["transitions"]
    ]
    show(("at (UTC)", "license"), rows, "No license was taken yet.", below="why", whole=True)


def _last(meeting: Mapping[str, Any]) -> dict[str, Any] | None:
    taken = [t["to"] for t in meeting["transitions"] if t["to"]]
    return taken[-1] if taken else None


@click.command()
@asking
@watching
@click.option("--kind", type=click.Choice(["type", "holder", "weight", "all"]), default="type", show_default=True)
@click.option("--late", type=click.Choice(["false", "true", "all"]), default="false", show_default=True)
@click.option("--holder", help="Whose PMP+ it was or became.")
@click.option("--limit", type=click.IntRange(1, 500), default=100, show_default=True)
def switches(url: str | None, as_json: bool, watch: bool, **filters: Any) -> None:
    """List the moments at which meetings went from one license to another."""

    def once() -> None:
        answer = ask(url, "/v1/switches", filters)
        if as_json:
            print_json(answer)
            return
        rows = [
            Row(
                (moment(s["at"]), license_text(s["from"]), license_text(s["to"]), s["name"]),
                f"{' '.join(s['calls'][:1])}  {s['reason']}",
            )
            for s in answer["items"]
        ]
        show(("at (UTC)", "from", "to", "name"), rows, "No switches.", below="id of a call  why")
        say_more(answer)

    repeat(once, watch=watch)
