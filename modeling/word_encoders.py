"""Contextual encoders of words for models trained from scratch.

Shape suffixes
    G = sequences, L = words of the longest, E = width of a word embedding, D = width of a contextual word vector
"""

import torch
from torch import Tensor, nn

from .ragged import is_exporting


class BiLSTM(nn.Module):
    """Bidirectional LSTM over right-padded sequences whose results don't depend on the padding.

    Each direction is an LSTM of its own that reads left to right, the backward one the reversed sequence: padding then
    comes after all that counts, and a padded call (which on CPU is several times faster than a packed one) is exact.

    Args:
        input_size: E.
        hidden_size: D, both directions together.
        num_layers: Layers.
        dropout: Between layers.
    """

    def __init__(self, input_size: int, hidden_size: int, num_layers: int, dropout: float) -> None:
        super().__init__()
        sizes = [input_size] + [hidden_size] * (num_layers - 1)
        self.forward_layers = nn.ModuleList(nn.LSTM(size, hidden_size // 2, batch_first=True) for size in sizes)
        self.backward_layers = nn.ModuleList(nn.LSTM(size, hidden_size // 2, batch_first=True) for size in sizes)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_GLE: Tensor, mask_GL: Tensor) -> Tensor:
        """(G, L, E) -> (G, L, D); what stands on padding is meaningless.

        Raises:
            ValueError: torch.export looks at it.
        """
        if is_exporting() and isinstance(self.forward_layers[0], nn.LSTM):  # `salience export` has put others there
            raise ValueError(
                "torch.export unrolls an LSTM to the length of its example, so that a model with a Bi-LSTM can't be "
                "exported by it alone: `salience export` writes it as ONNX"
            )
        if not refuses_bfloat16(x_GLE):
            return self.read(x_GLE, mask_GL)
        with torch.autocast("cpu", enabled=False):
            return self.read(x_GLE.to(next(self.parameters()).dtype), mask_GL)

    def read(self, x_GLE: Tensor, mask_GL: Tensor) -> Tensor:
        """See `forward`."""
        position_L = torch.arange(mask_GL.shape[1], device=mask_GL.device)
        reverse_GL = torch.where(mask_GL, mask_GL.sum(1, keepdim=True) - 1 - position_L, position_L)
        rows_G1 = torch.arange(mask_GL.shape[0], device=mask_GL.device)[:, None] * mask_GL.shape[1]
        reverse_C = (rows_G1 + reverse_GL).flatten()
        for layer, (ahead, back) in enumerate(zip(self.forward_layers, self.backward_layers, strict=True)):
            x_GLE = self.dropout(x_GLE) if layer else x_GLE
            backward = reordered(back(reordered(x_GLE, reverse_C))[0], reverse_C)
            x_GLE = torch.cat([ahead(x_GLE)[0], backward], dim=-1)
        return x_GLE


def reordered(x_GLE: Tensor, cell_C: Tensor) -> Tensor:
    """The cells of a grid in another order, C = G * L."""
    return x_GLE.flatten(0, 1).index_select(0, cell_C).view_as(x_GLE)


def refuses_bfloat16(x_GLE: Tensor) -> bool:
    """Whether autocast would have an LSTM fail: oneDNN has none in bfloat16 for CPUs without AVX-512."""
    if x_GLE.device.type != "cpu" or not torch.is_autocast_enabled("cpu") or not torch.backends.mkldnn.is_available():
        return False
    return torch.get_autocast_dtype("cpu") == torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported()
