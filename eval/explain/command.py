"""eval.py explain --model FOLDER_OR_HUB_ID --text TEXT: which words and sentences of a text decide a model's answer.

In a terminal the text is coloured: what speaks for the class in blue, what speaks against it in orange. `--output`
writes a page that needs no network (.html), or everything in numbers (.json).
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from salience.configuration.errors import UserError, one_line
from salience.configuration.flags.data_arguments import FileArguments
from salience.configuration.flags.flag_rules import check
from salience.configuration.flags.parser import RecipeParser
from salience.configuration.problem_types import MULTI_LABEL, REGRESSION
from salience.configuration.terminal import harmless, is_coloured, print_coloured
from salience.eval.explain.page import write_page
from salience.eval.explain.telling import about_method, about_score, coloured, told
from salience.eval.reading.load import ClassifierArguments, load_reader
from salience.eval.reading.reader import Reader
from salience.eval.scores.predictions import class_probabilities
from salience.model_cards.files import write_json
from salience.modeling.attributions import METHODS
from salience.modeling.explaining_pipeline import ExplainingPipeline
from salience.train.building.encoder_loading import public_name
from salience.train.data.formats.decoding import read_utf8
from salience.train.data.sources.files import READERS, TABLES

Answer = dict[str, Any]
"""A label with its score, and what `salience.modeling.explaining.explain` returns."""


@dataclass
class ExplainArguments(ClassifierArguments):
    """Which answer is explained, how, and where the explanation goes."""

    text: str | None = field(default=None, metadata={"help": "The text."})
    file: str | None = field(default=None, metadata={"help": "File that holds the text, in place of --text."})
    method: str | None = field(
        default=None,
        metadata={
            "help": f"{', '.join(METHODS)}; unset: the one that was measured to be the most faithful for this model, "
            "or integrated_gradients where nobody has measured it."
        },
    )
    target: str | None = field(
        default=None, metadata={"help": "Class whose score is explained; unset: that of the answer."}
    )
    top_k: int | None = field(
        default=None,
        metadata={
            "help": "Answers that are explained, the surest first; unset: one, or all labels that a text gets where it "
            "can have several."
        },
    )
    output: str | None = field(
        default=None, metadata={"help": "A page (.html) or numbers (.json); unset: the explanation is printed."}
    )

    def __post_init__(self) -> None:
        check(self)
        if self.method is not None and self.method not in METHODS:
            raise UserError(f"--method {one_line(self.method)} is unknown; choose from {', '.join(METHODS)}")
        if self.top_k is not None and self.top_k < 1:
            raise UserError(f"--top_k {self.top_k} must be at least 1")


def main(argv: list[str]) -> None:
    """`eval.py explain`: see the module.

    Raises:
        UserError: There is no such model, class or file; the method isn't possible; or the output is there already.
    """
    parser = _parser()
    if not argv or {"-h", "--help"} & set(argv):
        parser.print_help()
        return
    (arguments,) = parser.parse(argv)
    output, text = output_file(arguments.output), given_text(arguments)
    reader = load_reader(arguments)
    (answers,) = explained(reader, [text], arguments)
    content = {
        "model": str(public_name(arguments.model)),
        "revision": arguments.revision,
        "text": text,
        "answers": answers,
    }
    if output and output.suffix == ".json":
        write_json(output, content)
    elif output:
        write_page(output, content)
    for answer in answers:
        print(f"label      {one_line(answer['label'])} {about_score(answer)}\nmethod     {about_method(answer)}")
        if is_coloured():
            print_coloured(coloured(answer["spans"], harmless))
        print(told(answer))
    if output:
        print(f"written    {output}")


def explain_texts(
    model: str | Path, texts: Sequence[str], *, target: str | int | None = None, **flags: Any
) -> list[list[Answer]]:
    """Which words and sentences decide a model's answers.

    Args:
        model: Folder or Hub id of a classifier: ours, or any text-classification model of transformers.
        texts: The texts, of any length.
        target: Class whose score is explained, its name or number; None: that of the answer.
        flags: Flags of `eval.py explain` by their names: `method`, `top_k`, `revision`, ...

    Returns:
        For each text its answers: a label with its score, and what `salience.modeling.explaining.explain` returns;
        where a text can have several labels, also whether it `is_given`.

    Raises:
        UserError: There is no such model or class, or the method isn't possible.

    Example:
        >>> ((answer,),) = explain_texts("runs/mine", ["The central bank left interest rates unchanged."])
        >>> answer["label"], answer["words"][0], answer["sentences"]
    """
    if isinstance(texts, str):
        raise UserError("texts are one string, and must be a list of texts: write [text]")
    if not isinstance(texts, Sequence | np.ndarray | pd.Series):
        raise UserError(f"texts are a {type(texts).__name__}, and must be a list of texts")
    if of_command := next((name for name in ("text", "file", "output") if name in flags), None):
        raise UserError(f"{of_command} is for the command line: explain_texts takes texts and returns their answers")
    (arguments,), _ = _parser().parse_flags({"model": model, **flags})
    arguments.target = target  # type: ignore[assignment]  # words on a command line are names
    return explained(load_reader(arguments), list(texts), arguments)


def _parser() -> RecipeParser:
    return RecipeParser((ExplainArguments,), program="eval.py explain")


def explained(reader: Reader, texts: Sequence[str], arguments: ExplainArguments) -> list[list[Answer]]:
    """Answers with their explanations; see `explain_texts`.

    Args:
        reader: The classifier.
        texts: The texts.
        arguments: `method`, `target` and `top_k`.
    """
    if not texts:
        return []
    if wrong := next((type(each).__name__ for each in texts if not isinstance(each, str)), None):
        raise UserError(f"texts hold {wrong}, and must be a list of texts")
    classify = ExplainingPipeline(model=reader.model, tokenizer=reader.tokenizer, device=reader.model.device)
    options: dict[str, Any] = {"method": arguments.method, "explain": True, "most_rows": reader.batch_size}
    options |= {"truncation": reader.limit is not None, "max_length": reader.limit}
    if reader.problem_type == REGRESSION:
        options["function_to_apply"] = "none"  # transformers has a probability of an only label
    reader.documents(texts)  # looks whether the tokenizer is the model's
    try:
        if reader.problem_type == MULTI_LABEL:
            return [_explained_labels(reader, text, arguments, partial(classify, **options)) for text in texts]
        answers: Any = classify(list(texts), target=arguments.target, top_k=arguments.top_k or 1, **options)
    except ValueError as error:
        raise UserError(f"--model {arguments.model}: {one_line(error)}") from error
    return answers


def _explained_labels(
    reader: Reader, text: str, arguments: ExplainArguments, explain: Callable[..., Any]
) -> list[Answer]:
    """The labels that a text gets, the surest first, and behind them others, each with its explanation."""
    logits_C = reader.logits(reader.token_ids([text]))[0]
    is_given_C, scores_C = reader.decide(logits_C[None])[0], class_probabilities(logits_C, MULTI_LABEL)
    target, is_one = arguments.target, arguments.target is not None or not is_given_C.any()
    order = np.lexsort((-scores_C, ~is_given_C))[: arguments.top_k or (1 if is_one else is_given_C.sum())]
    return [
        explain(text, target=int(number) if target is None else target, top_k=1)[0]
        | {
            "label": reader.label_names[number],
            "score": float(scores_C[number]),
            "is_given": bool(is_given_C[number]),
        }
        for number in order
    ]


def given_text(arguments: ExplainArguments) -> str:
    """The text of --text or --file.

    Raises:
        UserError: There is none, or both, or the file can't be read.
    """
    if (arguments.text is None) == (arguments.file is None):
        raise UserError("name one text: --text TEXT, or --file FILE")
    if arguments.text is not None:
        if not arguments.text.strip():
            raise UserError("--text is blank; write a text")
        return arguments.text
    file = Path(os.path.expanduser(str(arguments.file)))
    if not file.is_file():
        raise UserError(f"--file {file} is no file")
    if READERS.get(file.suffix.lower()) in TABLES:
        raise UserError(f"--file {file} holds rows, and one text is explained; write it to a .txt file, or --text TEXT")
    text = str(read_utf8(file, file.name, FileArguments()), "utf-8") if file.stat().st_size else ""
    if not text.strip():
        raise UserError(f"--file {file} is blank; name a file that holds the text")
    return text


def output_file(name: str | None) -> Path | None:
    """Where the explanation goes; None where it is only printed.

    Raises:
        UserError: It is there already, has another ending, or its folder isn't there.
    """
    if name is None:
        return None
    file = Path(os.path.expanduser(name))
    if file.suffix not in (".html", ".json"):
        raise UserError(f"--output {name} must end in .html (a page) or .json (numbers)")
    if file.exists():
        raise UserError(f"--output {name} exists; choose another one, or move it away")
    if not file.parent.is_dir():
        raise UserError(f"--output {name}: {file.parent} is no folder; make it, or choose another one")
    return file
