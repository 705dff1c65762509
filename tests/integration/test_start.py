"""What a start has to do before the first document, and what it does beside."""

from pathlib import Path

from tests.feed import Feed, call_start, join
from tests.integration.command import running
from tests.integration.servers import eventually

CALLS = 200


def test_live_calls_are_looked_up_beside_the_intake(tmp_path: Path) -> None:
    """A holders file that changed while the service was down: the intake opens first, and every call follows."""
    holders = tmp_path / "holders.csv"
    holders.write_text("user,license\nalice@example.com,\n")
    settings = {"CDR_HOLDERS": str(holders), "CDR_LICENSING_PMP_CALLS_PER_USER": str(CALLS)}
    with running(tmp_path, "serve", settings=settings) as service:
        feed = Feed()
        for number in range(CALLS):
            call = f"c{number}"
            assert service.post(feed.document(call_start(call), join(f"alice-{number}", call))) == 200
        assert service.end() == 0
    holders.write_text("user,license\nalice@example.com,PMP+\n")
    with running(tmp_path, "serve", settings=settings) as service:
        eventually(lambda: len(service.events("license.switched")) == CALLS, "every call is paid by alice")
        names = [line["event"] for line in service.lines]
        assert names.index("directory.changed") < names.index("service.started") < names.index("license.switched")
        assert service.get("/v1/usage")["items"][0]["personal"]["meetings"] == CALLS
