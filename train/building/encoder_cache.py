"""A file that keeps what a frozen encoder says of each text, so that further epochs and runs needn't ask it again.

Shape suffixes
    W = windows of texts in a batch, L = tokens of the longest, T = tokens of one window, D = width of the encoder
"""

import functools
import sqlite3
import zlib
from hashlib import sha256
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutput

from salience.configuration.errors import UserError
from salience.train.building.fingerprints import fingerprint_of
from salience.train.data.paths import expand

SECONDS_TO_WAIT = 300  # for another process that writes
APPLICATION_ID = 0x53414C49  # "SALI": how SQLite's header tells whose a database is
TABLE = "CREATE TABLE states (tokens BLOB PRIMARY KEY, states BLOB NOT NULL)"
SUM_BYTES = 4


def check_sum(blob: bytes) -> bytes:
    """The CRC-32 of an entry, which stands behind it."""
    return zlib.crc32(blob).to_bytes(SUM_BYTES, "little")


class EncoderCache:
    """The states of a frozen encoder's last layer, by the tokens that it read.

    Windows are encoded together with others of the same length only, without padding: so what is kept of a text doesn't
    depend on the batch in which it first came. (Padding changes a state by rounding: up to 4e-6 in float32 and 0.02 in
    bfloat16 with MiniLM.) Several processes and runs can share a file; each encoder and precision has entries of its
    own. States are rounded to the precision in which they are computed, and kept so: in bfloat16 half of the 4 bytes
    for each feature of each token.

    Args:
        file: SQLite database, which is made where there is none.
        encoder: Transformers encoder; its weights mustn't change while the cache is attached.

    Raises:
        UserError: The file can't be read or written.
    """

    def __init__(self, file: str, encoder: nn.Module) -> None:
        self.file = file
        config: Any = encoder.config
        self.width: int = config.hidden_size
        self.encode = encoder.forward
        self.fingerprint = fingerprint_of(encoder, config.to_json_string())
        path = expand(file)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.database = sqlite3.connect(
                path, timeout=SECONDS_TO_WAIT, isolation_level=None, check_same_thread=False
            )
            if not self._is_marked():
                self._check_is_ours()
                self.database.execute(TABLE.replace("TABLE", "TABLE IF NOT EXISTS", 1))
                self.database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            self.database.execute("PRAGMA journal_mode = WAL")
        except (OSError, sqlite3.Error) as error:
            raise self._unusable(error) from error

    def _is_marked(self) -> bool:
        return self.database.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)

    def _check_is_ours(self) -> None:
        """Refuse a database without our mark, unless it is empty or an earlier version's: our table, and no other."""
        marks = [self.database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")]
        made_by = [sql for (sql,) in self.database.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")]
        if not self._is_marked() and (marks != [0, 0] or made_by not in ([], [TABLE])):
            raise self._unusable("it is another program's database")

    def attach(self, encoder: nn.Module) -> None:
        """Let the encoder's `forward` answer from the file wherever it can."""

        @functools.wraps(self.encode)
        def remembering(**inputs: Any) -> Any:
            if "inputs_embeds" in inputs:  # gradients are asked for, and there are no tokens to look up
                return self.encode(**inputs)
            return BaseModelOutput(last_hidden_state=self.states(**inputs))

        encoder.forward = remembering

    @torch.no_grad()
    def states(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None) -> Tensor:
        """States (W, L, D) float32 of windows, zero on padding.

        Args:
            input_ids: (W, L).
            attention_mask: (W, L), ones before zeros, as `encode_windows` makes it.
            token_type_ids: (W, L), if the encoder knows them.

        Raises:
            UserError: The file can't be read or written.
        """
        lengths_W, device = attention_mask.sum(1).clamp(min=1).tolist(), input_ids.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else torch.float32
        keys_W = self._keys(input_ids, token_type_ids, lengths_W, dtype)
        try:
            known = self._read(keys_W, dtype)
            new_rows = {key: row for row, key in enumerate(keys_W) if key not in known}
            if new_rows:
                types = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
                inputs = {"input_ids": input_ids, "attention_mask": attention_mask, **types}
                encoded = self._encode(inputs, sorted(new_rows.values()), lengths_W)
                new = {key: encoded[row].to(dtype) for key, row in new_rows.items()}
                self._write(new)
                known |= new
        except sqlite3.Error as error:
            raise self._unusable(error) from error
        states_WLD = torch.zeros(*input_ids.shape, self.width)
        for row, key in enumerate(keys_W):
            states_WLD[row, : lengths_W[row]] = known[key]
        return states_WLD.to(input_ids.device)

    def _keys(
        self, input_ids: Tensor, token_type_ids: Tensor | None, lengths_W: list[int], dtype: torch.dtype
    ) -> list[bytes]:
        kept = f"{dtype} with its sum"  # earlier versions kept others, and no sum
        prefix = f"{self.fingerprint} {input_ids.device.type} {kept} {torch.__version__} ".encode()
        ids_WL = input_ids.cpu().numpy().astype(np.int64)
        types_WL = np.zeros_like(ids_WL) if token_type_ids is None else token_type_ids.cpu().numpy().astype(np.int64)
        return [
            sha256(prefix + ids[:length].tobytes() + types[:length].tobytes()).digest()
            for ids, types, length in zip(ids_WL, types_WL, lengths_W, strict=True)
        ]

    def _read(self, keys: list[bytes], dtype: torch.dtype) -> dict[bytes, Tensor]:
        distinct = list(set(keys))
        marks = ",".join("?" * len(distinct))
        found = self.database.execute(f"SELECT tokens, states FROM states WHERE tokens IN ({marks})", distinct)
        # What a damaged file holds is asked for again.
        whole = {key: blob[:-SUM_BYTES] for key, blob in found if blob[-SUM_BYTES:] == check_sum(blob[:-SUM_BYTES])}
        return {key: torch.frombuffer(bytearray(blob), dtype=dtype).view(-1, self.width) for key, blob in whole.items()}

    def _encode(self, inputs: dict[str, Tensor], rows: list[int], lengths_W: list[int]) -> dict[int, Tensor]:
        """States (T, D) of some rows of a batch, windows of the same length together."""
        encoded: dict[int, Tensor] = {}
        for length in sorted({lengths_W[row] for row in rows}):
            alike = [row for row in rows if lengths_W[row] == length]
            together = {name: value[alike, :length] for name, value in inputs.items()}
            together["attention_mask"] = torch.ones_like(together["attention_mask"])
            states = self.encode(**together).last_hidden_state.float().cpu()
            encoded |= zip(alike, states, strict=True)
        return encoded

    def _write(self, new: dict[bytes, Tensor]) -> None:
        states = {key: states_TD.contiguous().view(torch.uint8).numpy().tobytes() for key, states_TD in new.items()}
        blobs = [(key, blob + check_sum(blob)) for key, blob in states.items()]
        self.database.execute("BEGIN IMMEDIATE")
        try:
            # Another process may have come first, with the same states.
            self.database.executemany("INSERT OR REPLACE INTO states VALUES (?, ?)", blobs)
            self.database.execute("COMMIT")
        except BaseException:
            if self.database.in_transaction:
                self.database.execute("ROLLBACK")
            raise

    def _unusable(self, error: object) -> UserError:
        return UserError(
            f"--encoder_cache {self.file} can't be used: {error}; name another file, or leave the flag out"
        )


def attach_cache(encoder: nn.Module, file: str | None) -> None:
    """Attach the cache that `--encoder_cache` names, if it names one.

    Raises:
        UserError: The file can't be read or written.
    """
    if file is not None:
        EncoderCache(file, encoder).attach(encoder)


def detach_cache(encoder: nn.Module) -> None:
    """Undo `attach_cache`, whether or not there is a cache: the encoder answers by its weights again."""
    encoder.__dict__.pop("forward", None)
