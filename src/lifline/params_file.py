"""Changing `params.yaml` for the user: values are replaced, comments and order stay."""

import difflib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedSeq

from lifline.errors import ParamsError
from lifline.files import write_bytes
from lifline.params import parse_yaml, read_params

PARAMS = Path("params.yaml")
PRESETS = Path("presets")


def preset_values(name: str) -> dict[str, Any]:
    """A preset's values, by dotted name.

    Raises:
        ParamsError: there is no such preset, or it is not made of sections of keys and values.
    """
    names = sorted(path.stem for path in PRESETS.glob("*.yaml"))
    if name not in names:
        raise ParamsError(f"preset is {name!r}; allowed is one of {PRESETS}/: {', '.join(names)}")
    path = PRESETS / f"{name}.yaml"
    sections = parse_yaml(path.read_text(encoding="utf-8"), path)
    if not all(isinstance(values, dict) for values in sections.values()):
        raise ParamsError(f"{path} must hold sections of keys and values")
    pairs = ((f"{section}.{key}", value) for section, values in sections.items() for key, value in values.items())
    return dict(pairs)


def change_params(values: Mapping[str, Any]) -> str:
    """Write values, by dotted name, into `params.yaml`; returns the difference, as a diff.

    Raises:
        ParamsError: `params.yaml` cannot be read, or is not allowed with these values; it stays as it was.
    """
    read_params(PARAMS).with_values(values)
    before = PARAMS.read_text(encoding="utf-8")
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    document = yaml.load(before)
    for name, value in values.items():
        section, key = name.split(".")
        if document[section][key] != value:
            document[section][key] = _in_a_line(value)
    text = io.StringIO()
    yaml.dump(document, text)
    after = text.getvalue()
    if after != before:
        write_bytes(PARAMS, after.encode())
    return "".join(
        difflib.unified_diff(
            before.splitlines(keepends=True),
            after.splitlines(keepends=True),
            fromfile=f"{PARAMS} before",
            tofile=f"{PARAMS} now",
            n=0,
        )
    )


def _in_a_line(value: Any) -> Any:
    """A list as `[1000]`, not one element a line."""
    if not isinstance(value, list):
        return value
    sequence = CommentedSeq(value)
    sequence.fa.set_flow_style()
    return sequence
