"""Run by torchrun: processes that share an encoder's weights, each with texts of its own number and lengths.

Exits with an error where they don't make equally many calls of the encoder, or answer otherwise than a whole model.
"""

import sys

import torch
from torch.distributed import destroy_process_group, get_rank, init_process_group
from torch.distributed.fsdp import fully_shard
from torch.testing import assert_close

from salience.modeling import windows
from tests.helpers.tiny import random_batch, tiny_model

LENGTHS = [[5], [5, 70, 16, 300, 9, 33]]

if __name__ == "__main__":
    init_process_group("gloo")
    windows.CELLS_OF_CALL = {"cpu": 16}
    batch = random_batch(LENGTHS[get_rank()])
    torch.manual_seed(0)
    whole = tiny_model(sys.argv[1])
    torch.manual_seed(0)
    sharded = tiny_model(sys.argv[1])
    sharded.load_state_dict(whole.state_dict())
    for layer in sharded.encoder.encoder.layer:
        fully_shard(layer)
    fully_shard(sharded)
    assert windows.is_sharded(sharded.encoder) and not windows.is_sharded(whole.encoder)
    logits = sharded(**batch).logits
    assert_close(logits, whole(**batch).logits, atol=1e-5, rtol=0)
    logits.sum().backward()
    destroy_process_group()
