"""A day as bars, an hour each: what a template needs to draw it as SVG."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from mwl.flow import Hour

_STEP: Final = 20  # from one bar to the next, in units of the picture
_GAP: Final = 4
_HEIGHT: Final = 72  # of the highest bar
_TOP: Final = 8
_EVERY: Final = 6  # so many hours a label
_LOWEST: Final = 2  # of a bar that stands for something


@dataclass(frozen=True, slots=True)
class Bar:
    """What came in during an hour, and where its bar stands."""

    label: str  # 10:00
    count: int
    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Chart:
    """The bars of one kind of thing; `name` is its CSS class too."""

    name: str
    title: str
    url: str
    bars: Sequence[Bar]
    ticks: Sequence[tuple[int, str]]  # where, and what o'clock

    @property
    def total(self) -> int:
        return sum(bar.count for bar in self.bars)

    @property
    def most(self) -> Bar:
        return max(self.bars, key=lambda bar: bar.count)

    @property
    def width(self) -> int:
        return _STEP * len(self.bars)

    @property
    def base(self) -> int:
        """Where bars stand."""
        return _TOP + _HEIGHT


def charts(hours: Sequence[Hour]) -> list[Chart]:
    """Draw what came in: a chart for each kind, as their numbers have nothing in common."""
    labels = [f"{each.begins:%H:%M}" for each in hours]
    kinds = (
        ("messages", "HL7 messages in", "/messages", [each.messages for each in hours]),
        ("examinations", "Examinations begun", "/mpps", [each.examinations for each in hours]),
        ("images", "Images in", "/studies", [each.images for each in hours]),
    )
    return [_chart(name, title, url, labels, counts) for name, title, url, counts in kinds]


def _chart(name: str, title: str, url: str, labels: Sequence[str], counts: Sequence[int]) -> Chart:
    highest = max(*counts, 1)
    bars = []
    for number, (label, count) in enumerate(zip(labels, counts, strict=True)):
        height = max(round(_HEIGHT * count / highest), _LOWEST if count else 0)
        top = _TOP + _HEIGHT - height
        bars.append(Bar(label, count, _STEP * number, top, _STEP - _GAP, height))
    # A label is two bars wide: beside the last one it would be cut.
    ticks = [(bar.x, bar.label) for bar in bars[:-1] if int(bar.label[:2]) % _EVERY == 0]
    return Chart(name, title, url, bars, ticks)
