"""`cdr-service check`: one line for each thing that would fail or is unsafe, and an exit code for programs."""

from pathlib import Path

import pytest

from cdr_service.domain.audit import ambiguous
from cdr_service.domain.directory import Directory, User
from cdr_service.domain.holders_file import parse_holders
from cdr_service.simulator.api_model import CoSpace, example_directory
from cdr_service.store.keys import Keys
from cdr_service.store.layout import LAYOUT
from tests.integration.command import run, running
from tests.integration.meeting_server import meeting_server
from tests.integration.servers import store_server

HOLDERS = "user,license,aliases,spaces\nalice@example.com,PMP+,1001,\nbob@example.com,,1002,\n"


def holders(folder: Path, text: str = HOLDERS) -> str:
    """Write a holders file; return its path."""
    file = folder / "holders.csv"
    file.write_text(text)
    return str(file)


def lines(output: str) -> list[str]:
    """Return what was found, a line each, and the last line."""
    return output.splitlines()


class TestGood:
    """Where all is well."""

    def test_the_embedded_store_without_a_service(self, tmp_path: Path) -> None:
        """Nothing is found, and it ends with 0."""
        told = run(tmp_path, "check", CDR_HOLDERS=holders(tmp_path))
        assert (told.returncode, told.stdout, told.stderr) == (0, "Nothing would fail.\n", "")

    def test_beside_a_service(self, tmp_path: Path) -> None:
        """A service that runs on the same store is not in the way, nor is it disturbed."""
        with running(tmp_path, "serve") as service:
            assert service.status("/readyz") == 200
            told = run(tmp_path, "check", CDR_HOLDERS=holders(tmp_path))
            assert (told.returncode, told.stdout) == (0, "Nothing would fail.\n")
            assert service.status("/readyz") == 200

    def test_the_store_is_only_read(self, tmp_path: Path) -> None:
        """An empty store is empty afterwards."""
        with store_server() as server:
            told = run(tmp_path, "check", CDR_HOLDERS=holders(tmp_path), CDR_REDIS_URL=server.url)
            assert (told.returncode, told.stdout) == (0, "Nothing would fail.\n")
            assert server.ask("DBSIZE") == 0


class TestNotes:
    """What would not fail, but is less safe or less good than it could be: said, and no failure."""

    def test_an_unsafe_store(self, tmp_path: Path) -> None:
        """Its settings are named, with what they can lose and what to set."""
        with store_server(maxmemory_policy="allkeys-lru", appendfsync="everysec") as server:
            told = run(tmp_path, "check", CDR_HOLDERS=holders(tmp_path), CDR_REDIS_URL=server.url)
        assert told.returncode == 0
        evicts, syncs, last = lines(told.stdout)
        assert evicts.startswith("note  The store redis://127.0.0.1")
        assert "set maxmemory-policy noeviction" in evicts
        assert "set appendfsync always" in syncs
        assert last == "Nothing would fail."

    def test_nobody_holds_a_license(self, tmp_path: Path) -> None:
        """Without a holders file, or with one in which nobody holds PMP+, every meeting takes SMP+."""
        told = run(tmp_path, "check")
        assert lines(told.stdout)[0].startswith("note  Neither CDR_HOLDERS nor the API of the Meeting Server is set")
        told = run(tmp_path, "check", CDR_HOLDERS=holders(tmp_path, "user,license\nalice@example.com,\n"))
        assert "in which nobody holds PMP+" in lines(told.stdout)[0]

    def test_an_intake_that_is_open(self, tmp_path: Path) -> None:
        """What was allowed on purpose is still said."""
        settings = {"CDR_INTAKE_BIND": "0.0.0.0:8080", "CDR_INTAKE_OPEN": "true", "CDR_HOLDERS": holders(tmp_path)}
        told = run(tmp_path, "check", **settings)
        assert told.returncode == 0
        assert lines(told.stdout)[0] == (
            "note  Anybody who reaches the intake may push to the deployment default (CDR_INTAKE_OPEN): set"
            " CDR_INTAKE_TOKEN or CDR_INTAKE_ALLOW."
        )

    def test_names_that_say_nothing(self, tmp_path: Path) -> None:
        """An alias or a space of several users is named with them."""
        text = (
            "user,license,aliases,spaces\nalice@example.com,PMP+,1001 cost-7,a1\n"
            "bob@example.com,,+1001 COST-7,A1\ncarol@example.com,,1003,\n"
        )
        told = run(tmp_path, "check", CDR_HOLDERS=holders(tmp_path, text))
        assert told.returncode == 0
        assert len(lines(told.stdout)) == 4
        directory = parse_holders(text, format="csv")
        both = "says nothing, because several users have it: alice@example.com, bob@example.com."
        assert list(ambiguous(directory)) == [
            f"the alias 1001 {both}",
            f"the alias cost-7 {both}",
            f"the space a1 {both}",
        ]
        for party, tag in (("1001", None), (None, "cost-7")):
            found = directory.identify(
                leg_type="sip", guest=None, remote_party=party, remote_address=None, cdr_tag=tag, direction=None
            )
            assert found.user is None
        assert directory.space("a1").owner.user is None

    def test_names_of_one_user(self) -> None:
        """A user may list the same alias in two spellings."""
        user = User("alice@example.com", holds_license=True, aliases=("1001", "+1001"), spaces=("a", "A"))
        assert list(ambiguous(Directory([user]))) == []


class TestTheApi:
    """What is said of the Meeting Server, and of what it says."""

    def test_the_directory(self, tmp_path: Path) -> None:
        """Its users and spaces are looked at with the holders file over them; the password is not said."""
        directory = example_directory(holders=["alice@example.com"], users=["bob@example.com"])
        directory.spaces["space-a"] = CoSpace("space-a", "Rendezvous")
        with meeting_server(tmp_path / "cms", directory) as server:
            file = holders(tmp_path, "user,license\nbob@example.com,PMP+\ncarol@example.com,PMP+\n")
            told = run(tmp_path, "check", CDR_HOLDERS=file, **server.settings)
        assert told.returncode == 0
        assert [line.removeprefix("note  Directory of default: ") for line in lines(told.stdout)[:3]] == [
            "the holders file names users whom the Meeting Server does not know: carol@example.com.",
            "whether they hold PMP+ is not certain, because the holders file says otherwise: bob@example.com.",
            "spaces without an owner, which no PMP+ pays unless a holder joins (join): Rendezvous.",
        ]
        assert "may import the same users" in lines(told.stdout)[3]
        assert server.settings["CDR_CMS_PASSWORD"] not in told.stdout + told.stderr

    def test_it_cannot_be_reached(self, tmp_path: Path) -> None:
        """That fails, and so does a wrong password."""
        with meeting_server(tmp_path / "cms", example_directory()) as server:
            told = run(tmp_path, "check", **{**server.settings, "CDR_CMS_PASSWORD": "wrong"})
            assert told.returncode == 1
            assert "check CDR_CMS_USERNAME and _PASSWORD" in lines(told.stdout)[0]
            server.go_away()
            told = run(tmp_path, "check", **server.settings)
        assert told.returncode == 1
        assert "does not answer" in lines(told.stdout)[0]


class TestFails:
    """What would keep the service from its work: each in a line, and it ends with 1."""

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("user,license\nalice@example.com,gold\n", 'Line 2: the license is "gold"; write PMP+ or leave it empty.'),
            ("name\nalice\n", "Line 1: the columns must be user,license,aliases,spaces"),
        ],
    )
    def test_a_wrong_holders_file(self, tmp_path: Path, text: str, reason: str) -> None:
        """The line is named, and the rest is looked at all the same."""
        file = holders(tmp_path, text)
        told = run(tmp_path, "check", CDR_HOLDERS=file, CDR_REDIS_URL="redis://127.0.0.1:1")
        assert told.returncode == 1
        first, second = lines(told.stdout)
        assert first.startswith(f"FAILS CDR_HOLDERS names {file}, which cannot be used: {reason}")
        assert second == ("FAILS The store redis://127.0.0.1:1 cannot be reached: Connection refused.")
        assert told.stderr == "Error: The service would not do its work with these settings.\n"

    def test_each_deployment(self, tmp_path: Path) -> None:
        """The holders file of each is read, and named by its setting."""
        config, bad = tmp_path / "config.toml", tmp_path / "bad.csv"
        bad.write_text("nothing")
        config.write_text(f'holders = "{holders(tmp_path)}"\n[deployments.branch]\nholders = "{bad}"\n')
        told = run(tmp_path, "check", "--config", str(config))
        assert told.returncode == 1
        (line,) = lines(told.stdout)
        assert line.startswith(f"FAILS deployments.branch.holders names {bad}")

    def test_a_full_store(self, tmp_path: Path) -> None:
        """It would refuse every document; what to change is said."""
        with store_server(maxmemory="1kb") as server:
            told = run(tmp_path, "check", CDR_HOLDERS=holders(tmp_path), CDR_REDIS_URL=server.url)
        assert told.returncode == 1
        assert "is full (maxmemory 0 MiB), so documents are refused with 503: raise its maxmemory" in told.stdout

    def test_a_store_of_a_newer_release(self, tmp_path: Path) -> None:
        """It is not touched, and what to do is said."""
        with store_server() as server:
            server.ask("SET", Keys("default").layout, LAYOUT + 1)
            for command in ("check", "rebuild", "replay --dead-letters"):
                told = run(tmp_path, *command.split(), CDR_HOLDERS=holders(tmp_path), CDR_REDIS_URL=server.url)
                assert told.returncode == 1
                assert "The store was written by a newer release" in told.stdout + told.stderr
            assert server.ask("DBSIZE") == 1

    def test_a_certificate_without_its_key(self, tmp_path: Path) -> None:
        """The pair is named."""
        certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
        certificate.write_text("soon")
        key.write_text("soon")
        told = run(
            *(tmp_path, "check"),
            CDR_HOLDERS=holders(tmp_path),
            CDR_INTAKE_TLS_CERT=str(certificate),
            CDR_INTAKE_TLS_KEY=str(key),
        )
        assert told.returncode == 1
        assert lines(told.stdout)[0].startswith(f"FAILS The certificate {certificate} and the key {key} cannot be used")

    def test_a_data_folder_that_cannot_be_used(self, tmp_path: Path) -> None:
        """The embedded store's own sentence is said."""
        file = tmp_path / "file"
        file.write_text("")
        told = run(tmp_path, "check", CDR_HOLDERS=holders(tmp_path), CDR_DATA_DIR=str(file))
        assert told.returncode == 1
        assert "cannot be used for the embedded store" in lines(told.stdout)[0]

    def test_wrong_settings(self, tmp_path: Path) -> None:
        """It ends with 2, as every command does."""
        told = run(tmp_path, "check", CDR_POLICY="first")
        assert (told.returncode, told.stdout) == (2, "")
        assert "CDR_POLICY" in told.stderr
