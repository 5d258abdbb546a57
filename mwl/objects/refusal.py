"""What a bucket says when it does not do as it is asked, in the house's words."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from mwl.errors import MwlError, Outage
from mwl.objects.bucket import Bucket
from mwl.objects.store import Full, Missing

NO_PARTIAL = "it gives no part of an object"

_CODE = re.compile(r"<Code>(\w{1,60})</Code>")
_STATUS = re.compile(r"status code: (\d{3})")
_URL = re.compile(r"https?://\S+")
_LONGEST = 160

_RIGHTS = "look at archive.access_key_id, archive.secret_access_key and the bucket's policy"
_REACH = "see that it works and that this machine reaches it"
_NO_ROOM = {"InsufficientStorage", "QuotaExceeded", "StorageFull", "XMinioStorageFull"}
_NO_BUCKET = {"NoSuchBucket", "ContainerNotFound"}
_ADVICE = {
    **dict.fromkeys(_NO_BUCKET, "create it, or name another in archive.objects"),
    "SignatureDoesNotMatch": "archive.secret_access_key (or its variable) is wrong",
    "InvalidAccessKeyId": "archive.access_key_id (or its variable) is unknown there",
    "RequestTimeTooSkewed": "this machine's clock and its own differ: set the clock",
    "AuthorizationHeaderMalformed": "archive.region is another one, perhaps",
    "PermanentRedirect": "archive.region or archive.endpoint is another one",
    "AccessDenied": _RIGHTS,
    "403": _RIGHTS,
    "401": _RIGHTS,
}


class Refused(Outage):
    """A bucket did not do as it was asked."""

    def __init__(self, text: str, problem: str, status: int | None) -> None:
        super().__init__(text)
        self.problem = problem
        self.status = status


@contextmanager
def refusals(bucket: Bucket, key: str | None = None) -> Iterator[None]:
    """Raise Full, Missing (of `key`) or Outage for what obstore raises."""
    try:
        yield
    except MwlError:
        raise
    except Exception as error:
        raise _refusal(bucket, key, error) from None
    except BaseException as error:
        # A panic of obstore's is no Exception, and would end the thread without a word.
        if type(error).__name__ != "PanicException":
            raise
        raise _refusal(bucket, key, error) from None


def _refusal(bucket: Bucket, key: str | None, error: BaseException) -> MwlError:
    text = str(error)
    code = found.group(1) if (found := _CODE.search(text)) else ""
    status = int(found.group(1)) if (found := _STATUS.search(text)) else None
    is_missing = isinstance(error, FileNotFoundError) and code not in _NO_BUCKET
    if key is not None and is_missing:
        return Missing(f"there is no object {key} in {bucket}")
    if code in _NO_ROOM or status == 507:
        return Full(f"{bucket} is full ({code or status}); make room")
    problem, advice = _problem(text, code, status)
    text = f"{bucket} does not keep or give images: {problem}{advice}"
    return Refused(text, problem, status)


def _problem(text: str, code: str, status: int | None) -> tuple[str, str]:
    """Say what is wrong and what to do; nothing of what was asked, which may be signed."""
    if "non-partial response" in text:
        return NO_PARTIAL, ""
    advice = _ADVICE.get(code) or _ADVICE.get(str(status))
    problem = " ".join(filter(None, (code, str(status or ""))))
    if not problem:
        line = text.partition("\n")[0].rpartition(" - ")[2]
        problem = _URL.sub("…", line)[:_LONGEST]
    return problem, f"; {advice or _REACH}"
