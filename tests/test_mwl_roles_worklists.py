"""What the role `jobs` does with other worklists, by the settings."""

from datetime import UTC, datetime, timedelta

import pytest

from mwl.config import load
from mwl.errors import Outage, Rejected
from mwl.roles import worklists
from mwl.worklist import exports
from tests.dicom_server import serve_fixture  # noqa: F401 - a fixture
from tests.test_mwl_wlfiles import entries, entry
from tests.test_mwl_wlfiles_fetch import Peer

NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture
def peer(serve):
    scripted = Peer()
    scripted.port = serve(scripted.service()).address[1]
    return scripted


def given(tmp_path, port):
    file = tmp_path / "mwl.toml"
    file.write_text(
        f"""
        data_dir = "{tmp_path}"
        site.zone = "Europe/Berlin"
        [[worklist.source]]
        name = "ris"
        ae_title = "RIS"
        host = "127.0.0.1"
        port = {port}
        every_s = 60
        [[worklist.export]]
        folder = "lists"
        [[worklist.export]]
        folder = "orthanc"
        format = "orthanc"
        every_s = 300
        """
    )
    return load(file, {})


def test_sweeps_bring_in_and_keep_folders(sqlite_database, peer, tmp_path):
    settings = given(tmp_path, peer.port)
    peer.items = [entry(1)]
    fetchers = worklists.fetchers(settings, sqlite_database, None)
    sweeps = {each.name: each for each in worklists.sweeps(settings, sqlite_database, fetchers)}
    assert {name: each.every_s for name, each in sweeps.items()} == {
        "fetch ris": 5,
        "export lists": 30,
        "export orthanc": 300,
    }
    for each in sweeps.values():
        each.run(NOW)
    assert len(entries(sqlite_database)) == 1
    assert len(list((tmp_path / "lists" / "MWL").glob("*.wl"))) == 1
    assert len(list((tmp_path / "orthanc").glob("*.wl"))) == 1


def test_a_worklist_is_named_by_the_settings_alone(tmp_path):
    settings = given(tmp_path, 104)
    assert worklists.named(settings, "ris").ae_title == "RIS"
    with pytest.raises(Rejected, match="called his"):
        worklists.named(settings, "his")


def test_a_folder_that_can_t_be_kept_is_noted_until_it_is(database, tmp_path):
    def failing():
        with database.read() as session:
            rows = exports.failing(session)
        return {folder: (row.since, row.error) for folder, row in rows.items()}

    sweeps = worklists.sweeps(given(tmp_path, 104), database, [])
    keep = next(each for each in sweeps if each.name == "export lists")
    blocked = tmp_path / "lists"
    blocked.write_bytes(b"no folder")
    for minutes in (0, 1):
        with pytest.raises(Outage):
            keep.run(NOW + timedelta(minutes=minutes))
    ((since, error),) = failing().values()
    assert since == NOW
    assert str(blocked) in error
    blocked.unlink()
    keep.run(NOW)
    assert failing() == {}
