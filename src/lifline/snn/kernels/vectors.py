"""Vectors of floats as values in compiled code: LLVM keeps them in registers where it would not keep an array's part.

Numba's loops are vectorised over their innermost index alone. A sum over few rows of many numbers, chosen by a list,
needs its total in registers while the list is walked: `total = add(total, load(rows, start, total))`.

Arrays are contiguous; an index counts their elements from the first, whatever their shape, and is not checked.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

from lifline.snn.kernels.threads import compiled

LANES = 16
"""Numbers to whose multiples rows are filled up, to be handled by whole vectors."""

operation: Any = intrinsic
"""Marks a function that writes LLVM's code for one that is called in compiled code."""

FLOAT, BYTE, INT32 = ir.FloatType(), ir.IntType(8), ir.IntType(32)


class Floats(types.Type):
    """The type of a vector of `width` floats; beyond a register's width, LLVM takes several."""

    def __init__(self, width: int) -> None:
        self.width = width
        super().__init__(f"Floats({width})")


@register_model(Floats)
class _FloatsModel(models.PrimitiveModel):
    def __init__(self, manager: Any, floats: Floats) -> None:
        super().__init__(manager, floats, ir.VectorType(FLOAT, floats.width))


def zeros_of(width: int) -> Any:
    """Make a function of compiled code that returns a vector of zeros."""
    floats = Floats(width)

    def zeros(_: Any) -> tuple[Any, Any]:
        return floats(), lambda context, builder, _signature, _values: context.get_constant_null(floats)

    return intrinsic(zeros)


@operation
def load(_: Any, array: Any, index: Any, like: Any) -> tuple[Any, Any]:
    """Return the numbers from `index`, as many as `like` has; bytes are converted."""
    floats = _of(array.dtype, like.width)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        loaded = builder.load(_at(context, builder, signature, values, floats), align=array.dtype.bitwidth // 8)
        return builder.uitofp(loaded, ir.VectorType(FLOAT, like.width)) if array.dtype == types.uint8 else loaded

    return like(array, types.intp, like), generate


@operation
def store(_: Any, array: Any, index: Any, vector: Any) -> tuple[Any, Any]:
    """Put a vector's numbers from `index` on; into bytes they are converted."""
    floats = _of(array.dtype, vector.width)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        value = values[2]
        if array.dtype == types.uint8:
            value = builder.trunc(builder.fptosi(value, ir.VectorType(INT32, vector.width)), floats)
        place = _at(context, builder, signature, values, floats)
        builder.store(value, place, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.none(array, types.intp, vector), generate


@operation
def spread(_: Any, number: Any, like: Any) -> tuple[Any, Any]:
    """Return a vector like another, every element the same number."""

    def generate(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        return _spread(builder, values[0], like.width)

    return like(types.float32, like), generate


@operation
def add(_: Any, left: Any, right: Any) -> tuple[Any, Any]:
    """Return the sum of two vectors."""
    return left(left, right), lambda _context, builder, _signature, values: builder.fadd(*values)


@operation
def add_scaled(_: Any, total: Any, number: Any, vector: Any) -> tuple[Any, Any]:
    """Return total + number * vector, rounded once where the processor can."""

    def generate(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        product = builder.fmul(_spread(builder, values[1], vector.width), values[2], flags=("contract",))
        return builder.fadd(values[0], product, flags=("contract",))

    return total(total, types.float32, vector), generate


@operation
def where_larger(_: Any, new: Any, old: Any, if_so: Any, if_not: Any) -> tuple[Any, Any]:
    """Choose by element: `if_so` where `new` is larger than `old` or NaN, as PyTorch's max pooling does."""

    def generate(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        larger = builder.fcmp_ordered(">", values[0], values[1])
        return builder.select(builder.or_(larger, builder.fcmp_unordered("uno", values[0], values[0])), *values[2:])

    return if_so(new, old, if_so, if_not), generate


@operation
def where_equal(_: Any, vector: Any, number: Any, if_so: Any) -> tuple[Any, Any]:
    """Choose by element: `if_so` where the vector is equal to a number, else 0."""

    def generate(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        equal = builder.fcmp_ordered("==", values[0], _spread(builder, values[1], vector.width))
        return builder.select(equal, values[2], context.get_constant_null(if_so))

    return if_so(vector, types.float32, if_so), generate


@operation
def equal_bits(_: Any, array: Any, index: Any, byte: Any, like: Any) -> tuple[Any, Any]:
    """Return which of the bytes from `index`, as many as `like` has, equal one: a bit each, the first the lowest."""
    width = like.width

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        bytes_ = builder.load(_at(context, builder, signature, values, ir.VectorType(BYTE, width)), align=1)
        equal = builder.icmp_unsigned("==", bytes_, _spread(builder, values[2], width))
        return builder.zext(builder.bitcast(equal, ir.IntType(width)), ir.IntType(64))

    return types.uint64(array, types.intp, types.uint8, like), generate


@operation
def store_where_above(
    _: Any, array: Any, index: Any, threshold: Any, listed: Any, count: Any, limit: Any
) -> tuple[Any, Any]:
    """List from `count` on which of the 16 numbers from `index` minus a threshold are above 0; return their count.

    Only the first `limit` numbers are looked at. Sixteen places of the list are written to.
    """
    width = LANES
    floats, integers = ir.VectorType(FLOAT, width), ir.VectorType(INT32, width)
    lanes = ir.Constant(integers, list(range(width)))

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        _, first, thresholds, _, begin, end = values
        numbers = builder.load(_at(context, builder, signature, values, floats), align=4)
        distance = builder.fsub(numbers, _spread(builder, thresholds, width))
        above = builder.fcmp_ordered(">", distance, context.get_constant_null(Floats(width)))
        within = builder.icmp_signed("<", lanes, _spread(builder, builder.trunc(end, INT32), width))
        chosen = builder.and_(above, within)
        indices = builder.add(lanes, _spread(builder, builder.trunc(first, INT32), width))
        mask = ir.VectorType(ir.IntType(1), width)
        function = ir.FunctionType(integers, [integers, mask, integers])
        compress = cgutils.get_or_insert_function(builder.module, function, "llvm.experimental.vector.compress.v16i32")
        packed = builder.call(compress, [indices, chosen, ir.Constant(integers, ir.Undefined)])
        data = context.make_array(signature.args[3])(context, builder, values[3]).data
        builder.store(packed, builder.bitcast(builder.gep(data, [begin]), integers.as_pointer()), align=4)
        return builder.add(begin, builder.zext(builder.ctpop(builder.bitcast(chosen, ir.IntType(width))), begin.type))

    return types.intp(array, types.intp, types.float32, listed, types.intp, types.intp), generate


@operation
def copy_shifted(_: Any, source: Any, begin: Any, target: Any, place: Any, shift: Any, factor: Any) -> tuple[Any, Any]:
    """Put (source[begin] + shift) * factor at target[place], and so on for 16 integers."""
    integers = ir.VectorType(INT32, LANES)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        def pointer(array: int) -> Any:
            data = context.make_array(signature.args[array])(context, builder, values[array]).data
            return builder.bitcast(builder.gep(data, [values[array + 1]]), integers.as_pointer())

        shifts, factors = (_spread(builder, builder.trunc(value, INT32), LANES) for value in values[4:])
        shifted = builder.mul(builder.add(builder.load(pointer(0), align=4), shifts), factors)
        builder.store(shifted, pointer(2), align=4)
        return context.get_dummy_value()

    return types.none(source, types.intp, target, types.intp, types.intp, types.intp), generate


@operation
def lowest_bit(_: Any, bits: Any) -> tuple[Any, Any]:
    """Return the place of the lowest bit that is set."""

    def generate(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        return builder.cttz(values[0], ir.IntType(1)(1))

    return types.int64(types.uint64), generate


zeros_128, zeros_64, zeros_32, zeros_16 = zeros_of(128), zeros_of(64), zeros_of(32), zeros_of(LANES)


def filled_up(number: int, width: int = LANES) -> int:
    """Return the next multiple of a width."""
    return -(-number // width) * width


@compiled()
def in_wide_vectors(function, count, arguments):
    """Do as `in_vectors`, with vectors of 128, too: where there is one total, and nothing else to keep in registers."""
    lane = 0
    while lane + 128 <= count:
        function(zeros_128(), lane, *arguments)
        lane += 128
    in_vectors_from(lane, function, count, arguments)


@compiled()
def in_vectors(function, count, arguments):
    """Call `function(like, lane, *arguments)` for vectors of 64, 32 and 16 that together cover a filled-up count."""
    in_vectors_from(0, function, count, arguments)


@compiled()
def in_vectors_from(lane, function, count, arguments):
    """Do as `in_vectors`, beginning at a lane."""
    while lane + 64 <= count:
        function(zeros_64(), lane, *arguments)
        lane += 64
    if lane + 32 <= count:
        function(zeros_32(), lane, *arguments)
        lane += 32
    if lane < count:
        function(zeros_16(), lane, *arguments)


def _of(number: Any, width: int) -> Any:
    return ir.VectorType(BYTE if number == types.uint8 else FLOAT, width)


def _at(context: Any, builder: Any, signature: Any, values: Any, vector: Any) -> Any:
    data = context.make_array(signature.args[0])(context, builder, values[0]).data
    return builder.bitcast(builder.gep(data, [values[1]]), vector.as_pointer())


def _spread(builder: Any, number: Any, width: int) -> Any:
    first = ir.Constant(INT32, 0)
    vector = ir.VectorType(number.type, width)
    alone = builder.insert_element(ir.Constant(vector, ir.Undefined), number, first)
    return builder.shuffle_vector(
        alone,
        ir.Constant(vector, ir.Undefined),
        ir.Constant(ir.VectorType(INT32, width), np.zeros(width, int).tolist()),
    )
