"""Test patients: names that are made up for tests, in the scripts that hospitals write.

They are the names that forms and standards use for nobody: John Doe and his kin in many
languages, and those of PS3.5 annexes H to K. A name is written as PID-5 (XPN), a repetition
for each way of writing it (XPN-8: A alphabetic, I ideographic, P phonetic); MSH-18 names
the character set of the message that brings it.
"""

from typing import Final, NamedTuple

UTF_8: Final = "UNICODE UTF-8"


class Person(NamedTuple):
    """Whom a message names; `charset` is one of MSH-18 that has the name's characters."""

    name: str
    birth_date: str
    sex: str
    charset: str = UTF_8

    @property
    def dicom_name(self) -> str:
        """Write the name as a PN: its ways of writing become component groups."""
        return "=".join(way.partition("^^^^^")[0] for way in self.name.split("~"))


def _ways(alphabetic: str, ideographic: str, phonetic: str = "") -> str:
    ways = zip((alphabetic, ideographic, phonetic), "AIP", strict=True)
    return "~".join(f"{name}^^^^^L^{way}" for name, way in ways if name)


PEOPLE: Final = (
    Person("Doe^Jane", "19800229", "F"),
    Person("Müller^Jörg", "19620314", "M", "8859/1"),
    Person(_ways("Yamada^Tarou", "山田^太郎", "やまだ^たろう"), "19710503", "M"),
    Person("Иванов^Иван", "19550718", "M", "8859/5"),
    Person("Παπαδόπουλος^Γιώργος", "19490821", "M", "8859/7"),
    Person("قباني^نزار", "19880110", "M"),
    Person("Kowalska^Łucja", "19931130", "F", "8859/2"),
    Person(_ways("Hong^Gildong", "洪^吉洞", "홍^길동"), "19840404", "M"),
    Person("שרון^דבורה", "19760917", "F", "8859/8"),
    Person(_ways("Zhang^XiaoDong", "张^小东"), "19900606", "M", "GB 18030-2000"),
    Person("Doe^John^Q", "19670101", "M", "ASCII"),
    Person("ใจดี^สมชาย", "19820412", "M", "8859/11"),
    Person("Dupont^Élodie", "20010214", "F", "8859/15"),
    Person("Nagy^Győző", "19580223", "M", "8859/2"),
    Person("Петрова^Анна", "19790308", "F"),
    Person("Nguyễn^Văn An", "19950519", "M"),
    Person("Sørensen^Åse", "19410427", "F", "8859/1"),
    Person(_ways("Kim^Heejung", "金^希中", "김^희중"), "19870812", "F"),
    Person("Yılmaz^Ayşe", "19981029", "F", "8859/9"),
    Person("Παππά^Ελένη", "20120325", "F"),
    Person("Pérez^Íñigo", "19731012", "M"),
    Person(_ways("Wang^XiaoDong", "王^小東"), "19690928", "M", "BIG-5"),
    Person("Ionescu^Ștefan", "19851201", "M"),
    Person("كريم^ليلى", "20050707", "F", "8859/6"),
    Person("Novák^Jiří", "19640928", "M", "8859/2"),
    Person(_ways("Suzuki^Hanako", "鈴木^花子", "すずき^はなこ"), "19921103", "F", "ISO IR87"),
    Person("Шевченко^Оксана", "19700824", "F"),
    Person("Mustermann^Erika", "19640812", "F", "8859/1"),
    Person("ישראלי^ישראל", "19480514", "M"),
    Person("Kalniņš^Jānis", "19911118", "M", "8859/13"),
    Person("कुमार^राज", "19860815", "M"),
    Person("Borġ^Ġorġ", "19770921", "M", "8859/3"),
    Person("Roe^Richard", "20180630", "M", "ASCII"),
    Person("Jónsdóttir^Þóra", "19610617", "F", "8859/1"),
)
