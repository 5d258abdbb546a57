"""One target under atheris, for ever or as long as libFuzzer is told: python -m tests.fuzz.one

    python -m tests.fuzz.one TARGET [CORPUS…] [-max_total_time=60] [FINDING]

libFuzzer's options and files come behind the target's name; a finding's file plays it again.
"""

import sys
import warnings

import atheris

# What is fuzzed; to look at all that comes with it would take its time.
READERS = [
    "hl7.batches",
    "hl7.er7",
    "hl7.escapes",
    "hl7.mapping",
    "hl7.mllp",
    "mwl.charsets",
    "mwl.dataset",
    "mwl.net.codec",
    "mwl.net.dimse",
    "mwl.net.negotiation",
    "mwl.scp.coercion",
    "mwl.scp.pieces",
    "mwl.scp.reencoding",
    "mwl.scp.storage",
]

with atheris.instrument_imports(include=READERS):
    from tests.fuzz.targets import TARGETS

    if sys.argv[1:2] == ["hl7"]:
        import tests.fuzz.hl7  # noqa: F401 - to be looked at as well


def main() -> None:
    warnings.simplefilter("ignore")
    target = TARGETS[sys.argv.pop(1)]
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
