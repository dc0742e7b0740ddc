"""Write docs/params.md from the schema and params.yaml: `python -m docs.tools.params`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from lifline.params import Params, Section, describe_field, read_params

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/params.md"
HEAD = """# Params

Every knob of the pipeline is a line in [`params.yaml`](../params.yaml), and a row here. Edit the file, then `dvc
repro`; or try a value without editing: `dvc exp run -S network.beta=0.95`. What is not allowed is refused before
anything runs, in one line that says what is.

What the surrogates, losses, codings and decodings compute stands where they are defined:
[`surrogate.py`](../src/lifline/snn/surrogate.py), [`loss.py`](../src/lifline/snn/loss.py),
[`coding.py`](../src/lifline/snn/coding.py), [`decoding.py`](../src/lifline/snn/decoding.py).

This page is written by `make docs` from the schema in [`src/lifline/params`](../src/lifline/params/__init__.py).
"""


def page() -> str:
    """Return the page: a table for each section of params.yaml."""
    return "\n".join([HEAD, *_sections(read_params(ROOT / "params.yaml"))]).rstrip("\n") + "\n"


def _sections(params: Params) -> Iterator[str]:
    for name, field in Params.model_fields.items():
        section = cast(type[Section], field.annotation)
        yield f"## {name}\n\n{section.__doc__}\n"
        yield "| param | default | allowed | what it does |\n| --- | --- | --- | --- |"
        for key, each in section.model_fields.items():
            default = _in_yaml(getattr(getattr(params, name), key))
            yield f"| `{name}.{key}` | {default} | {describe_field(each)} | {each.description} |"
        yield ""


def _in_yaml(value: Any) -> str:
    """Return a default as params.yaml writes it."""
    if isinstance(value, dict):
        return "beta, steps and learning rate"
    if isinstance(value, list):
        return f"[{', '.join(map(str, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


if __name__ == "__main__":
    PAGE.write_text(page())
