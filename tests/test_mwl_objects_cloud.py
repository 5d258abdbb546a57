"""A bucket that refuses, is slow, or goes away: told in words, never waited for without end."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mwl.config import Archive
from mwl.errors import ConfigError, Outage
from mwl.objects import Full, ObjectStore, bucket, open_store
from mwl.objects.bucket import Bucket
from mwl.objects.refusal import refusals
from tests import s3
from tests.test_mwl_objects import MIB, NOBODY, fill, get, put

NOWHERE = Path("/nonexistent")


_FORK = """
import os
from pathlib import Path
from mwl.config import load
from mwl.objects import open_store

store = open_store(load(None, os.environ).archive, Path("/nonexistent"))
def put():
    writer = store.create()
    writer.write(b"x")
    writer.finish()
children = []
for _ in range(2):
    children.append(os.fork())
    if not children[-1]:
        break
put()
if 0 not in children:
    for child in children:
        assert os.waitpid(child, 0)[1] == 0
"""


def store(given: Archive, **changed: object) -> ObjectStore:
    return open_store(given.model_copy(update=changed), NOWHERE)


def attempts(objects: ObjectStore) -> list[tuple[str, Callable[[], object]]]:
    """Give everything that can be asked of a store."""
    return [
        ("a small object", lambda: put(objects, b"x")),
        ("a large object", lambda: put(objects, bytes(12 * MIB))),
        ("read", lambda: get(objects, NOBODY)),
        ("a part", lambda: get(objects, NOBODY, 5, 5)),
        ("size", lambda: objects.size(NOBODY)),
        ("keys", lambda: list(objects.keys())),
        ("delete", lambda: objects.delete(NOBODY)),
    ]


def every_attempt_fails(objects: ObjectStore, pattern: str) -> None:
    for name, attempt in attempts(objects):
        told = ""
        with pytest.raises(Outage, match=pattern) as caught:
            told = f"{name}: {attempt()}"
        assert not told
        assert s3.SECRET not in str(caught.value)
        assert not isinstance(caught.value, Full)


def test_a_wrong_secret_is_told_and_never_shown(s3_bucket: Archive) -> None:
    objects = store(s3_bucket, secret_access_key="wrong-" + s3.SECRET)
    every_attempt_fails(objects, r"secret_access_key|archive\.access_key_id")
    assert s3.SECRET not in repr(objects)
    assert s3.SECRET not in repr(s3_bucket)


def test_an_unknown_key_id_is_told(s3_bucket: Archive) -> None:
    with pytest.raises(Outage, match=r"InvalidAccessKeyId 403; archive\.access_key_id"):
        put(store(s3_bucket, access_key_id="NOBODY"), b"x")


@pytest.mark.parametrize("kind", ["s3_bucket", "moto_bucket"])
def test_a_missing_bucket_is_an_outage_not_a_missing_object(
    request: pytest.FixtureRequest, kind: str
) -> None:
    given: Archive = request.getfixturevalue(kind)
    every_attempt_fails(store(given, objects="s3://no-such-bucket"), "NoSuchBucket 404; create it")


def test_a_bucket_out_of_reach_is_an_outage(s3_bucket: Archive) -> None:
    with pytest.raises(Outage, match="this machine reaches it"):
        put(store(s3_bucket, endpoint="http://127.0.0.1:1"), b"x")


def test_a_bucket_that_does_not_answer_is_not_waited_for(
    s3_bucket: Archive, proxy: s3.Proxy, impatient: None
) -> None:
    proxy.stall()
    every_attempt_fails(store(s3_bucket, endpoint=f"http://127.0.0.1:{proxy.port}"), "s3://bucket")


def test_a_bucket_that_stalls_in_mid_upload_is_not_waited_for(
    s3_bucket: Archive, proxy: s3.Proxy, impatient: None
) -> None:
    objects = store(s3_bucket, endpoint=f"http://127.0.0.1:{proxy.port}")
    writer = objects.create()
    fill(writer, 6, MIB)
    proxy.stall()
    with pytest.raises(Outage):
        fill(writer, 40, MIB)
    with pytest.raises(Outage, match="given up"):
        writer.finish()
    before = time.monotonic()
    writer.discard()
    assert time.monotonic() - before < bucket._REQUEST_S  # it waits for nothing
    assert list(store(s3_bucket).keys()) == []


def test_a_bucket_that_goes_away_in_mid_upload_is_an_outage(
    s3_bucket: Archive, proxy: s3.Proxy, impatient: None
) -> None:
    objects = store(s3_bucket, endpoint=f"http://127.0.0.1:{proxy.port}")
    writer = objects.create()
    fill(writer, 6, MIB)
    proxy.cut()
    with pytest.raises(Outage):
        fill(writer, 40, MIB)
    writer.discard()
    assert list(store(s3_bucket).keys()) == []


def test_a_bucket_that_stalls_in_mid_download_is_an_outage(
    s3_bucket: Archive, proxy: s3.Proxy, impatient: None
) -> None:
    key = put(store(s3_bucket), bytes(32 * MIB))
    reader = store(s3_bucket, endpoint=f"http://127.0.0.1:{proxy.port}").read(key)
    assert next(reader)
    proxy.stall()
    with pytest.raises(Outage):
        for _ in reader:
            pass


def test_a_bucket_that_comes_back_is_used_again(s3_bucket: Archive, impatient: None) -> None:
    server = s3.Rclone()
    try:
        given = s3._fresh(server)
        objects = store(given)
        kept = put(objects, b"kept")
        server.stop()
        with pytest.raises(Outage):
            put(objects, b"refused")
        again = s3.Rclone(port=server.port, folder=server.folder)
        try:
            assert get(objects, kept) == b"kept"
            put(objects, b"taken")
        finally:
            again.stop()
    finally:
        server.remove()


def test_discard_leaves_no_parts_of_an_upload(moto_bucket: Archive) -> None:
    writer = store(moto_bucket).create()
    fill(writer, 12, MIB)
    name = moto_bucket.objects.split("/")[2]
    listing = s3.client(moto_bucket).list_multipart_uploads
    assert listing(Bucket=name).get("Uploads")
    writer.discard()
    assert not listing(Bucket=name).get("Uploads")


def test_what_others_keep_in_the_bucket_is_not_ours(s3_bucket: Archive) -> None:
    objects = store(s3_bucket)
    key = put(objects, b"ours")
    name = s3_bucket.objects.split("/")[2]
    for other in ("images/notes.txt", "elsewhere/" + NOBODY, NOBODY):
        s3.client(s3_bucket).put_object(Bucket=name, Key=other, Body=b"theirs")
    assert list(objects.keys()) == [key]
    assert objects.size(NOBODY) is None


def test_more_keys_than_a_page_are_listed(moto_bucket: Archive) -> None:
    objects = store(moto_bucket)
    keys = {put(objects, b"x") for _ in range(1_005)}
    assert set(objects.keys()) == keys


def test_credentials_may_come_from_the_environment(
    s3_bucket: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_bucket.endpoint)
    monkeypatch.setenv("AWS_REGION", s3_bucket.region)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_bucket.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_bucket.secret_access_key)
    objects = open_store(Archive(objects=s3_bucket.objects), NOWHERE)
    assert get(objects, put(objects, b"x")) == b"x"


def test_a_store_is_opened_before_the_fork_and_used_after_it(s3_bucket: Archive) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _FORK],
        env={**os.environ, **s3.environ(s3_bucket)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert len(list(store(s3_bucket).keys())) == 3


@pytest.mark.parametrize(
    ("endpoint", "text"),
    [
        ("http://s3.hospital.example:9000", "in the clear"),
        ("s3.hospital.example", "must be written https://HOST"),
        ("https://127.0.0.1:99999", "must be written https://HOST"),
        ("ftp://127.0.0.1", "must be written https://HOST"),
        ("https://key:secret@s3.example", "must be written https://HOST"),
    ],
)
def test_an_endpoint_that_can_not_be_used_is_a_wrong_setting(endpoint: str, text: str) -> None:
    with pytest.raises(ConfigError, match=rf"archive\.endpoint: .*{text}") as caught:
        open_store(Archive(objects="s3://bucket", endpoint=endpoint), NOWHERE)
    assert "secret" not in str(caught.value)


def test_a_variable_that_can_not_be_used_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^AWS_ENDPOINT_URL: "):
        bucket.parse(Archive(objects="s3://bucket"), {"AWS_ENDPOINT_URL": "nowhere"})


def test_plain_http_is_possible_where_somebody_says_so() -> None:
    given = Archive(objects="s3://bucket", endpoint="http://10.0.0.9:9000")
    assert bucket.parse(given, {"AWS_ALLOW_HTTP": "true"}).endpoint == "http://10.0.0.9:9000"


@pytest.mark.parametrize(
    ("objects", "where"),
    [
        ("s3://bucket", Bucket("s3", "bucket", "", "")),
        ("gs://bucket/a/b/", Bucket("gs", "bucket", "a/b", "")),
        ("az://container/a", Bucket("az", "container", "a", "")),
    ],
)
def test_a_bucket_and_its_prefix_are_read(objects: str, where: Bucket) -> None:
    assert bucket.parse(Archive(objects=objects), {}) == where


def test_keys_of_another_provider_are_refused() -> None:
    with pytest.raises(ConfigError, match="GOOGLE_APPLICATION_CREDENTIALS"):
        open_store(Archive(objects="gs://bucket", access_key_id="x"), NOWHERE)


@pytest.mark.parametrize("code", ["QuotaExceeded", "XMinioStorageFull"])
def test_a_full_bucket_is_full(code: str) -> None:
    answer = f"status code: 400 Bad Request: <Error><Code>{code}</Code></Error>"
    with pytest.raises(Full, match=code), refusals(Bucket("s3", "bucket", "", "")):
        raise OSError(answer)


def test_what_was_asked_is_not_repeated() -> None:
    answer = "Error performing PUT https://x/y?sig=SECRET in 1s - sent to https://x?sig=SECRET"
    with pytest.raises(Outage) as caught, refusals(Bucket("az", "bucket", "", "")):
        raise OSError(answer)
    assert "SECRET" not in str(caught.value)
