"""What every benchmark shares: results, quantiles, fair alternation.

A machine drifts by two or three times within an hour, so a contest alternates its
contestants within one run, flushes the disk between them, and speaks of ratios of medians.
"""

import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Result:
    """One figure, and the bound that it is meant to meet."""

    name: str
    value: float
    unit: str
    bound: float
    at_least: bool = True
    note: str = ""

    @property
    def met(self) -> bool:
        return self.value >= self.bound if self.at_least else self.value <= self.bound

    def __str__(self) -> str:
        sign, mark = ("≥" if self.at_least else "≤"), ("ok   " if self.met else "BELOW")
        figure = f"{self.value:,.2f}" if self.value < 100 else f"{self.value:,.0f}"
        text = f"{mark} {self.name:<58} {figure:>10} {self.unit:<6} ({sign} {self.bound:g})"
        return f"{text}  {self.note}" if self.note else text


def at_most(name: str, value: float, unit: str, bound: float, note: str = "") -> Result:
    return Result(name, value, unit, bound, at_least=False, note=note)


def quantile(values: Sequence[float], part: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


def median_time(work: Callable[[], object], runs: int) -> float:
    """Time `work` once to warm up, then `runs` times; the median in seconds."""
    work()
    taken = []
    for _ in range(runs):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def contest(*contestants: Callable[[], object], rounds: int = 5, runs: int = 5) -> list[float]:
    """Alternate the contestants; the median of their medians, in seconds, in their order."""
    taken: list[list[float]] = [[] for _ in contestants]
    for _ in range(rounds):
        for times, contestant in zip(taken, contestants, strict=True):
            os.sync()
            times.append(median_time(contestant, runs))
    return [statistics.median(times) for times in taken]
