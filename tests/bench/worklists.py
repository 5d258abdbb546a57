"""A department's worklist as it is after years, filled in bulk, for benchmarks.

A hundred thousand steps are scheduled, 400 a day, the first of them today, and a million are
over. Ten modalities share each day, and each step has an order and a patient of its own.
"""

from datetime import UTC, datetime

from mwl.db import Database
from tests.bench import filling
from tests.bench.bench_index import WORDS

SCHEDULED, PAST = 100_000, 1_000_000
A_DAY = 400
MODALITIES = ("CT", "MR", "DX", "US", "MG", "NM", "PT", "XA", "RF", "CR")
OF_MODALITY = A_DAY // len(MODALITIES)  # a day's list of one

# Of the step n: those that are over come first, so that today's is PAST + 1.
_IS_OVER = f"n <= {PAST}"
_MODALITY = "CASE n % 10 " + " ".join(
    f"WHEN {number} THEN '{modality}'" for number, modality in enumerate(MODALITIES)
)
_STATION = f"{_MODALITY} END || '1'"
_SAID = {
    "sqlite": {
        "now": WORDS["sqlite"]["now"],
        "day": f"strftime('%Y%m%d', '{{today}}', ((n - {PAST + 1} + {A_DAY * 2500}) / {A_DAY}"
        " - 2500) || ' days')",
        "instant": "{now}",
        "time": "printf('%02d%02d00', 7 + n % 12, n % 60)",
    },
    "postgresql": {
        "now": "now()",
        "day": f"to_char(date '{{today}}' + ((n - {PAST + 1} + {A_DAY * 2500}) / {A_DAY}"
        " - 2500)::int, 'YYYYMMDD')",
        "instant": "{now}",
        "time": "to_char(7 + n % 12, 'FM00') || to_char(n % 60, 'FM00') || '00'",
    },
}
_COLUMNS = {
    "patient": {
        "patient_id": "'P' || n",
        "patient_name": "'Doe^Number' || n",
        "name_key": "'doe^number' || n",
        "name_words": "' doe number' || n || ' '",
        "birth_date": "'19800229'",
        "sex": "'F'",
    },
    "imaging_order": {
        "patient": "n",
        "source": "'RIS^HOSPITAL'",
        "order_number": "'F' || n",
        "placer_number": "'O' || n",
        "filler_number": "'F' || n",
        "status": f"CASE WHEN {_IS_OVER} THEN 'CLOSED' ELSE 'SCHEDULED' END",
    },
    "requested_procedure": {
        "imaging_order": "n",
        "key": "'RP' || n",
        "requested_procedure_id": "'RP' || n",
        "study_instance_uid": "'1.2.826.0.1.3680043.8.498.' || n",
        "accession_number": "'ACC' || n",
        "description": "'Head without contrast'",
        "code_value": "'HEAD'",
        "code_scheme": "'99RIS'",
        "code_meaning": "'Head'",
    },
    "scheduled_step": {
        "procedure": "n",
        "study_instance_uid": "'1.2.826.0.1.3680043.8.498.' || n",
        "sps_id": "'SPS' || n",
        "state": f"CASE WHEN {_IS_OVER} THEN 'COMPLETED' ELSE 'SCHEDULED' END",
        "modality": f"{_MODALITY} END",
        "station_ae_titles": _STATION,
        "start_at": "{instant}",
        "start_local": "{day} || {time}",
        "description": "'Head without contrast'",
    },
    "step_station": {"step": "n", "ae_title": _STATION},
}


def fill(database: Database, *, scheduled: int = SCHEDULED) -> None:
    """Insert the steps, with their orders and patients: today is the site's, in UTC."""
    words = {**_SAID[database.dialect], "today": f"{datetime.now(UTC):%Y-%m-%d}"}
    tables = {table: (columns, PAST + scheduled) for table, columns in _COLUMNS.items()}
    filling.fill(database, tables, words, *_COLUMNS)
