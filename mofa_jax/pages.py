"""Pages for people: HTML that holds its pictures itself, so that one file can be passed on."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Sequence

Cell = str | int | float

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; max-width: 1080px; margin: 2em auto; color: #222 }
td, th { padding: 2px 14px 2px 0; text-align: left; vertical-align: top }
.n { text-align: right; font-variant-numeric: tabular-nums }
th { white-space: nowrap }
figure { display: inline-block; margin: 3px; font-size: 11px; color: #666; vertical-align: top;
  overflow-wrap: anywhere }
img { display: block; max-width: 100% }
svg { background: #f6f6f4; margin-right: 18px; max-width: 100%; height: auto }
"""


def page(title: str, *parts: str) -> str:
    """A page with a title over parts that are HTML."""
    title = html.escape(title)
    head = f"<!doctype html><meta charset=utf-8><title>{title}</title><style>{_STYLE}</style>"
    return f"{head}<h1>{title}</h1>{''.join(parts)}\n"


def section(title: str, *parts: str) -> str:
    """Parts under a heading."""
    return f"<h2>{html.escape(title)}</h2>{''.join(parts)}"


def paragraph(text: str) -> str:
    """Plain text."""
    return f"<p>{html.escape(text)}</p>"


def table(rows: Sequence[Sequence[Cell]], header: Sequence[str] = ()) -> str:
    """Rows, the first cell of each its head; numbers stand right, four digits if not whole."""
    head = "".join(
        f"<th{_right(below)}>{html.escape(text)}</th>"
        for text, below in zip(header, rows[0] if header else (), strict=True)
    )
    body = "".join(
        f"<tr><th>{html.escape(str(first))}</th>{''.join(map(_cell, rest))}</tr>"
        for first, *rest in rows
    )
    return f"<table>{f'<tr>{head}</tr>' if head else ''}{body}</table>"


def figure(image: bytes, caption: str, width: int = 120, kind: str = "jpeg") -> str:
    """A picture, the content of a file of this kind, `width` px wide over its caption."""
    data = base64.b64encode(image).decode()
    return (
        f"<figure style='width: {width}px'><img src='data:image/{kind};base64,{data}'>"
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )


def drawing(svg: str) -> str:
    """An SVG file's content as a part of a page."""
    return svg[svg.index("<svg") :]


def _cell(value: Cell) -> str:
    if isinstance(value, float):
        text = f"{value:#.4g}".rstrip(".") if math.isfinite(value) else "-"
    else:
        text = html.escape(value) if isinstance(value, str) else f"{value:,}"
    return f"<td{_right(value)}>{text}</td>"


def _right(value: Cell) -> str:
    """The class of a number's cell."""
    return "" if isinstance(value, str) else " class=n"
