"""Numbers of bytes, for people."""


def in_words(count: int | None) -> str:
    """Write a number of bytes: 512 KB."""
    left = float(count or 0)
    for unit in ("B", "KB", "MB", "GB"):
        if left < 1000:
            return f"{left:.0f} {unit}" if unit == "B" or left >= 10 else f"{left:.1f} {unit}"
        left /= 1000
    return f"{left:.1f} TB"
