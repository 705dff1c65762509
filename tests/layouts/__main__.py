"""`python -m tests.layouts`: take down a store of today's layout."""

import tempfile
from pathlib import Path

from tests.integration.command import running
from tests.integration.servers import store_server
from tests.layouts import FOR_EVER, post_first, write


def main() -> None:
    """Run the service on a store, push the samples, and write down what is there then."""
    with tempfile.TemporaryDirectory() as folder, store_server() as server:
        holders = Path(folder, "holders.csv")
        holders.write_text("user,license,aliases,spaces\nalice@example.com,PMP+,,\nbob@example.com,,,\n")
        settings = {**FOR_EVER, "CDR_REDIS_URL": server.url, "CDR_HOLDERS": str(holders)}
        with running(Path(folder), "serve", settings=settings) as service:
            post_first(service)
            print(write(server, service))  # noqa: T201 - the answer of a script


main()
