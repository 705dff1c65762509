"""What a service knows in the end, as its API tells it, without what arrival alone decides."""

import asyncio
from typing import Any

import aiohttp

from tests.faults.service import Service, answer_of

AT_ONCE = 16


async def facts(service: Service) -> dict[str, Any]:
    """Return all calls and legs, all meetings with their timelines, the switches, the bridges, what is and was in use.

    Left out is when and how often we received something, whether a change was learned late, the time of asking, and in
    which order the calls of a meeting became known.
    """
    async with aiohttp.ClientSession(service.api_url, connector=aiohttp.TCPConnector(limit=AT_ONCE)) as http:
        calls = {call["id"]: call for call in await _all(http, "/v1/calls", state="all")}
        meetings = {call["meeting"] for call in calls.values()}
        whole = await asyncio.gather(*(answer_of(http, f"/v1/calls/{id_}") for id_ in calls))
        legs = await asyncio.gather(*(_all(http, f"/v1/calls/{id_}/legs") for id_ in calls))
        found = await asyncio.gather(*(answer_of(http, f"/v1/meetings/{id_}") for id_ in meetings))
        switches = await _all(http, "/v1/switches", kind="all", late="all")
        bridges = (await answer_of(http, "/v1/bridges"))["items"]
        usage = (await answer_of(http, "/v1/usage"))["items"]
        letters = await _all(http, "/v1/dead-letters")
        until = max((call["ended_at"] or "" for call in calls.values()), default="")
        history = await _all(http, "/v1/usage/history", step="1m", **({"until": until} if until else {}))
        peak = await answer_of(http, "/v1/usage/peak")
    return {
        "calls": {call["id"]: _timeless(call) for call in whole},
        "legs": dict(zip(calls, ({leg["id"]: leg for leg in of} for of in legs), strict=True)),
        "meetings": {meeting["id"]: _timeless(meeting) for meeting in found},
        "switches": sorted((_switch(switch) for switch in switches), key=str),
        "bridges": {bridge["call_bridge"]: _without(bridge, "last_received_at", "duplicates") for bridge in bridges},
        "usage": [_without(used, "at") for used in usage],
        "history": {step["start"]: step for step in history},
        "peak": {**peak, "meetings": sorted(peak["meetings"], key=str)},
        "dead letters": len(letters),
    }


async def _all(http: aiohttp.ClientSession, path: str, **parameters: str) -> list[dict[str, Any]]:
    """Return the items of all pages."""
    items: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        page = await answer_of(http, path, limit="500", **parameters, **cursor)
        items += page["items"]
        if page["next"] is None:
            return items
        cursor = {"cursor": page["next"]}


def _without(value: dict[str, Any], *names: str) -> dict[str, Any]:
    return {key: one for key, one in value.items() if key not in names}


def _timeless(value: dict[str, Any]) -> dict[str, Any]:
    return {**value, "transitions": [_without(change, "late") for change in value["transitions"]]}


def _switch(value: dict[str, Any]) -> dict[str, Any]:
    return {**_without(value, "late"), "calls": sorted(value["calls"])}


def nothing_in_use(found: dict[str, Any]) -> bool:
    """Say whether all licenses are back and nobody is in."""
    return all(
        (used["calls"], used["participants"], used["personal"]["meetings"], used["shared"]["sixths"]) == (0, 0, 0, 0)
        for used in found["usage"]
    )
