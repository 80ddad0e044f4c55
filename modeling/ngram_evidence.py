"""What the words and word pairs of a text say of its class by counts alone: naive Bayes beside the network.

Shape suffixes
    B = texts, T = tokens, C = classes, G = buckets of n-grams, N = n-grams of all texts, M = distinct ones of each text
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from .ragged import Ragged
from .windows import PackedInputs

Batches = Iterable[tuple[PackedInputs, Tensor]]  # texts, and their class ids

# Added to every count, as in the best complement naive Bayes of the sparse baselines.
SMOOTHING = 0.1


class NgramEvidence(nn.Module):
    """Complement naive Bayes (Rennie et al. 2003) on the TF-IDF of hashed n-grams of tokens.

    The weights are counted over the training set, not trained: an n-gram's evidence for a class is how rare it is in
    all other classes. Each n-gram adds its own part, so that the sum is its own explanation.

    Args:
        num_classes: C.
        num_buckets: G; n-grams that share a bucket share their weight.
        size: Longest n-gram, in tokens.
    """

    idf_G: Tensor
    weight_GC: Tensor

    def __init__(self, num_classes: int, num_buckets: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("idf_G", torch.empty(num_buckets))
        self.register_buffer("weight_GC", torch.empty(num_buckets, num_classes, dtype=torch.float16))

    def init_own_parameters(self) -> None:
        """Called where the model's fresh weights are set: before anything is counted, there is no evidence."""
        nn.init.ones_(self.idf_G)
        nn.init.zeros_(self.weight_GC)

    def forward(self, packed: PackedInputs) -> Tensor:
        """Evidence for each class, (B, C), of mean 0 over the classes of an n-gram; 0 for a text without tokens."""
        text_M, bucket_M, weight_M = self.tf_idf(packed)
        parts_MC = self.weight_GC[bucket_M].float() * weight_M[:, None]
        return parts_MC.new_zeros(len(packed.mask_BT), parts_MC.shape[1]).index_add(0, text_M, parts_MC)

    def tf_idf(self, packed: PackedInputs) -> tuple[Tensor, Tensor, Tensor]:
        """Text, bucket and weight of each text's distinct n-grams, (M,) each; a text's weights have length 1.

        Raises:
            ValueError: There are no token ids.
        """
        if "input_ids" not in packed.tokens:
            raise ValueError("evidence of n-grams needs input_ids, also beside inputs_embeds")
        distinct_M, count_M = torch.cat(
            [(text_N << 32) + bucket_N for text_N, bucket_N in self.ngrams(packed.tokens["input_ids"], packed.mask_BT)]
        ).unique(return_counts=True)
        text_M, bucket_M = distinct_M >> 32, distinct_M & 0xFFFFFFFF
        weight_M = (1 + count_M.float().log()) * self.idf_G[bucket_M].float()
        texts = Ragged(text_M.bincount(minlength=len(packed.mask_BT)))
        return text_M, bucket_M, weight_M / texts.sum(weight_M.square()).sqrt()[text_M]

    def ngrams(self, ids_BT: Tensor, mask_BT: Tensor) -> Iterable[tuple[Tensor, Tensor]]:
        """Text and bucket of the n-grams of each size, (N,) and (N,)."""
        mixed_BT = torch.zeros_like(ids_BT)
        for size in range(min(self.size, ids_BT.shape[1])):
            # Its own hash for each size, so that a word and a pair meet in a bucket by chance only.
            last_BT = ids_BT[:, size:]
            mixed_BT = mix(mixed_BT[:, : last_BT.shape[1]] * 31 + last_BT + 1)
            text_N, start_N = mask_BT[:, size:].nonzero(as_tuple=True)
            yield text_N, mixed_BT[text_N, start_N] % self.weight_GC.shape[0]

    def count(self, batches: Batches, again: Batches) -> None:
        """Set the weights from the training texts.

        Args:
            batches: Texts, and their class ids (B,).
            again: The same once more, for the second pass.
        """
        documents_G, num_texts = torch.zeros_like(self.idf_G), 0
        for packed, _ in batches:
            documents_G += self.tf_idf(packed)[1].bincount(minlength=len(documents_G))
            num_texts += len(packed.mask_BT)
        self.idf_G.copy_(((1 + num_texts) / (1 + documents_G)).log() + 1)
        sums_GC = torch.zeros_like(self.weight_GC, dtype=torch.float64).flatten()
        num_classes = self.weight_GC.shape[1]
        for packed, labels in again:
            text_M, bucket_M, weight_M = self.tf_idf(packed)
            sums_GC.index_add_(0, bucket_M * num_classes + labels[text_M], weight_M.double())
        sums_GC = sums_GC.view(-1, num_classes)
        others_GC = sums_GC.sum(1, keepdim=True) - sums_GC + SMOOTHING
        weight_GC = -(others_GC / others_GC.sum(0)).log()
        self.weight_GC.copy_(weight_GC - weight_GC.mean(1, keepdim=True))


def mix(x: Tensor) -> Tensor:
    """A hash of 32 bits, the same on every machine."""
    x = ((x ^ (x >> 16)) * 0x45D9F3B) & 0xFFFFFFFF
    x = ((x ^ (x >> 16)) * 0x45D9F3B) & 0xFFFFFFFF
    return x ^ (x >> 16)
