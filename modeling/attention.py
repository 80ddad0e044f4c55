"""Attention of ragged queries over ragged keys, each within its segment (a sentence or a document).

Shape suffixes
    Q = queries of all segments, K = keys of all segments, S = segments, H = heads, E = width of a head,
    M = random features, G, L, J = a group of segments, its most queries, and its most keys
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from .ragged import Groups, Ragged, is_exporting, recomputed

# Queries handled at a time, and computed anew for the gradient, so that memory grows with the block, not its square.
QUERY_CHUNK = 1024
# Queries of linear attention whose random features are kept for the gradient; those of more are computed anew.
MOST_KEPT = 8_192


class SoftmaxAttention(nn.Module):
    """Exact scaled dot-product attention (Vaswani et al. 2017): time grows with queries x keys, memory doesn't."""

    def __init__(self, head_size: int, config: Any) -> None:
        super().__init__()

    def forward(self, query_QHE: Tensor, key_KHE: Tensor, value_KHE: Tensor, queries: Ragged, keys: Ragged) -> Tensor:
        """Attended values (Q, H, E); `queries` and `keys` have the same segments, and no keyless one has a query."""

        def attend(query_GHLE: Tensor, mask_GJ: Tensor, key_GJHE: Tensor, value_GJHE: Tensor) -> Tensor:
            key_GHJE, value_GHJE = key_GJHE.transpose(1, 2), value_GJHE.transpose(1, 2)
            mask_G11J = mask_GJ[:, None, None]
            if is_exporting() or query_GHLE.shape[2] <= QUERY_CHUNK:
                return F.scaled_dot_product_attention(query_GHLE, key_GHJE, value_GHJE, attn_mask=mask_G11J)
            chunks = [
                checkpoint(F.scaled_dot_product_attention, chunk, key_GHJE, value_GHJE, mask_G11J, use_reentrant=False)
                for chunk in query_GHLE.split(QUERY_CHUNK, dim=2)
            ]
            return torch.cat(chunks, dim=2)

        return over_groups(attend, query_QHE, queries, keys, key_KHE, value_KHE)


class LinearAttention(nn.Module):
    """Softmax attention by positive orthogonal random features (Performer, Choromanski et al. 2021): linear in length.

    exp(q.k) is the mean over random w of exp(w.q - |q|^2/2) exp(w.k - |k|^2/2): keys and values are summed once, and
    every query reads the sum. The directions w are drawn with the model's weights, and saved with them. The estimate's
    variance grows with |q + k|, so the more so the more peaked the attention is.
    """

    projection_EM: Tensor

    def __init__(self, head_size: int, config: Any) -> None:
        super().__init__()
        self.register_buffer("projection_EM", torch.empty(head_size, config.linear_features))

    def init_own_parameters(self) -> None:
        """Called where the model's fresh weights are set: orthogonal directions, with the lengths of normal vectors."""
        head_size, num_features = self.projection_EM.shape
        blocks = []
        for _ in range(math.ceil(num_features / head_size)):
            block = torch.empty(head_size, head_size, device=self.projection_EM.device)
            nn.init.orthogonal_(block)
            blocks.append(block * torch.randn(head_size, head_size, device=block.device).norm(dim=0))
        self.projection_EM.copy_(torch.cat(blocks, dim=1)[:, :num_features])

    def forward(self, query_QHE: Tensor, key_KHE: Tensor, value_KHE: Tensor, queries: Ragged, keys: Ragged) -> Tensor:
        """Attended values (Q, H, E); see `SoftmaxAttention`."""
        # Without autocast: these are exponentials, and sums over as many as there are keys.
        with torch.autocast(query_QHE.device.type, enabled=False):
            given = query_QHE.float(), queries, keys, key_KHE.float(), value_KHE.float()
            read = self.read if is_exporting() else recomputed(self.read, len(query_QHE), MOST_KEPT)
            return over_groups(read, *given).to(value_KHE.dtype)

    def read(self, query_GHLE: Tensor, mask_GJ: Tensor, key_GJHE: Tensor, value_GJHE: Tensor) -> Tensor:
        """Values (G, H, L, E) read by a group's queries."""
        return read_sums(self.log_features(query_GHLE), mask_GJ, self.log_features(key_GJHE), value_GJHE)

    def log_features(self, x_XE: Tensor) -> Tensor:
        """Logarithm of the random features, (..., M), of vectors (..., E) whose products softmax attention scales."""
        x_XE = x_XE * x_XE.shape[-1] ** -0.25
        return x_XE @ self.projection_EM.float() - x_XE.square().sum(-1, keepdim=True) / 2


def read_sums(query_GHLM: Tensor, mask_GJ: Tensor, key_GJHM: Tensor, value_GJHE: Tensor) -> Tensor:
    """Values (G, H, L, E) read by the logarithms of random features; every segment has a key.

    Each feature's highest key moves over to the queries, and each query's highest feature cancels between numerator and
    denominator: the denominator is at least 1, however large or small the features are.
    """
    key_GHMJ = key_GJHM.permute(0, 2, 3, 1).masked_fill(~mask_GJ[:, None, None], float("-inf"))
    highest_GHM1 = key_GHMJ.detach().amax(3, keepdim=True)
    key_GHMJ = (key_GHMJ - highest_GHM1).exp()
    query_GHLM = query_GHLM + highest_GHM1.transpose(2, 3)
    query_GHLM = (query_GHLM - query_GHLM.detach().amax(3, keepdim=True)).exp()
    summed_GHME = key_GHMJ @ value_GJHE.transpose(1, 2)
    return (query_GHLM @ summed_GHME) / (query_GHLM @ key_GHMJ.sum(3, keepdim=True))


def over_groups(attend: Any, query_QHX: Tensor, queries: Ragged, keys: Ragged, *read: Tensor) -> Tensor:
    """`attend(query_GHLX, mask_GJ, *read_GJHY) -> (G, H, L, E)` for each group, and its valid items as (Q, H, E)."""
    groups = queries.groups
    of_keys = groups if keys is queries else Groups(keys, groups.segments)
    read_groups = zip(*(of_keys.split(each) for each in read), strict=True)
    results = [
        attend(query_GLHX.transpose(1, 2), mask_GJ, *each).transpose(1, 2)
        for query_GLHX, mask_GJ, each in zip(groups.split(query_QHX), of_keys.masks, read_groups, strict=True)
    ]
    return groups.join(results)


ATTENTIONS: dict[str, type[SoftmaxAttention] | type[LinearAttention]] = {
    "softmax": SoftmaxAttention,
    "linear": LinearAttention,
}
