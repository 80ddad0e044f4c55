"""A model's tokenizer, from a folder or the Hub, without running any code of its repository."""

from typing import Any

from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

# `model_max_length` of the tokenizers of models that read any length. Not "no limit" (1e30), at which transformers
# doesn't pad to "max_length" at all and then fails; padding is free for these models, and no text is so long by chance.
PADDED_LENGTH = 65_535


def length_limit(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """Tokens at which a text must be cut for a tokenizer's model; None for one that reads any length."""
    limit = tokenizer.model_max_length
    return None if limit == PADDED_LENGTH or limit >= 1_000_000 else limit


def read_tokenizer(name: str, revision: str | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer of a model, which can pad; no code of its repository is run.

    Args:
        name: Folder or Hub id.
        revision: Branch, tag or commit of a Hub id.

    Raises:
        OSError, ValueError: There is none, or it can't be read.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, revision=revision, trust_remote_code=False)
    except (OSError, ValueError):
        raise
    except TypeError:  # transformers 4 looks for a vocabulary that isn't there; 5 makes an empty one
        tokenizer = None
    except Exception as error:  # of a broken file, tokenizers raises nothing more special
        raise ValueError(f"its tokenizer is damaged: {error}") from error
    if tokenizer is None or set(tokenizer.get_vocab().values()) <= set(tokenizer.all_special_ids):
        raise ValueError("it has no tokenizer; add its tokenizer.json")
    for code in ("auto_map", "custom_pipelines"):  # they would be saved beside a model that has other code, or none
        tokenizer.init_kwargs.pop(code, None)
    limit: Any = tokenizer.model_max_length
    if type(limit) not in (int, float) or not limit > 0:
        raise ValueError(f"model_max_length = {limit!r} in its tokenizer_config.json must be a number above 0")
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            raise ValueError("its tokenizer has no pad_token: set one and save it again")
        tokenizer.pad_token = tokenizer.eos_token  # decoders have none; masked positions are never read
    if "attention_mask" not in tokenizer.model_input_names:  # padding is masked, whatever its own model does
        tokenizer.model_input_names = [*tokenizer.model_input_names, "attention_mask"]
    return tokenizer


def foreign_tokenizer(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, highest_id: int) -> str | None:
    """What to say of a tokenizer that gives ids for which its model has no embedding; None if this one doesn't.

    Args:
        model: The model.
        tokenizer: Its padding counts, too.
        highest_id: Of all tokens of some texts.
    """
    try:
        embeddings: Any = model.get_input_embeddings()
    except NotImplementedError:  # a model that hashes characters has no table of tokens
        return None
    size, padding = len(embeddings.weight), tokenizer.pad_token_id or 0
    if max(highest_id, padding) < size:
        return None
    what = f"a text the id {highest_id}" if highest_id >= size else f"padding the id {padding}"
    return (
        f"its tokenizer gives {what}, and the model knows 0 to {size - 1}: put the files of the "
        "model's own tokenizer into its folder"
    )
