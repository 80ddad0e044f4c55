"""What the words and word pairs of a text say of its class by counts alone: naive Bayes beside the network.

Shape suffixes
    B = texts, T = tokens, C = classes, G = n-grams of the table, N = n-grams of all texts, M = distinct ones of a text
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from .ragged import Ragged
from .windows import PackedInputs

Batches = Iterable[tuple[PackedInputs, Tensor]]  # texts, and their class ids (B,)

# Added to every count, as in the best complement naive Bayes of the sparse baselines.
SMOOTHING = 0.1
# An odd number whose multiples spread over all 64 bits (2^64 over the golden ratio).
MULTIPLIER = 0x9E3779B97F4A7C15 - 2**64


class NgramEvidence(nn.Module):
    """Complement naive Bayes (Rennie et al. 2003) on the TF-IDF of n-grams of tokens.

    The weights are counted over the training set, not trained: an n-gram's evidence for a class is how rare it is in
    all other classes. Each n-gram adds its own part, so that the sum is its own explanation.

    Args:
        num_classes: C.
        num_ngrams: G; 0 before anything is counted.
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
        """Called where the model's fresh weights are set: before anything is counted, there is no evidence."""
        nn.init.zeros_(self.key_G)
        nn.init.ones_(self.idf_G)
        nn.init.zeros_(self.weight_GC)

    def forward(self, packed: PackedInputs) -> Tensor:
        """Evidence for each class, (B, C), of mean 0 over the classes of an n-gram; 0 for a text without known ones."""
        text_M, row_M, weight_M = self.tf_idf(packed)
        parts_MC = self.weight_GC[row_M].float() * weight_M[:, None]
        return parts_MC.new_zeros(len(packed.mask_BT), parts_MC.shape[1]).index_add(0, text_M, parts_MC)

    def tf_idf(self, packed: PackedInputs) -> tuple[Tensor, Tensor, Tensor]:
        """Text, row of the table, and weight of each text's known n-grams, (M,); a text's weights have length 1."""
        text_N, key_N = self.ngrams(packed)
        row_N = torch.searchsorted(self.key_G, key_N)
        known_N = (row_N < len(self.key_G)).nonzero()[:, 0]
        known_N = known_N[self.key_G[row_N[known_N]] == key_N[known_N]]
        distinct_M, count_M = ((text_N[known_N] << 32) + row_N[known_N]).unique(return_counts=True)
        text_M, row_M = distinct_M >> 32, distinct_M & 0xFFFFFFFF
        weight_M = (1 + count_M.float().log()) * self.idf_G[row_M].float()
        texts = Ragged(text_M.bincount(minlength=len(packed.mask_BT)))
        return text_M, row_M, weight_M / texts.sum(weight_M.square()).sqrt()[text_M]

    def ngrams(self, packed: PackedInputs) -> tuple[Tensor, Tensor]:
        """Text and key of every n-gram, (N,) each. Keys are hashes of 64 bits: two n-grams hardly ever share one.

        Raises:
            ValueError: There are no token ids.
        """
        if "input_ids" not in packed.tokens:
            raise ValueError("evidence of n-grams needs input_ids, too, beside inputs_embeds")
        ids_BT, mask_BT = packed.tokens["input_ids"], packed.mask_BT
        key_BT, texts, keys = torch.zeros_like(ids_BT), [], []
        for size in range(min(self.size, ids_BT.shape[1])):
            last_BT = ids_BT[:, size:]
            key_BT = key_BT[:, : last_BT.shape[1]] * MULTIPLIER + last_BT + 1
            text_N, start_N = mask_BT[:, size:].nonzero(as_tuple=True)
            texts.append(text_N)
            keys.append(key_BT[text_N, start_N])
        return torch.cat(texts), torch.cat(keys)

    def count(self, batches: Callable[[], Batches], limit: int) -> None:
        """Make the table from the training texts.

        Args:
            batches: Gives the texts; called twice.
            limit: Most n-grams of the table; those of most texts stay.
        """
        self.set_keys(batches(), limit)
        num_classes = self.weight_GC.shape[1]
        sums = torch.zeros(len(self.key_G) * num_classes, dtype=torch.float64, device=self.key_G.device)
        for packed, labels in batches():
            text_M, row_M, weight_M = self.tf_idf(packed)
            sums.index_add_(0, row_M * num_classes + labels[text_M], weight_M.double())
        sums_GC = sums.view(-1, num_classes)
        others_GC = sums_GC.sum(1, keepdim=True) - sums_GC + SMOOTHING
        weight_GC = -(others_GC / others_GC.sum(0)).log()
        self.weight_GC = (weight_GC - weight_GC.mean(1, keepdim=True)).half()

    def set_keys(self, batches: Batches, limit: int) -> None:
        """Find the n-grams of most texts, and their inverse document frequencies."""
        key_G = self.key_G[:0]
        texts_G, num_texts = torch.zeros_like(key_G), 0
        for packed, _ in batches:
            text_N, key_N = self.ngrams(packed)
            order_N = key_N.argsort(stable=True)
            text_N, key_N = text_N[order_N], key_N[order_N]  # within a key, texts ascend
            is_new_N = torch.ones_like(key_N, dtype=torch.bool)
            is_new_N[1:] = (key_N[1:] != key_N[:-1]) | (text_N[1:] != text_N[:-1])
            key_M, count_M = key_N[is_new_N].unique(return_counts=True)
            key_G, same = torch.cat([key_G, key_M]).unique(return_inverse=True)
            texts_G = torch.zeros_like(key_G).index_add(0, same, torch.cat([texts_G, count_M]))
            num_texts += len(packed.mask_BT)
            if len(key_G) > 16 * limit:  # what is rare so far makes room
                key_G, texts_G = most_frequent(key_G, texts_G, 8 * limit)
        self.key_G, texts_G = most_frequent(key_G, texts_G, limit)
        self.idf_G = ((1 + num_texts) / (1 + texts_G.double())).log().float() + 1
        self.weight_GC = self.weight_GC.new_zeros(len(self.key_G), self.weight_GC.shape[1])


def most_frequent(key_G: Tensor, texts_G: Tensor, limit: int) -> tuple[Tensor, Tensor]:
    """The `limit` keys of most texts, still ascending, and in how many they stand."""
    kept = texts_G.argsort(descending=True, stable=True)[:limit].sort().values
    return key_G[kept], texts_G[kept]
