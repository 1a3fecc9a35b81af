"""Numbers as text for people, on pages and in tables."""

from __future__ import annotations

_SI_PREFIXES = (
    (1e21, "Z"),
    (1e18, "E"),
    (1e15, "P"),
    (1e12, "T"),
    (1e9, "G"),
    (1e6, "M"),
    (1e3, "k"),
)


def format_si(value: float, separator: str = " ") -> str:
    """Format a number to three digits with its SI prefix, ready for a unit behind it.

    Example:
        >>> format_si(8.8e9), format_si(3.2e20), format_si(0.0)
        ('8.8 G', '320 E', '0 ')
        >>> format_si(-1200, separator="")
        '-1.2k'
    """
    for power, prefix in _SI_PREFIXES:
        if abs(value) >= power:
            return f"{float(f'{value / power:.3g}'):g}{separator}{prefix}"
    return f"{value:g}{separator}"


def format_three_digits(value: float) -> str:
    """Format a number to three digits, or with all digits before the decimal point.

    Example:
        >>> format_three_digits(19426.3), format_three_digits(1.943), format_three_digits(0.00838)
        ('19,426', '1.94', '0.00838')
    """
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def format_gigabytes(value: float) -> str:
    """Format a number of bytes in units of 10^9.

    Example:
        >>> format_gigabytes(1.26e9), format_gigabytes(2e6)
        ('1.26', '0.002')
    """
    return f"{value / 1e9:,.2f}" if value >= 1e7 or not value else f"{value / 1e9:.3f}"


def format_minutes(seconds: float) -> str:
    """Format a duration as minutes and seconds.

    Example:
        >>> format_minutes(3725.4)
        '62:05'
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
