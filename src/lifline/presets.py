"""Recipes of presets/: written into `params.yaml`, of which all else stays as it is, and recognised in params."""

import json
import re
import shlex
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.nodes import MappingNode, Node

from lifline.errors import ParamsError
from lifline.params import DataParams, Params, params_of, read_params, read_sections
from lifline.params.document import parse_yaml
from lifline.system.files import write_bytes

PARAMS = Path("params.yaml")
PRESETS = Path("presets")
DEFAULT = "default"
DATA_SET = "data.dataset"
MAX_SHOWN = 5


def preset_names() -> list[str]:
    """The files of presets/, without .yaml, in the order of the alphabet."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def describe_presets() -> str:
    """A line for each preset: its name, and the first comment of its file where it begins with one."""
    files = sorted(path for path in PRESETS.glob("*.yaml") if path.is_file())
    width = max((len(path.stem) for path in files), default=0)
    return "\n".join(f"{path.stem:<{width}}  {_first_comment(path)}".rstrip() for path in files)


def _first_comment(path: Path) -> str:
    line = path.read_bytes().decode(errors="replace").partition("\n")[0]
    return line[1:].strip() if line.startswith("#") and line.isprintable() else ""


def preset_values(name: str) -> dict[str, Any]:
    """A preset's values, by dotted name.

    Raises:
        ParamsError: there is no such preset, or as of `recipe_values`.
    """
    return recipe_values(_path_of(name))


def recipe_values(path: Path) -> dict[str, Any]:
    """The values in the file of a recipe, by dotted name.

    Raises:
        ParamsError: it is not made of sections of keys and values.
    """
    sections = read_sections(path)
    if not all(isinstance(values, dict) for values in sections.values()):
        raise ParamsError(f"{path} must hold sections of keys and values")
    return {f"{section}.{key}": value for section, values in sections.items() for key, value in values.items()}


def write_preset(name: str) -> str:
    """Write a preset into `params.yaml`, numbers as it writes them; returns what changed, a line each.

    Raises:
        ParamsError: as of `preset_values` and `change_params`.
    """
    values = preset_values(name)
    return change_params(values, _literals(_path_of(name).read_bytes().decode()))


def way_back_to_own_data(before: DataParams, now: DataParams) -> str:
    """A line for whose own images a preset has left for those that it is for; nothing where it has not."""
    is_published = (Path("data") / before.dataset / "dataset.yaml").exists()
    if is_published or before.dataset == now.dataset:
        return ""
    back = [f"data.dataset={before.dataset}", f"data.validation_size={before.validation_size}"]
    return (
        f"data.dataset was {before.dataset!r} and is now {now.dataset!r}; this recipe with your own data: "
        + shlex.join(["dvc", "exp", "run", "-S", back[0], "-S", back[1]])
    )


def change_params(values: Mapping[str, Any], written: Mapping[str, str] | None = None) -> str:
    """Write values, by dotted name, into `params.yaml`; returns what changed, a line each.

    `written` has how values are to be written, also those that stand there in another way: 0.001 for 1.0e-3.

    Raises:
        ParamsError: `params.yaml` cannot be read or changed, or is not allowed with these values; it stays as it was.
    """
    before, written = read_params(PARAMS), written or {}
    wanted = before.with_values(values)
    if others := [name for name in values if name not in wanted.flat()]:
        raise ParamsError(f"{others[0]} is no param of a recipe; allowed are {', '.join(wanted.flat())}")
    path = PARAMS.resolve()
    old = path.read_bytes().decode()
    changes = {
        name: written.get(name, _as_yaml(value))
        for name, value in wanted.flat().items()
        if value != before.flat()[name]
    }
    standing = _literals(old)
    changes |= {name: text for name, text in written.items() if standing.get(name, text) != text}
    if not changes:
        return ""
    new = _replaced(old, changes)
    if _parsed(new) != wanted:
        raise ParamsError(f"{PARAMS} is YAML that cannot be changed value by value; set by hand: {changes}")
    write_bytes(path, new.encode())
    return "\n".join(
        f"{name}: {standing.get(name, _as_yaml(before.flat()[name]))} -> {changes[name]}"
        for name in wanted.flat()
        if name in changes
    )


def _path_of(preset: str) -> Path:
    names = preset_names()
    if preset not in names:
        raise ParamsError(f"preset is {preset!r}; allowed is one of {PRESETS}/: {', '.join(names)}")
    return PRESETS / f"{preset}.yaml"


def _as_yaml(value: Any) -> str:
    """A value as YAML, in quotes where it would be read as something else: `1000-10-10` as a date."""
    if isinstance(value, str):
        with suppress(ParamsError):
            if isinstance(parse_yaml(value.encode()), str | int):
                return value
    return json.dumps(value)


def _replaced(text: str, values: Mapping[str, str]) -> str:
    """The text of a YAML file with other values; comments that follow in the same line stay in their column."""
    places, usual = _places(text), _usual_column_of_comments(text)
    known = {name: written for name, written in values.items() if name in places}
    for name, written in sorted(known.items(), key=lambda item: -places[item[0]].start_mark.index):
        start, end = places[name].start_mark.index, places[name].end_mark.index
        padding = ""
        if gap := re.match(" +(?=#)", text[end:]):
            end += len(gap.group())
            column = end - start + places[name].start_mark.column
            if gap.group() == " ":  # a longer value may have pushed the comment out of line
                column = min(column, usual)
            padding = " " * max(1, column - places[name].start_mark.column - len(written))
        text = text[:start] + written + padding + text[end:]
    return text


def _usual_column_of_comments(text: str) -> int:
    columns = Counter(found.end() for line in text.splitlines() if (found := re.match(r"\s*[^\s#].*? +(?=#)", line)))
    return max(columns, key=lambda column: columns[column], default=0)


def _parsed(text: str) -> Params | None:
    with suppress(ParamsError):
        return params_of(parse_yaml(text.encode()))
    return None


def _literals(text: str) -> dict[str, str]:
    """How a YAML file writes its plain values and its lists in a line, by dotted name."""
    written = {name: (text[node.start_mark.index : node.end_mark.index], node) for name, node in _places(text).items()}
    return {
        name: literal
        for name, (literal, node) in written.items()
        if "\n" not in literal and (literal == node.value or literal.startswith("["))
    }


def _places(text: str) -> dict[str, Node]:
    """The nodes of the values of a YAML file, by dotted name; those that it has from elsewhere are left out."""
    yaml = YAML(typ="safe", pure=True)
    yaml.composer.warn_double_anchors = False
    document = yaml.compose(text)
    return {
        f"{section.value}.{key.value}": value
        for section, values in document.value
        if isinstance(values, MappingNode)
        for key, value in values.value
    }


class Recipe(NamedTuple):
    """Params as a preset and what differs from it."""

    preset: str

    differences: dict[str, tuple[Any, Any]]
    """By dotted name, the preset's value and theirs."""

    def title(self) -> str:
        """A few words: `fast: beta 0.95, num_steps 25`."""
        names = list(self.differences)
        shown = [f"{name.partition('.')[2]} {_short(self.differences[name][1])}" for name in names[:MAX_SHOWN]]
        more = [f"{len(names) - MAX_SHOWN} more"] if len(names) > MAX_SHOWN else []
        return f"{self.preset}: {', '.join(shown + more)}" if names else self.preset

    def describe(self) -> str:
        """All that differs: `fast with network.beta 0.95 (not 0.9)`."""
        changes = [f"{name} {theirs} (not {its})" for name, (its, theirs) in self.differences.items()]
        return f"{self.preset} with {', '.join(changes)}" if changes else self.preset


def _short(value: Any) -> str:
    """A study's floats have sixteen digits."""
    return str(float(f"{value:.3g}") if isinstance(value, float) else value)


def nearest_recipe(params: Params) -> Recipe:
    """The preset from which the params differ least; what it does not name, the seed for one, does not count.

    Of several that are as near it is the default. The data set is named first of what differs.
    A preset that is not valid is passed over: no training is to fail for want of a name.
    """
    theirs, found = params.flat(), []
    for preset in preset_names():
        with suppress(ParamsError):
            named = preset_values(preset)
            its = params.with_values(named).flat()
            names = sorted(named, key=lambda name: name != DATA_SET)
            differences = {name: (its[name], theirs[name]) for name in names if its[name] != theirs[name]}
            found.append((len(differences), -len(named), preset != DEFAULT, Recipe(preset, differences)))
    return min(found, key=lambda each: each[:-1], default=(Recipe("no preset", {}),))[-1]
