"""Quantities as people say them."""

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_STEP = 1024
_MINUTE = 60
_HOUR = 3600
_DAY = 86400
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
    """Seconds in the unit that reads best: ``40 ms``, ``1.4 s``, ``12 s``, ``3 min 20 s``, ``5 h 10 min``."""
    if seconds < _SECONDS_FROM:
        return f"{seconds * 1000:.0f} ms"
    if seconds < _TENTHS_UNTIL:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE} s"
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE} min"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR} h"


def percent(ratio: float) -> str:
    """A ratio of 0 to 1 as ``62 %``."""
    return f"{ratio * 100:.0f} %"
