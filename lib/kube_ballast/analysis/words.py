"""Quantities as people say them."""

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_STEP = 1024
_MINUTE = 60
_HOUR = 3600
_DAY = 86400
_PAIRS = ((_DAY, "d", _HOUR, "h"), (_HOUR, "h", _MINUTE, "min"), (_MINUTE, "min", 1, "s"))
_SECONDS_FROM = 0.9995
_TENTHS_UNTIL = 9.95


def size(count: float) -> str:
    """Bytes in binary units: ``1.5 GiB``."""
    value = float(count)
    unit = 0
    while abs(value) >= _STEP and unit < len(_UNITS) - 1:
        value /= _STEP
        unit += 1
    return f"{value:.0f} B" if unit == 0 else f"{value:.1f} {_UNITS[unit]}"


def duration(seconds: float) -> str:
    """Seconds in the unit that reads best: ``40 ms``, ``1.4 s``, ``12 s``, ``5 min``, ``3 h 20 min``."""
    if seconds < _SECONDS_FROM:
        return f"{seconds * 1000:.0f} ms"
    if seconds < _TENTHS_UNTIL:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for large, name, small, small_name in _PAIRS:
        if whole >= large:
            rest = whole % large // small
            return f"{whole // large} {name}" + (f" {rest} {small_name}" if rest else "")
    return f"{whole} s"


def percent(ratio: float) -> str:
    """A ratio of 0 to 1 as ``62 %``."""
    return f"{ratio * 100:.0f} %"
