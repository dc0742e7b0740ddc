"""A YAML document read in bounded time and memory, and values as messages show them."""

import reprlib
import warnings
from copy import deepcopy
from functools import lru_cache
from itertools import chain
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError, YAMLWarning
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode

from lifline.errors import ParamsError

MAX_BYTES = 100_000
"""Of a YAML file; these limits keep what is no params.yaml from taking minutes and gigabytes."""
MAX_VALUES = 2_000
MAX_LEVELS = 20
MAX_SCALAR = 1_000
MAX_TEXT = 200

_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxlong = _REPR.maxother = 60


def parse_yaml(content: bytes) -> Any:
    """The values of a YAML document, in bounded time and memory.

    Raises:
        ParamsError: it is not valid, too long, nested too deeply, or its aliases make too much of it. The message
            goes on where the document's name ends: `is not valid YAML: ...`.
    """
    return deepcopy(_values_of(content))


@lru_cache(maxsize=32)  # each run reads all presets for its name, and a study has many runs
def _values_of(content: bytes) -> Any:
    if len(content) > MAX_BYTES:
        raise ParamsError(f"has more than {MAX_BYTES} bytes")
    yaml = YAML(typ="safe", pure=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", YAMLWarning)
            document = yaml.compose(content.decode())
            if document is None:
                return None
            _extent(document, {})
            return yaml.constructor.construct_document(document)
    except RecursionError:
        raise ParamsError(f"is nested deeper than {MAX_LEVELS} levels") from None
    except (YAMLError, ValueError, LookupError) as error:  # of a date, a number, a truth value that is none
        raise ParamsError(f"is not valid YAML: {_yaml_problem(error)}") from None


def _extent(node: Node, known: dict[Node, tuple[int, int] | None]) -> tuple[int, int]:
    """Values and levels of a node with its aliases written out; `known` has those of others, None while in them."""
    if isinstance(node, ScalarNode):
        if len(node.value) > MAX_SCALAR:
            raise ParamsError(f"has a value of {len(node.value)} characters in {_line(node)}; allowed are {MAX_SCALAR}")
        return 1, 0
    if node not in known:
        known[node] = None
        children = chain(*node.value) if isinstance(node, MappingNode) else node.value
        extents = [(1, 0), *(_extent(child, known) for child in children)]
        known[node] = sum(values for values, _ in extents), 1 + max(levels for _, levels in extents)
    extent = known[node]
    if extent is None:
        raise ParamsError(f"holds itself in {_line(node)}")
    values, levels = extent
    if values > MAX_VALUES:
        raise ParamsError(f"holds more than {MAX_VALUES} values in {_line(node)} with its aliases written out")
    if levels > MAX_LEVELS:
        raise ParamsError(f"is nested deeper than {MAX_LEVELS} levels in {_line(node)}")
    return extent


def _line(node: Node) -> str:
    return f"line {node.start_mark.line + 1}"


def shortened(value: Any) -> str:
    """A value as messages show it: what is long is cut in the middle."""
    return _REPR.repr(value)


def _yaml_problem(error: Exception) -> str:
    if isinstance(error, MarkedYAMLError) and error.problem_mark is not None:
        reason = f"line {error.problem_mark.line + 1}: {error.problem}"
    elif isinstance(error, LookupError):
        reason = f"a value is not what its tag says: {error}"
    else:
        reason = str(error)
    return cut(" ".join(reason.split()))


def cut(text: str) -> str:
    """A text without its middle where it is long."""
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT // 2]}...{text[-MAX_TEXT // 2 :]}"
