"""`mwl study`: see the archive, and link a study to its order by hand."""

import json
from pathlib import Path

from mwl import archive
from tests.archive_rows import NOW, received, study_uid
from tests.test_mwl_cli import mwl
from tests.worklist_rows import insert_items, item


def lines(done):
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_study_without_order_is_listed_and_linked_by_hand(database, database_url, tmp_path: Path):
    where = {"MWL_DATABASE__URL": database_url}
    archive.store(database, received(1, study=1, AccessionNumber=""))
    archive.store(database, received(2, study=1, AccessionNumber=""))
    archive.store(database, received(3, study=2, series=2))
    database.write(lambda session: insert_items(session, [item(2), item(7)]))
    archive.link_unmatched(database, NOW)

    first, second = lines(mwl(tmp_path, "study", "list", "--json", **where))
    assert first == {
        "study_instance_uid": study_uid(1),
        "patient_id": "P1",
        "patient_name": "Doe^Number1",
        "accession_number": "",
        "study_date": "20300102",
        "description": "",
        "instances": 2,
        "received_at": "2030-01-02T08:00:00+00:00",
        "imaging_order": None,
        "matched_by": "",
        "differs": False,
    }
    assert (second["imaging_order"], second["matched_by"]) == (1, "accession")
    (only,) = lines(mwl(tmp_path, "study", "list", "--unmatched", "--json", **where))
    assert only == first

    done = mwl(tmp_path, "study", "link", study_uid(1), "--accession", "ACC7", **where)
    assert (done.returncode, done.stdout) == (
        0,
        "linked: order 2, accession ACC7\nnote: the images name another patient than the order\n",
    )
    assert lines(mwl(tmp_path, "study", "list", "--unmatched", "--json", **where)) == []
    assert mwl(tmp_path, "study", "list", "--unmatched", **where).stdout == "none\n"
    assert "hand" in mwl(tmp_path, "study", "list", **where).stdout

    done = mwl(tmp_path, "study", "unlink", study_uid(1), **where)
    assert (done.returncode, done.stdout) == (0, "unlinked: from order 2\n")
    assert lines(mwl(tmp_path, "study", "list", "--unmatched", "--json", **where)) == [
        {**first, "matched_by": "hand"}
    ]
    again = mwl(tmp_path, "study", "unlink", study_uid(1), **where)
    assert (again.returncode, again.stderr) == (
        1,
        "mwl: STUDY_UID: the study belongs to no order\n",
    )


def test_what_is_quarantined_is_listed_apart(sqlite_database, sqlite_url, tmp_path: Path):
    where = {"MWL_DATABASE__URL": sqlite_url}
    archive.store(sqlite_database, received(1))
    archive.store(sqlite_database, received(1, content="other", source="WS"))
    (row,) = lines(mwl(tmp_path, "study", "list", "--quarantined", "--json", **where))
    assert (row["source"], row["study_instance_uid"]) == ("WS", study_uid(1))
    assert row["reason"] == "the SOP instance UID is known with other content from another source"
    assert "another source" in mwl(tmp_path, "study", "list", "--quarantined", **where).stdout
    both = mwl(tmp_path, "study", "list", "--quarantined", "--unmatched", **where)
    assert both.returncode == 2


def test_a_link_that_cannot_be_made_says_why(sqlite_database, sqlite_url, tmp_path: Path):
    where = {"MWL_DATABASE__URL": sqlite_url}
    archive.store(sqlite_database, received(1))
    same = {"accession_number": "TWICE"}
    two = [item(8, procedure=same), item(9, procedure=same)]
    sqlite_database.write(lambda session: insert_items(session, two))

    neither = mwl(tmp_path, "study", "link", study_uid(1), **where)
    assert (neither.returncode, neither.stderr) == (
        2,
        "mwl: which order? Give --accession or --order\n",
    )
    unknown = mwl(tmp_path, "study", "link", "1.2.3", "--order", "1", **where)
    assert unknown.returncode == 1
    assert "no such study" in unknown.stderr
    nobody = mwl(tmp_path, "study", "link", study_uid(1), "--accession", "NONE", **where)
    assert (nobody.returncode, nobody.stderr) == (
        1,
        "mwl: --accession: no order with a procedure has it\n",
    )
    several = mwl(tmp_path, "study", "link", study_uid(1), "--accession", "TWICE", **where)
    assert several.returncode == 1
    assert "add --order, of 1, 2" in several.stderr
    narrowed = ["--accession", "TWICE", "--order", "2"]
    assert mwl(tmp_path, "study", "link", study_uid(1), *narrowed, **where).returncode == 0
