"""Which recipe of presets/ params are nearest to: the words for a run."""

from typing import Any, NamedTuple

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
    """The preset from which the params differ least; what no preset names, the seed for one, does not count.

    Raises:
        ParamsError: a preset is not valid.
    """
    values = params.flat()
    recipes = []
    for preset in preset_names():
        its = preset_values(preset)
        recipes.append(
            Recipe(
                preset, {name: (value, values.get(name)) for name, value in its.items() if values.get(name) != value}
            )
        )
    return min(recipes, key=lambda recipe: len(recipe.differences), default=Recipe("no preset", {}))
