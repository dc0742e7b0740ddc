"""Tables: on the terminal, as Markdown and as JSON."""

import json
import platform
import re
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.console import Console
from rich.table import Table as RichTable

from lifline.system.files import write_bytes, write_json

PACKAGES = ("torch", "numba", "onnxruntime", "snntorch", "spikingjelly", "norse", "jax", "spyx")
OPTIONAL = "spyx"
"""Raced where it is installed; the lock is without it."""

Cell = str | int | float | None


@dataclass
class Table:
    """What a section has measured."""

    title: str
    rows: list[dict[str, Cell]]
    """Cells by the heading of their column, the same columns in each."""

    notes: list[str] = field(default_factory=list)


def spread(values: list[float], unit: str) -> dict[str, Cell]:
    """Return median, min and max as cells of a row."""
    return {f"median {unit}": median(values), f"min {unit}": min(values), f"max {unit}": max(values)}


def describe_machine() -> dict[str, Cell]:
    """Return processor and threads, which the figures hang on."""
    return {"processor": _processor(), "threads": torch.get_num_threads()}


def describe_software() -> dict[str, str]:
    """Return the versions of Python and of what is raced."""
    installed = [package for package in PACKAGES if package != OPTIONAL or find_spec(package)]
    return {"python": platform.python_version()} | {package: version(package) for package in installed}


def print_table(console: Console, table: Table) -> None:
    """Draw a table on the terminal."""
    drawn = RichTable(title=table.title, title_justify="left", caption="\n".join(table.notes), caption_justify="left")
    for heading, cell in table.rows[0].items():
        drawn.add_column(heading, justify="left" if isinstance(cell, str) else "right")
    for row in table.rows:
        drawn.add_row(*map(_as_text, row.values()))
    console.print(drawn)


def write_results(folder: Path, tables: dict[str, Table], is_quick: bool) -> Path:
    """Write the tables to `<machine>.json` and `<machine>.md`; sections that were not run keep what the file has.

    Returns:
        The path of the JSON file.
    """
    machine = describe_machine()
    path = folder / f"{_slug('{processor} {threads} threads'.format(**machine))}.json"
    sections = json.loads(path.read_text(encoding="utf-8"))["sections"] if path.is_file() else {}
    for name, table in tables.items():
        sections[name] = vars(table) | {"quick": is_quick, "software": describe_software()}
    results = {"machine": machine, "sections": sections}
    write_json(path, results)
    write_bytes(path.with_suffix(".md"), _as_markdown(results).encode())
    return path


def _as_markdown(results: dict[str, Any]) -> str:
    machine = results["machine"]
    lines = [f"# {machine['processor']}, {machine['threads']} threads", ""]
    for section in results["sections"].values():
        headings = list(section["rows"][0])
        numeric = [not isinstance(cell, str) for cell in section["rows"][0].values()]
        lines += [f"## {section['title']}", "", _markdown_row(headings)]
        lines += [_markdown_row(["---:" if right else "---" for right in numeric])]
        lines += [_markdown_row([_as_text(cell) for cell in row.values()]) for row in section["rows"]]
        software = ", ".join(f"{name} {number}" for name, number in section["software"].items())
        notes = [*section["notes"], f"With {software}."]
        if section["quick"]:
            notes.append("A quick trial: too few rounds to quote.")
        lines += ["", *(f"- {note}" for note in notes), ""]
    return "\n".join(lines)


def _markdown_row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _as_text(cell: Cell) -> str:
    if cell is None:
        return ""
    if not isinstance(cell, float):
        return str(cell)
    return f"{cell:,.0f}" if abs(cell) >= 1000 else f"{cell:.3g}"  # noqa: PLR2004


def _processor() -> str:
    """Return the processor's model name, without marks of trade."""
    try:
        cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        cpuinfo = ""
    found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    name = found[1] if found else platform.machine()
    return " ".join(re.sub(r"\((R|TM)\)|@.*|\bCPU\b", "", name).split())


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
