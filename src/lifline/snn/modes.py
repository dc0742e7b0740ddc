"""In which of PyTorch's modes something is computed, which decides what may compute it."""

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from lifline.snn.surrogate import is_traced


def is_recorded() -> bool:
    """Whether a graph is made that others run: by `torch.export`, `torch.jit.trace` or an export to ONNX."""
    return torch.compiler.is_exporting() or is_traced()


def is_transformed() -> bool:
    """Whether `torch.func` transforms what runs, or gradients are computed forward."""
    innermost = torch._C._functorch.peek_interpreter_stack()
    # not `is not None`: torch.compile takes what it is for something, even where it is None
    return isinstance(innermost, torch._C._functorch.CInterpreter) or forward_ad._current_level >= 0


def is_watched() -> bool:
    """Whether a mode sees each operation, as with fake tensors, `make_fx` and counters."""
    return torch._C._len_torch_dispatch_stack() > 0


def has_values(tensor: Tensor) -> bool:
    """Whether a tensor's values can be looked at, at once and without being recorded."""
    is_plain = tensor.is_cpu and type(tensor) in (Tensor, nn.Parameter)
    return is_plain and not (torch.compiler.is_compiling() or is_recorded() or is_transformed() or is_watched())


def is_autocast(device_type: str) -> bool:
    """Whether products are to be computed in half precision there."""
    return torch.amp.is_autocast_available(device_type) and torch.is_autocast_enabled(device_type)
