"""Which recipe of presets/ params are nearest to: the words for a run."""

from contextlib import suppress
from typing import Any, NamedTuple

from lifline.errors import ParamsError
from lifline.params import Params
from lifline.params_file import preset_names, preset_values

MAX_SHOWN = 3


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
