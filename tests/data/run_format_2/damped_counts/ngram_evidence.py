"""What the words and word pairs of a text say of its class by counts alone, beside the network.

Shape suffixes
    B = texts, T = tokens, A = lengths of n-grams, C = classes, G = n-grams of the table, N = n-grams of all texts,
    M = distinct ones of a text
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .ragged import Ragged, counts, positions
from .windows import PackedInputs

# Least mean square of a text's evidence that is told from none.
TINY = 1e-12
# An odd number whose multiples spread over all 64 bits (2^64 over the golden ratio).
MULTIPLIER = 0x9E3779B97F4A7C15 - 2**64


def damping_factor(evidence_BC: Tensor, damping: float | Tensor) -> Tensor:
    """What damping multiplies a text's evidence by, (B, 1): a power of the evidence's own root mean square.

    Evidence that is k times as strong then counts for k^(1 - damping).

    Args:
        evidence_BC: Evidence for each class.
        damping: 0 for none, to below 1.
    """
    return evidence_BC.square().mean(1, keepdim=True).clamp(min=TINY) ** (-0.5 * damping)


def damped(evidence_BC: Tensor, damping: float | Tensor) -> Tensor:
    """Evidence for each class, (B, C), times its `damping_factor`."""
    return evidence_BC * damping_factor(evidence_BC, damping)


class NgramEvidence(nn.Module):
    """A weight for each n-gram of tokens and each class, on the TF-IDF of a text's n-grams.

    The weights are learned from the training texts apart from the network. Each n-gram adds its own part, so that the
    sum is its own explanation.

    Args:
        num_classes: C.
        num_ngrams: G.
        size: Longest n-gram, in tokens.
    """

    key_G: Tensor
    idf_G: Tensor
    weight_GC: Tensor

    def __init__(self, num_classes: int, num_ngrams: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("key_G", torch.empty(num_ngrams, dtype=torch.long))  # ascending
        self.register_buffer("idf_G", torch.empty(num_ngrams))
        self.register_buffer("weight_GC", torch.empty(num_ngrams, num_classes, dtype=torch.float16))

    def init_own_parameters(self) -> None:
        """Called where the model's fresh weights are set: before anything is learned, there is no evidence."""
        nn.init.zeros_(self.key_G)
        nn.init.ones_(self.idf_G)
        nn.init.zeros_(self.weight_GC)

    def forward(self, packed: PackedInputs) -> Tensor:
        """Evidence for each class, (B, C); 0 for a text without known n-grams."""
        text_M, row_M, weight_M = self.tf_idf(packed)
        parts_MC = self.weight_GC[row_M].float() * weight_M[:, None]
        return parts_MC.new_zeros(packed.mask_BT.shape[0], parts_MC.shape[1]).index_add(0, text_M, parts_MC)

    def with_weights(self, weight_GC: Tensor) -> "NgramEvidence":
        """The same n-grams with these weights, in half precision."""
        other = NgramEvidence(weight_GC.shape[1], len(self.key_G), self.size)
        other.key_G, other.idf_G, other.weight_GC = self.key_G, self.idf_G, weight_GC.half()
        return other

    def per_token(self, packed: PackedInputs, target: int) -> Tensor:
        """What each token adds to the evidence for a class, (B, T) in the caller's columns.

        The part of an n-gram is shared equally among its occurrences, and then among their tokens, so that a text's sum
        is its evidence.

        Args:
            packed: The texts.
            target: Number of the class.
        """
        text_M, row_M, weight_M = self.tf_idf(packed)
        cell_N, row_N = self.known(packed)
        cells = packed.mask_BT.numel()
        text_N, token_N = cell_N % cells // packed.mask_BT.shape[1], cell_N % cells
        distinct_N = torch.searchsorted((text_M << 32) + row_M, (text_N << 32) + row_N)
        part_M = self.weight_GC[row_M, target].float() * weight_M / counts(distinct_N, row_M.shape[0])
        later_N = cell_N // cells  # tokens behind the first
        part_N = part_M[distinct_N] / (later_N + 1)
        found = part_N.new_zeros(cells)
        for place in range(self.size):
            inside_N = later_N >= place
            found.index_add_(0, token_N[inside_N] + place, part_N[inside_N])
        return packed.unpack(found.unflatten(0, packed.mask_BT.shape))

    def tf_idf(self, packed: PackedInputs) -> tuple[Tensor, Tensor, Tensor]:
        """Text, row of the table, and weight of each text's known n-grams, (M,); a text's weights have length 1."""
        cell_N, row_N = self.known(packed)
        text_N = cell_N // packed.mask_BT.shape[1] % packed.mask_BT.shape[0]
        distinct_M, count_M = ((text_N << 32) + row_N).unique(return_counts=True)
        text_M, row_M = distinct_M >> 32, distinct_M & 0xFFFFFFFF
        weight_M = (1 + count_M.float().log()) * self.idf_G[row_M].float()
        texts = Ragged(counts(text_M, packed.mask_BT.shape[0]), text_M.shape[0])
        return text_M, row_M, weight_M / texts.sum(weight_M.square()).sqrt()[text_M]

    def known(self, packed: PackedInputs) -> tuple[Tensor, Tensor]:
        """Cell, see `cells`, and row of the table of every n-gram that stands there, (N,) each."""
        cell_N, key_N = self.cells(packed)
        row_N = torch.searchsorted(self.key_G, key_N)
        known_N = positions(row_N < len(self.key_G))
        known_N = known_N[positions(self.key_G[row_N[known_N]] == key_N[known_N])]
        return cell_N[known_N], row_N[known_N]

    def ngrams(self, packed: PackedInputs) -> tuple[Tensor, Tensor]:
        """Text and key of every n-gram, (N,) each."""
        cell_N, key_N = self.cells(packed)
        return cell_N // packed.mask_BT.shape[1] % packed.mask_BT.shape[0], key_N

    def cells(self, packed: PackedInputs) -> tuple[Tensor, Tensor]:
        """Cell of (A, B, T), length by text by first token, and key of every n-gram, (N,) each.

        Keys are hashes of 64 bits: two n-grams hardly ever share one.

        Raises:
            ValueError: There are no token ids.
        """
        if "input_ids" not in packed.tokens:
            raise ValueError("evidence of n-grams needs input_ids, too, beside inputs_embeds")
        width = packed.mask_BT.shape[1]
        ids_BT, mask_BT = (F.pad(each, (0, self.size - 1)) for each in (packed.tokens["input_ids"], packed.mask_BT))
        key_BT, keys = torch.zeros_like(packed.tokens["input_ids"]), []
        for last in range(self.size):
            key_BT = key_BT * MULTIPLIER + ids_BT[:, last : last + width] + 1
            keys.append(key_BT)
        is_whole_ABT = torch.stack([mask_BT[:, last : last + width] for last in range(self.size)])
        cell_N = positions(is_whole_ABT.flatten())
        return cell_N, torch.stack(keys).flatten()[cell_N]
