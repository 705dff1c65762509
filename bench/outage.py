"""An outage: clusters of Call Bridges go on while the service is gone, and send it all when it is back."""

import tempfile
from pathlib import Path
from typing import Final, NamedTuple

import uvloop

from bench.contenders import service
from bench.load import send
from bench.traffic import Traffic
from bench.truth import verify
from cdr_service.simulator.bridge import LARGEST_DOCUMENT

CLUSTERS: Final = ("north", "south", "west")
BRIDGES: Final = 8
"""Of each cluster: 24 in all."""


class Outage(NamedTuple):
    """What was found."""

    records: int
    """Kept back by the bridges."""
    meetings: int
    """On all clusters, before and after."""
    per_second: float
    """Records taken in after it."""
    seconds: float
    """Until all of them were."""
    cpu: float
    """Microseconds of processor time for each of them."""


def outage(records: int) -> Outage:
    """Send about so many records, end the service, have as many kept back, and send them at once when it is back."""
    traffics = {name: Traffic(number, bridges=BRIDGES, cluster=True) for number, name in enumerate(CLUSTERS, 20)}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(2):
            pieces = {name: one.take(LARGEST_DOCUMENT, records // len(CLUSTERS)) for name, one in traffics.items()}
            posts = [bridge for name, piece in pieces.items() for bridge in piece.requests(f"/cdr/{name}")]
            with service(data=Path(folder), deployments=CLUSTERS) as running:
                before = running.cpu()
                load = uvloop.run(send(running.port, posts, sum(piece.records for piece in pieces.values())))
                cpu = (running.cpu() - before) / load.records * 1e6
                known = {name: one.known() for name, one in traffics.items()}
                # What is counted begins anew with the service.
                counted = {name: one._replace(records=pieces[name].records) for name, one in known.items()}
                verify([running.api], counted)
    meetings = sum(len(one.charges) for one in known.values())
    return Outage(load.records, meetings, load.records_per_second, load.seconds, cpu)
