"""Run by torchrun: processes that share an encoder's weights, each with texts of its own number and lengths.

Exits with an error where they don't make equally many calls of the encoder, or answer otherwise than a whole model, or
learn otherwise where one of them computes activations again; it never ends where they wait for each other.
"""

import sys

from torch.distributed import destroy_process_group, get_rank, init_process_group
from torch.distributed.fsdp import fully_shard
from torch.testing import assert_close

from salience.modeling import windows
from tests.helpers import tiny
from tests.helpers.tiny import random_batch, tiny_model

LENGTHS = [[5], [5, 70, 16, 300, 9, 33]]
KEPT = 40
LAYERS = 6  # with a few, the calls of two processes can meet by chance

if __name__ == "__main__":
    init_process_group("gloo")
    windows.CELLS_OF_CALL = {"cpu": 16}
    batch = random_batch(LENGTHS[get_rank()])
    tiny.ENCODER["num_hidden_layers"] = LAYERS
    whole, sharded = tiny_model(sys.argv[1]), tiny_model(sys.argv[1])
    for layer in sharded.encoder.encoder.layer:
        fully_shard(layer)
    fully_shard(sharded)
    assert windows.is_sharded(sharded.encoder) and not windows.is_sharded(whole.encoder)
    logits = sharded(**batch).logits
    assert_close(logits, whole(**batch).logits, atol=1e-5, rtol=0)
    logits.sum().backward()
    kept = [each.grad.full_tensor().clone() for each in sharded.parameters() if each.grad is not None]
    sharded.zero_grad()
    sharded.base_model.keep_at_most = KEPT
    sharded(**batch).logits.sum().backward()
    again = [each.grad.full_tensor() for each in sharded.parameters() if each.grad is not None]
    assert_close(again, kept, atol=1e-5, rtol=1e-4)
    destroy_process_group()
