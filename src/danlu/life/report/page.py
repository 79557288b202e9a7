"""Pieces of HTML: everything that came from a file is escaped; English and Chinese stand side by side."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

ROLES = {"user": "user · 用户", "assistant": "model · 模型", "system": "system · 系统"}


def both(english: str, chinese: str) -> str:
    """A heading or label in both languages."""
    return f"{escape(english)} <span class=zh>{escape(chinese)}</span>"


def paragraph(english: str, chinese: str) -> str:
    second = f"<p class=zh>{escape(chinese)}</p>" if chinese else ""
    return f"<p>{escape(english)}</p>{second}"


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """The first column is text, the others are numbers or short words, set to the right."""
    if not rows:
        return ""
    top = "".join(f"<th>{escape(str(cell))}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def conversation(messages: Sequence[dict[str, Any]], verdict: bool | None = None) -> str:
    """Turns as bubbles; ``verdict`` marks the last one right or wrong."""
    marks = {None: "", True: " right", False: " wrong"}
    bubbles = []
    for number, message in enumerate(messages):
        mark = marks[verdict] if number == len(messages) - 1 else ""
        role = str(message["role"])
        text = escape(str(message["content"])).replace("\n", "<br>")
        bubbles.append(f'<div class="turn {escape(role)}{mark}"><b>{ROLES.get(role, escape(role))}</b>{text}</div>')
    return f"<div class=talk>{''.join(bubbles)}</div>"


def continuation(prompt: str, text: str) -> str:
    """A prompt and what the model went on with."""
    return f"<p class=text>{escape(prompt)}<b>{escape(text)}</b></p>".replace("\n", "<br>")


def code(text: str) -> str:
    return f"<pre>{escape(text)}</pre>"


def figure(svg: str, english: str, chinese: str) -> str:
    return f"<figure>{svg}<figcaption>{both(english, chinese)}</figcaption></figure>"


def picture(path: Path, alternative: str) -> str:
    """A PNG as part of the page; nothing if it was not drawn."""
    if not path.is_file():
        return ""
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<img alt="{escape(alternative)}" src="data:image/png;base64,{data}">'


def section(name: str, title: tuple[str, str], note: str, body: str) -> str:
    """A stage's part of the page."""
    return f'<section id="{escape(name)}"><h2>{both(*title)}<small>{escape(note)}</small></h2>{body}</section>'


def page(title: tuple[str, str], cards: Sequence[tuple[str, str, str]], sections: Sequence[str]) -> str:
    """The whole page; ``cards`` are (value, English, Chinese)."""
    style = resources.files("danlu.life.report").joinpath("page.css").read_text(encoding="utf-8")
    shown = "".join(f"<div class=card><b>{escape(v)}</b>{both(e, z)}</div>" for v, e, z in cards)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(title[0])} · {escape(title[1])}</title>"
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{style}</style></head>'
        f"<body><main><h1>{both(*title)}</h1><div class=cards>{shown}</div>{''.join(sections)}</main></body></html>\n"
    )
