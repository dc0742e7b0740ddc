"""Numba kernels, compiled for wide vectors and run on PyTorch's own OpenMP threads.

A second thread pool beside PyTorch's would fight with it for the cores: an OpenMP thread that has nothing to do spins
for milliseconds before it sleeps. So kernels are launched by `GOMP_parallel`, libgomp's entry point for a parallel
region, in the very library that PyTorch has loaded. Where PyTorch brings no libgomp, they run on one thread.
"""

import ctypes
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from llvmlite import binding, ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from lifline.snn.kernels.cache import KernelCache, cache_folder
from lifline.system.signals import signals_held_off

REORDERED = {"reassoc", "contract", "nsz"}
"""Lets additions be reordered and fused with multiplications: faster, but rounded otherwise than PyTorch does."""

_VOID = ir.VoidType()
_INT32 = ir.IntType(32)
_POINTER = ir.IntType(8).as_pointer()


def compiled(fastmath: set[str] | None = None) -> Callable[[Callable[..., Any]], Any]:
    """Have a function compiled when it is first called."""
    return njit(nogil=True, error_model="numpy", fastmath=fastmath or False)


def run(function: Any, *arguments: Any) -> None:
    """Call a compiled function from Python, always with arguments of the same types.

    The first call loads it from disk, or compiles it and keeps it there. Signals that would stop the process wait until
    that is done: what a handler raises while LLVM calls back into Python is lost, or ends in a segmentation fault.
    """
    if function.overloads:
        function(*arguments)
        return
    with signals_held_off():
        _offer_openmp_to_compiled_code()
        folder = cache_folder()
        if folder is not None:
            function._cache = KernelCache(function.py_func.__name__, folder)
        function(*arguments)


def _wide_vectors(_: Any) -> tuple[Any, Any]:
    def generate(context: Any, builder: Any, _signature: Any, _values: Any) -> Any:
        attributes = builder.function.attributes
        set.add(attributes, '"prefer-vector-width"="512"')  # its own add() knows no attribute that has a value
        return context.get_dummy_value()

    return types.none(), generate


wide_vectors: Any = intrinsic(_wide_vectors)
"""Lets LLVM use 512-bit vectors in the compiled function that calls it, where by default it stops at 256 bits."""


def on_all_threads(kernel: Any) -> Any:
    """Make a function `launch(num_threads, arguments)` of compiled code, which runs a kernel on many threads.

    Each thread calls `kernel(thread, num_threads, *arguments)`. A kernel cannot raise, and so should not allocate.
    """

    def run_kernel(arguments):
        kernel(_omp_get_thread_num(), _omp_get_num_threads(), *arguments)

    def parallel_region(context: Any, module: Any, arguments: Any, packed: Any) -> Any:
        """Build the C function that each thread calls with a pointer to the packed arguments."""
        region = ir.Function(module, ir.FunctionType(_VOID, [_POINTER]), module.get_unique_name("lifline_region"))
        region.linkage = "internal"
        builder = ir.IRBuilder(region.append_basic_block())
        unpacked = builder.load(builder.bitcast(region.args[0], packed.type))
        signature = types.void(arguments)
        body = context.compile_subroutine(builder, run_kernel, signature).fndesc
        context.call_internal_no_propagate(builder, body, signature, [unpacked])
        builder.ret_void()
        return region

    @intrinsic
    def launch(_: Any, num_threads: Any, arguments: Any) -> tuple[Any, Any]:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            packed = cgutils.alloca_once_value(builder, values[1])
            region = parallel_region(context, builder.module, signature.args[1], packed)
            start_type = ir.FunctionType(_VOID, [region.type, _POINTER, _INT32, _INT32])
            start = cgutils.get_or_insert_function(builder.module, start_type, "GOMP_parallel")
            data, count, no_flags = builder.bitcast(packed, _POINTER), builder.trunc(values[0], _INT32), _INT32(0)
            builder.call(start, [region, data, count, no_flags])
            return context.get_dummy_value()

        return types.void(num_threads, arguments), generate

    return launch


def num_threads() -> int:
    """Return how many threads a kernel may use: as many as PyTorch's own."""
    return torch.get_num_threads() if _offer_openmp_to_compiled_code() else 1


@cache
def _offer_openmp_to_compiled_code() -> bool:
    """Name libgomp's functions to the compiler, or stand-ins for a single thread; returns whether there is libgomp."""
    found = sorted((Path(torch.__file__).parent / "lib").glob("libgomp*.so*"))
    for name, stand_in in _ONE_THREAD.items():
        function = getattr(ctypes.CDLL(str(found[0])), name) if found else stand_in
        binding.add_symbol(name, ctypes.cast(function, ctypes.c_void_p).value)
    return bool(found)


_Region = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_ONE_THREAD: dict[str, Any] = {
    "GOMP_parallel": ctypes.CFUNCTYPE(None, _Region, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)(
        lambda region, data, _count, _flags: region(data)
    ),
    "omp_get_thread_num": ctypes.CFUNCTYPE(ctypes.c_int)(lambda: 0),
    "omp_get_num_threads": ctypes.CFUNCTYPE(ctypes.c_int)(lambda: 1),
}
_omp_get_thread_num = types.ExternalFunction("omp_get_thread_num", types.int32())
_omp_get_num_threads = types.ExternalFunction("omp_get_num_threads", types.int32())
