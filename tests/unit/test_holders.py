"""The holders file is looked at again and again, and says once what is wrong with it."""

from pathlib import Path

from structlog.testing import capture_logs

from cdr_service.domain.holders_file import parse_holders
from cdr_service.holders import HoldersFile
from cdr_service.settings import DeploymentSettings

GOOD = "user,license\nalice@example.com,PMP+\n"


def test_a_problem_is_told_once_and_the_last_good_file_holds(tmp_path: Path) -> None:
    """It is told again only after the file was good in between, or where the problem is another one."""
    path = tmp_path / "holders.csv"
    path.write_text(GOOD)
    with capture_logs() as logs:
        file = HoldersFile(DeploymentSettings(holders=path), "CDR_HOLDERS")
        file.require()
        good = parse_holders(GOOD, format="csv").version
        for text, told in (("nothing", 1), ("nothing", 1), ("user,license\nx,\n", 2), (GOOD, 2), ("nothing", 3)):
            path.write_text(text)
            directory = file.read()
            assert directory is not None
            assert directory.version == good
            assert len(logs) == told
    assert {line["event"] for line in logs} == {"directory.unreadable"}
