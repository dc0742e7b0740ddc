"""How kernels become operators of PyTorch, `torch.ops.lifline`: differentiable, and traced without being run.

PyTorch's `custom_op` would register the same in fewer lines, but imports torch._dynamo when first called, more than a
second.
"""

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from torch import Tensor, library

Gradients = tuple[Tensor | None, ...]
Function = Callable[..., Any]

_LIBRARY = library.Library("lifline", "FRAGMENT")  # its operators live as long as it does


def kernels_for(tensor: Tensor) -> ModuleType:
    """Import the kernels for a tensor's kind of device and return their module."""
    if tensor.device.type == "cuda":
        from lifline.snn.kernels import cuda  # noqa: PLC0415

        return cuda
    from lifline.snn.kernels import cpu  # noqa: PLC0415 - half a second

    return cpu


def _no_gradients(ctx: Any, *_: Tensor | None) -> Gradients:
    raise RuntimeError("gradients of gradients are not in the kernels; LIFLINE_KERNELS=reference computes them")


def operator(
    schema: str,
    shapes: Function,
    gradients: Function = _no_gradients,
    context: Function | None = None,
    kinds_of_device: Sequence[str] = ("CPU", "CUDA"),
) -> Callable[[Function], Function]:
    """Make a function an operator.

    Args:
        schema: its name, arguments and results, as PyTorch writes them.
        shapes: makes results of the right shapes, with whatever in them.
        gradients: its backward.
        context: keeps what that needs.
        kinds_of_device: those that it is for.
    """

    def register(function: Function) -> Function:
        name = schema.partition("(")[0]
        _LIBRARY.define(schema)
        for kind_of_device in kinds_of_device:
            _LIBRARY.impl(name, function, kind_of_device)
        library.register_fake(f"lifline::{name}", shapes, lib=_LIBRARY)
        library.register_autograd(f"lifline::{name}", gradients, setup_context=context, lib=_LIBRARY)
        return function

    return register
