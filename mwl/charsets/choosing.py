"""In which of the sets that a peer reads an answer is written.

1. The first of its sets that has all characters of the answer. Where none are set down for
   it: the set that its query names, then Latin-1, then UTF-8; UTF-8 at once, where the
   query names that.
2. Where none has them, and sets are set down: UTF-8 all the same, or the one of its sets
   that says the most of the patient's name, group by group, and then of the rest, with what
   is left in letters that it has (`mwl.charsets.latin`). An identifier is never rewritten, it
   would be another's, and never left out, for nothing could be matched with it then: such an
   answer is in UTF-8. What a scanner makes of its bytes comes back as those bytes, and is read
   here.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Final

from mwl.charsets.labels import MAX_TERM, MAX_TERMS, dicom_codec
from mwl.charsets.latin import Rewriting
from mwl.charsets.writing import Script, script

UTF_8: Final = "ISO_IR 192"
_LATIN_1: Final = "ISO_IR 100"
_TEXTS = 1024  # whose sets are remembered


class Choosing:
    """What a peer reads, by which sets: `sets`, each with its values parted by backslashes.

    `requested` are the values of its query's (0008,0005); they count where there are no
    `sets`, or none that is known. `utf_8`: what none of these can say is in UTF-8.
    `transliterates`: it is not.
    """

    def __init__(
        self, sets: Sequence[str] = (), requested: Sequence[str] = (), *, utf_8: bool = False
    ) -> None:
        known = [found for each in sets if (found := script(each)) is not None]
        self.transliterates = bool(known) and not utf_8
        # ASCII is the same in all sets: in it, one is named that the peer surely knows.
        self.in_ascii = known[0].term if known else _named(requested)
        if not known:
            known = _asked_for(requested)
        in_utf_8 = next((each for each in known if is_utf_8(each.term)), None)
        self.utf_8 = in_utf_8 or _script(UTF_8)
        if in_utf_8 is None and not self.transliterates:
            known.append(self.utf_8)
        self._scripts = tuple(known)
        self._rewriting = tuple(map(Rewriting, known))
        self._sayable = _Sayable(self._scripts)

    def that_say(self, texts: Iterable[str]) -> Iterator[Script]:
        """Give the sets that say all of these, the best first."""
        fit = self._sayable.all
        for text in texts:
            if not text.isascii():
                fit &= self._sayable[text]
        for number, each in enumerate(self._scripts):
            if fit >> number & 1:
                yield each

    def nearest(self, texts: Iterable[str], name: str) -> Rewriting:
        """Give the set that says the most of the patient's name, and then of the others."""
        groups = [self._sayable[group] for group in name.split("=") if not group.isascii()]
        others = [self._sayable[text] for text in texts if not text.isascii()]

        def said(number: int) -> tuple[int, ...]:
            return tuple(sum(fit >> number & 1 for fit in fits) for fits in (groups, others))

        return self._rewriting[max(range(len(self._scripts)), key=said)]


class _Sayable(dict[str, int]):
    """A text to the sets that can say it, a bit for each."""

    def __init__(self, scripts: Sequence[Script]) -> None:
        super().__init__()
        self._scripts = scripts
        self.all = (1 << len(scripts)) - 1

    def __missing__(self, text: str) -> int:
        if len(self) >= _TEXTS:
            self.clear()
        fit = sum(each.says(text) << number for number, each in enumerate(self._scripts))
        self[text] = fit
        return fit


def choosing(sets: tuple[str, ...], requested: tuple[str, ...], *, utf_8: bool) -> Choosing:
    """Give the same `Choosing` again: what it remembers of texts is any query's."""
    is_odd = len(requested) > MAX_TERMS or any(len(term) > MAX_TERM for term in requested)
    return _kept(sets, () if is_odd or sets else requested, utf_8)


@lru_cache(maxsize=64)
def _kept(sets: tuple[str, ...], requested: tuple[str, ...], utf_8: bool) -> Choosing:
    return Choosing(sets, requested, utf_8=utf_8)


def is_utf_8(term: str) -> bool:
    """Tell whether a Specific Character Set is UTF-8, which has no code extensions."""
    return dicom_codec(term.partition("\\")[0]) == "utf-8"


def _asked_for(requested: Sequence[str]) -> list[Script]:
    asked = script("\\".join(requested)) if any(requested) else None
    if asked is None:
        return [_script(_LATIN_1)]
    return [asked] if is_utf_8(asked.term) else [asked, _script(_LATIN_1)]


def _named(requested: Sequence[str]) -> str:
    known = all(dicom_codec(term) for term in requested if term)
    return "\\".join(requested) if known and any(requested) else _LATIN_1


def _script(term: str) -> Script:
    found = script(term)
    assert found is not None
    return found
