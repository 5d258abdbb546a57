"""An archive of years, for benchmarks of queries: many studies, few instances each."""

from datetime import date, timedelta

from mwl.db import Database
from mwl.net.codec import COMMAND
from mwl.net.dimse import CommandField, Element, encode_command, fragments
from mwl.net.pdu import EXPLICIT_VR_LITTLE_ENDIAN
from tests.archive_rows import CT, ROOT
from tests.archived import encoded
from tests.bench.bench_index import WORDS, execute
from tests.dicom_client import DicomClient, status
from tests.images import ct_slice

SERIES = 2  # of a study
INSTANCES = 2  # of a series
A_DAY = 100  # studies
PER_PATIENT = 4  # studies

# Study n is of patient P<n / 4>, and of day <n / 100> since 2020-01-01.
_STUDY_SQL = f"""
INSERT INTO study (id, study_instance_uid, patient_id, patient_id_issuer, patient_name,
    name_key, birth_date, sex, accession_number, study_id, study_date, study_time, description,
    referring_physician, referring_physician_key, matched_by, created_at)
SELECT n, '{ROOT}.1.' || n, 'P' || (n / {PER_PATIENT}), '', 'Doe^J' || (n / {PER_PATIENT}),
    'doe^j' || (n / {PER_PATIENT}), '19800229', 'F', 'A' || n, '', {{day}}, '093000', 'Head',
    'Welby^Marcus', 'welby^marcus', '', {{now}}
FROM {{numbers}} AS numbers
"""
_SERIES_SQL = f"""
INSERT INTO series (id, study, series_instance_uid, modality, series_number, description,
    body_part, series_date, series_time, station_name, request, created_at)
SELECT n, (n + {SERIES - 1}) / {SERIES}, '{ROOT}.2.' || n,
    CASE n % 4 WHEN 0 THEN 'SR' WHEN 1 THEN 'MR' ELSE 'CT' END, n % {SERIES}, '',
    'HEAD', '', '', '', '[]', {{now}}
FROM {{numbers}} AS numbers
"""
_INSTANCE_SQL = f"""
INSERT INTO instance (id, series, sop_instance_uid, sop_class_uid, instance_number, rows,
    columns, created_at)
SELECT n, (n + {INSTANCES - 1}) / {INSTANCES}, '{ROOT}.3.' || n,
    '1.2.840.10008.5.1.4.1.1.2', n % {INSTANCES}, 512, 512, {{now}}
FROM {{numbers}} AS numbers
"""
_OBJECT_SQL = """
INSERT INTO stored_object (instance, key, state, size, data_set_offset, sha256,
    transfer_syntax, source, reason, study_instance_uid, series_instance_uid,
    sop_instance_uid, sop_class_uid, patient_id, received_at)
SELECT id, {key}, 'served', 525000, 400, {digest}, '1.2.840.10008.1.2.1', 'CT1', '',
    '', '', sop_instance_uid, sop_class_uid, '', {now}
FROM instance
"""
_DAYS = {
    "sqlite": f"strftime('%Y%m%d', '2020-01-01', '+' || (n / {A_DAY}) || ' days')",
    "postgresql": f"to_char(date '2020-01-01' + n / {A_DAY}, 'YYYYMMDD')",
}


def fill(database: Database, count: int) -> None:
    """Insert `count` studies and what is in them."""
    words = {**WORDS[database.dialect], "day": _DAYS[database.dialect]}
    series = count * SERIES
    for statement, rows in (
        (_STUDY_SQL, count),
        (_SERIES_SQL, series),
        (_INSTANCE_SQL, series * INSTANCES),
        (_OBJECT_SQL, 0),
    ):
        numbers = words["numbers"].format(count=rows)
        sql = statement.format(**{**words, "numbers": numbers})
        if database.dialect == "postgresql":
            sql = sql.replace(f"{numbers} AS numbers", numbers)
        execute(database, sql)
    if database.dialect == "postgresql":
        execute(database, "ANALYZE")


def store(port: int, count: int) -> None:
    """Send such studies, of an instance each, to who listens there."""
    image = ct_slice(1, Rows=1, Columns=1)
    image.PixelData = b"ab"
    with DicomClient(("127.0.0.1", port), 60) as client:
        client.associate((CT,), transfer_syntaxes=(EXPLICIT_VR_LITTLE_ENDIAN,))
        for n in range(1, count + 1):
            patient = n // PER_PATIENT
            image.PatientID, image.PatientName = f"P{patient}", f"Doe^J{patient}"
            day = date(2020, 1, 1) + timedelta(days=n // A_DAY)
            image.StudyDate, image.AccessionNumber = f"{day:%Y%m%d}", f"A{n}"
            image.StudyInstanceUID = f"{ROOT}.1.{n}"
            image.SeriesInstanceUID = f"{ROOT}.2.{n}"
            image.SOPInstanceUID = f"{ROOT}.3.{n}"
            client.send(_stored(image.SOPInstanceUID, encoded(image)))
            assert status(client.read_message()[0]) == 0


def _stored(uid: str, data_set: bytes) -> bytes:
    command = encode_command(
        {
            Element.AFFECTED_SOP_CLASS_UID: CT,
            Element.COMMAND_FIELD: int(CommandField.C_STORE),
            Element.MESSAGE_ID: 1,
            Element.PRIORITY: 0,
            Element.DATA_SET_TYPE: 1,
            Element.AFFECTED_SOP_INSTANCE_UID: uid,
        }
    )
    return b"".join((*fragments(1, COMMAND, command, 16384), *fragments(1, 0, data_set, 16384)))
