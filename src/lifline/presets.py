"""Recipes of presets/: written into `params.yaml`, of which all else stays as it is, and recognised in params."""

import difflib
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from lifline.errors import ParamsError
from lifline.params import Params, read_params, read_sections
from lifline.system.files import write_bytes

PARAMS = Path("params.yaml")
PRESETS = Path("presets")
MAX_SHOWN = 3


def preset_names() -> list[str]:
    """The files of presets/, without .yaml, in the order of the alphabet."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def preset_values(name: str) -> dict[str, Any]:
    """A preset's values, by dotted name.

    Raises:
        ParamsError: there is no such preset, or it is not made of sections of keys and values.
    """
    names = preset_names()
    if name not in names:
        raise ParamsError(f"preset is {name!r}; allowed is one of {PRESETS}/: {', '.join(names)}")
    path = PRESETS / f"{name}.yaml"
    sections = read_sections(path)
    if not all(isinstance(values, dict) for values in sections.values()):
        raise ParamsError(f"{path} must hold sections of keys and values")
    return {f"{section}.{key}": value for section, values in sections.items() for key, value in values.items()}


def change_params(values: Mapping[str, Any]) -> str:
    """Write values, by dotted name, into `params.yaml`; returns the difference, as a diff.

    Raises:
        ParamsError: `params.yaml` cannot be read or changed, or is not allowed with these values; it stays as it was.
    """
    before = read_params(PARAMS)
    wanted = before.with_values(values)
    changes = {name: value for name, value in wanted.flat().items() if value != before.flat()[name]}
    if not changes:
        return ""
    path = PARAMS.resolve()
    old = path.read_bytes().decode()
    new = _replaced(old, changes)
    if _parsed(new) != wanted.model_dump():
        raise ParamsError(f"{PARAMS} is YAML that cannot be changed value by value; set by hand: {changes}")
    write_bytes(path, new.encode())
    lines = [text.splitlines(keepends=True) for text in (old, new)]
    return "".join(difflib.unified_diff(lines[0], lines[1], f"{PARAMS} before", f"{PARAMS} now", n=0))


def _replaced(text: str, values: Mapping[str, Any]) -> str:
    """The text of a YAML file with other values; comments that follow in the same line stay in their column."""
    places = _places(text)
    for name, value in sorted(values.items(), key=lambda item: -places[item[0]].start):
        place, written = places[name], value if isinstance(value, str) else json.dumps(value)
        gap = re.match(" +(?=#)", text[place.stop :])
        end = place.stop + len(gap.group()) if gap else place.stop
        padding = " " * max(1, end - place.start - len(written)) if gap else ""
        text = text[: place.start] + written + padding + text[end:]
    return text


def _parsed(text: str) -> Any:
    try:
        return YAML(typ="safe", pure=True).load(text)
    except YAMLError:
        return None


def _places(text: str) -> dict[str, slice]:
    """Where each value stands in the text, by dotted name."""
    document = YAML().compose(text)
    return {
        f"{section.value}.{key.value}": slice(value.start_mark.index, value.end_mark.index)
        for section, keys in document.value
        for key, value in keys.value
    }


class Recipe(NamedTuple):
    """Params as a preset and what differs from it."""

    preset: str

    differences: dict[str, tuple[Any, Any]]
    """By dotted name, the preset's value and theirs."""

    def title(self) -> str:
        """A few words: `fast: beta 0.95, num_steps 25`."""
        names = list(self.differences)
        shown = [f"{name.partition('.')[2]} {self.differences[name][1]}" for name in names[:MAX_SHOWN]]
        more = [f"{len(names) - MAX_SHOWN} more"] if len(names) > MAX_SHOWN else []
        return f"{self.preset}: {', '.join(shown + more)}" if names else self.preset

    def describe(self) -> str:
        """All that differs: `fast with network.beta 0.95 (not 0.9)`."""
        changes = [f"{name} {theirs} (not {its})" for name, (its, theirs) in self.differences.items()]
        return f"{self.preset} with {', '.join(changes)}" if changes else self.preset


def nearest_recipe(params: Params) -> Recipe:
    """The preset from which the params differ least; what it does not name, the seed for one, does not count.

    A preset that is not valid is passed over: no training is to fail for want of a name.
    """
    theirs, found = params.flat(), []
    for preset in preset_names():
        with suppress(ParamsError):
            named = preset_values(preset)
            its = params.with_values(named).flat()
            differences = {name: (its[name], theirs[name]) for name in named if its[name] != theirs[name]}
            found.append((len(differences), -len(named), Recipe(preset, differences)))
    return min(found, key=lambda each: each[:2], default=(0, 0, Recipe("no preset", {})))[-1]
