"""What torch's exporter lacks for our models: operators of torch in those of ONNX, and an LSTM for any length.

The arguments of a translation are those of torch's operator.
"""

from collections.abc import Callable
from typing import Any

import onnx_ir
import torch
from onnxscript import opset20
from onnxscript.function_libs.torch_lib.ops.core import aten_remainder_scalar
from torch import Tensor, nn

op: Any = opset20
OPSET = 20
INT64 = onnx_ir.DataType.INT64
SORTED_BY_TOPK = (onnx_ir.DataType.FLOAT, onnx_ir.DataType.DOUBLE, INT64)


def _vector(value: int) -> Any:
    return op.Constant(value_ints=[value])


def stable_sort(self: Any, stable: bool = True, dim: int = -1, descending: bool = False) -> tuple[Any, Any]:
    """`aten.sort.stable`: of equal values, TopK puts the first one first, whichever way it sorts."""
    kind = self.dtype
    values = self if kind in SORTED_BY_TOPK else op.Cast(self, to=INT64)
    size = op.Gather(op.Shape(self), _vector(dim))
    values, indices = op.TopK(values, size, axis=dim, largest=int(descending), sorted=1)
    return values if kind in SORTED_BY_TOPK else op.Cast(values, to=kind), indices


def repeat_interleave(repeats: Any, output_size: Any = None) -> Any:
    """`aten.repeat_interleave.Tensor`: how many segments end by each item; onnxscript compares all pairs."""
    first, zero = op.Constant(value_int=0), _vector(0)
    ends = op.CumSum(repeats, first)
    total = op.ReduceSum(repeats, zero, keepdims=1)
    marks = op.Expand(zero, op.Add(total, _vector(1)))
    marks = op.ScatterElements(marks, ends, op.Expand(_vector(1), op.Shape(ends)), axis=0, reduction="add")
    return op.Slice(op.CumSum(marks, first), zero, total)


def index_add(self: Any, dim: int, index: Any, source: Any, alpha: float = 1) -> Any:
    """`aten.index_add` in turn: the exporter adds by ScatterND, and threads of onnxruntime then lose sums."""
    if alpha != 1:
        raise NotImplementedError("index_add with alpha")
    others = [axis for axis in range(len(source.shape)) if axis != dim]
    place = op.Unsqueeze(index, op.Constant(value_ints=others)) if others else index
    return op.ScatterElements(self, op.Expand(place, op.Shape(source)), source, axis=dim, reduction="add")


def searchsorted(
    sequence: Any, self: Any, out_int32: bool = False, right: bool = False, side: str | None = None, sorter: Any = None
) -> Any:
    """`aten.searchsorted.Tensor` of int64 in a vector of known length: by halves, for all values at once."""
    size = int(sequence.shape[0])
    found, step = op.Sub(self, self), 1 << (size.bit_length() - 1)
    while step:
        further = op.Add(found, _vector(step))
        last = op.Gather(sequence, op.Sub(op.Min(further, _vector(size)), _vector(1)))
        is_before = op.LessOrEqual(last, self) if right or side == "right" else op.Less(last, self)
        found = op.Where(op.And(is_before, op.LessOrEqual(further, _vector(size))), further, found)
        step //= 2
    return found


def remainder(self: Any, other: Any) -> Any:
    """`aten.remainder.Scalar`, also by a size that is known when the model runs."""
    return op.Mod(self, op.Cast(other, to=INT64)) if self.dtype == INT64 else aten_remainder_scalar(self, other)


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.aten.sort.stable: stable_sort,
    torch.ops.aten.repeat_interleave.Tensor: repeat_interleave,
    torch.ops.aten.index_add.default: index_add,
    torch.ops.aten.searchsorted.Tensor: searchsorted,
    torch.ops.aten.remainder.Scalar: remainder,
}


class OnnxLSTM(nn.Module):
    """An `nn.LSTM` of one layer and direction as ONNX's operator: torch unrolls its own to the example's length.

    Args:
        lstm: The layer, which takes batches first.
    """

    def __init__(self, lstm: nn.LSTM) -> None:
        super().__init__()
        self.width = lstm.hidden_size
        weights = {name: self.in_order(weight) for name, weight in lstm.named_parameters()}
        self.input_weight = nn.Parameter(weights["weight_ih_l0"][None])
        self.state_weight = nn.Parameter(weights["weight_hh_l0"][None])
        self.bias = nn.Parameter(torch.cat([weights["bias_ih_l0"], weights["bias_hh_l0"]])[None])

    def in_order(self, weight: Tensor) -> Tensor:
        """Torch's gates are input, forget, cell and output; ONNX's input, output, forget and cell."""
        enter, forget, cell, leave = weight.detach().split(self.width)
        return torch.cat([enter, leave, forget, cell])

    def forward(self, x_GLE: Tensor) -> tuple[Tensor]:
        """G sequences of L vectors of width E -> (G, L, D), as the first of an LSTM's outputs."""
        x_LGE = nn.functional.pad(x_GLE, (0, 0, 0, 0, 0, 1)).transpose(0, 1)  # onnxruntime dies of G = 0
        found = torch.onnx.ops.symbolic(
            "LSTM",
            (x_LGE, self.input_weight, self.state_weight, self.bias),
            {"hidden_size": self.width},
            dtype=x_GLE.dtype,
            shape=(x_LGE.shape[0], 1, x_LGE.shape[1], self.width),
        )
        return (found[:, 0].transpose(0, 1)[:-1],)


def with_onnx_lstms(model: nn.Module) -> None:
    """Put `OnnxLSTM` in the place of each LSTM of a model, which runs in onnxruntime only from then on."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.LSTM):
                setattr(module, name, OnnxLSTM(child))
