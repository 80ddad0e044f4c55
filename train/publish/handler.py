"""The custom handler of Inference Endpoints: the service calls `EndpointHandler(path)` once, then it with each request.

It travels with a repository on demand, and needs transformers alone.
"""

from collections.abc import Callable
from typing import Any

import torch
from transformers import pipeline


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


PARAMETERS: dict[str, Callable[[Any], bool]] = {
    "top_k": lambda value: value is None or (_is_number(value) and value > 0),
    "function_to_apply": lambda value: value in ("softmax", "sigmoid", "none"),
    "explain": lambda value: isinstance(value, bool),
    "method": lambda value: isinstance(value, str),
    "target": lambda value: isinstance(value, str) or _is_number(value),
    "truncation": lambda value: isinstance(value, bool),
    "max_length": lambda value: _is_number(value) and value > 0,
    "batch_size": lambda value: _is_number(value) and value > 0,
}
"""What may be passed on to the pipeline, and whether a value will do."""


class EndpointHandler:
    """Answers as the text-classification pipeline of the repository.

    Args:
        path: Folder of the repository.
    """

    def __init__(self, path: str = "") -> None:
        device = 0 if torch.cuda.is_available() else "cpu"
        self.classify: Any = pipeline("text-classification", model=path, trust_remote_code=True, device=device)

    def __call__(self, data: dict[str, Any]) -> Any:
        """What the pipeline answers.

        Args:
            data: inputs: a text, a list of texts, or {text, text_pair}; parameters, if any: those of `PARAMETERS`.

        Raises:
            ValueError: The request is none; the service sends the sentence back.
        """
        if not isinstance(data, dict) or data.get("inputs") in (None, []):
            raise ValueError('a request needs "inputs": a text, or a list of texts')
        inputs, parameters = data["inputs"], data.get("parameters") or {}
        for number, each in enumerate(inputs if isinstance(inputs, list) else [inputs]):
            if not _is_text(each):
                raise ValueError(
                    f'"inputs" must be a text or a list of texts, in whole characters; number {number} is none'
                )
        if not isinstance(parameters, dict):
            raise ValueError('"parameters" must be an object, such as {"top_k": 3}')
        for name, value in parameters.items():
            if name not in PARAMETERS:
                raise ValueError(f"there is no parameter {name!r}; choose from {', '.join(PARAMETERS)}")
            if not PARAMETERS[name](value):
                raise ValueError(f"parameter {name!r} can't be {value!r}")
        unused = {"method", "target"} & parameters.keys()
        if unused and not parameters.get("explain"):
            raise ValueError(f'{" and ".join(sorted(unused))} need "explain": true')
        if parameters.get("explain") and not hasattr(self.classify, "number_of"):
            raise ValueError("explain is for models that bring their own pipeline, and this one doesn't")
        return self.classify(inputs, **parameters)


def _is_text(value: Any) -> bool:
    """Whether something is a text, or {text} or {text, text_pair} of texts."""
    if isinstance(value, dict):
        return {"text"} <= value.keys() <= {"text", "text_pair"} and all(_is_text(each) for each in value.values())
    # JSON can carry half a character (a lone surrogate), which no tokenizer reads.
    return isinstance(value, str) and not any("\ud800" <= character <= "\udfff" for character in value)
