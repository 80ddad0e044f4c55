"""The flags that say which texts and labels to read, and how to split them."""

from dataclasses import Field, dataclass, field, fields
from numbers import Integral, Real
from typing import Any, ClassVar, get_args

from salience.configuration.errors import UserError
from salience.configuration.flags.flag_rules import CLEANING_RULES, check
from salience.configuration.problem_types import PROBLEM_TYPES


def _default(value: list[str], help: str) -> list[str]:
    return field(default_factory=lambda: list(value), metadata={"help": help})


class ModelsColumns(list[str]):
    """Columns that no flag names: those that a model was trained on take their place, where it remembers any."""


def check_type(wanted: Field, value: Any) -> None:
    """Refuse a value of another type than a field's: "false" would be true, and "0.2" is no number yet.

    Args:
        wanted: The field, of a dataclass.
        value: Its value.

    Raises:
        UserError: It is of another type.
    """
    if value is None and wanted.default is None:
        return
    known = get_args(wanted.type) or (wanted.type,)
    numbers = (Real,) if float in known else (Integral,) if int in known else ()
    if isinstance(value, bool) != (bool in known) or not isinstance(value, (*known, *numbers)):
        raise UserError(
            f"--{wanted.name} {value} is of the type {type(value).__name__}; give it as {known[0].__name__}"
        )


@dataclass
class TextArguments:
    """How texts are read from files, with labels or without.

    Raises:
        UserError: If a value is of another type, or out of its range.
    """

    text_column: list[str] = field(
        default_factory=lambda: ModelsColumns(["text"]),
        metadata={"help": "Column that holds the text; several are joined in this order, see --text_separator."},
    )
    text_separator: str | None = field(
        default=None,
        metadata={
            "help": "Stands between the texts of several columns (default: the separator token of the encoder's "
            "tokenizer, or a line break)."
        },
    )
    clean: list[str] = _default(
        [], f"Newsgroup parts to cut with scikit-learn's own rules: any of {', '.join(CLEANING_RULES)}."
    )
    keep_empty_texts: bool = field(
        default=False,
        metadata={
            "help": "Read a missing (null) text as an empty one, instead of stopping; `predict` labels it then, "
            "instead of listing it."
        },
    )
    encoding: list[str] = _default(
        ["utf-8"], "Encodings of text files; each is read with the first in which it is valid, UTF-8 before all others."
    )
    separator: str | None = field(
        default=None,
        metadata={
            "help": "Character between the cells of .csv and .tsv files (default: a comma or a tab, or what the header "
            "leaves no doubt about)."
        },
    )
    header: bool = field(
        default=True,
        metadata={
            "help": "Whether .csv and .tsv files begin with a header; without one, columns are named 1, 2, 3 ..."
        },
    )
    quoting: str = field(
        default="checked",
        metadata={
            "help": "Quotes in .csv and .tsv files: checked (cells may be quoted, and one that seems to swallow rows "
            "is refused), trusted (quoted cells may hold what looks like rows), or none (quotes are like letters)."
        },
    )

    def __post_init__(self) -> None:
        # A recipe may give one value where the command line gives a list, and Python a tuple.
        for each in fields(self):
            value = getattr(self, each.name)
            if "list[str]" not in str(each.type) or value is None:
                check_type(each, value)
                continue
            texts = list(value) if isinstance(value, list | tuple) else [value]
            for text in texts:
                if not isinstance(text, str):
                    raise UserError(f"--{each.name} {text} is of the type {type(text).__name__}; write it as text")
            setattr(self, each.name, value if isinstance(value, ModelsColumns) else texts)
        self.separator = "\t" if self.separator in ("\\t", "tab") else self.separator
        check(self)

    @property
    def joining_text(self) -> str:
        """What stands between the texts of several columns."""
        return "\n" if self.text_separator is None else self.text_separator


@dataclass
class FileArguments(TextArguments):
    """How files of labelled texts are read.

    Raises:
        UserError: If a value is of another type, or out of its range.
    """

    test_file: str | None = field(default=None, metadata={"help": "Test file or folder, used once, after training."})
    label_column: list[str] = _default(
        ["label"], "Column that holds the label or labels; or several, one of zeros and ones for each label."
    )
    class_names: list[str] | None = field(
        default=None,
        metadata={
            "help": "Names of the labels 0, 1, 2 ..., or of the places in lists of zeros and ones such as [0, 1, 1]."
        },
    )
    label_separator: str | None = field(
        default=None,
        metadata={"help": "Splits each label at this string into several (multi-label); an empty label is none."},
    )


@dataclass
class HubArguments:
    """Which data set is read, in place of files."""

    files_flag: ClassVar[str]
    """The flag that names files, without dashes."""

    dataset_name: str | None = field(
        default=None,
        metadata={"help": "Data set on the Hub (user/name), or a folder that `datasets` reads, in place of files."},
    )
    dataset_config: str | None = field(default=None, metadata={"help": "Configuration of the Hub data set."})
    dataset_revision: str | None = field(
        default=None, metadata={"help": "Commit of the Hub data set; pin it, so that the run can be repeated."}
    )


OF_TRAINING_TEXTS = frozenset({"max_length", "sampled_parts"})
"""Flags of `DataArguments` that say what is trained on of a text, and nothing of held-out texts."""


@dataclass
class DataArguments(HubArguments, FileArguments):
    """Where the texts and labels come from, and how they become train, validation and test splits.

    A recipe or the command line fills it through `HfArgumentParser`; each field's `help` says what it does.

    Raises:
        UserError: If a value is of another type, or out of its range.
    """

    files_flag = "train_file"

    train_file: list[str] | None = field(
        default=None,
        metadata={
            "help": "One or more training files: .csv, .tsv, .jsonl, .json (each also .gz), .parquet, fastText's .txt, "
            "or a folder with one sub-folder of .txt files per class. `package:NAME/sub/folder` names a file inside an "
            "installed Python package."
        },
    )
    validation_file: str | None = field(
        default=None, metadata={"help": "Validation file or folder. Without it, a part of the training data is used."}
    )
    data_name: str | None = field(
        default=None, metadata={"help": "Name of the data in the model card (default: from the Hub or file name)."}
    )
    language: list[str] | None = field(
        default=None,
        metadata={
            "help": "Languages of the texts for the model card, as codes such as en, de or zh; multilingual for many."
        },
    )
    problem_type: str | None = field(
        default=None,
        metadata={"help": f"One of {', '.join(PROBLEM_TYPES)} (default: found from the labels)."},
    )
    validation_size: float = field(
        default=0.15, metadata={"help": "Part of the training data held out when there is no validation split."}
    )
    test_size: float = field(
        default=0.0, metadata={"help": "Part of the training data held out as test split when there is no test file."}
    )
    resplit: bool = field(
        default=False, metadata={"help": "Put all given splits together and split them anew, with the two sizes."}
    )
    drop_leaked: bool = field(
        default=False,
        metadata={"help": "Drop training and validation texts that also stand in a later split, word for word."},
    )
    split_seed: int = field(default=0, metadata={"help": "Seed of the held-out parts and of --max_train_samples."})
    max_train_samples: int | None = field(
        default=None, metadata={"help": "Train on a stratified sample of this many rows."}
    )
    minority_labels: list[str] = _default(
        [],
        "For studies of unbalanced classes: labels that become rare, in training and validation; the test split stays "
        "as it is.",
    )
    minority_ratio: float = field(
        default=1.0,
        metadata={
            "help": "Of the texts of --minority_labels, 1 / this number stay; --max_train_samples draws from what is "
            "left, so that the same number at ratio 1 is the control of equal size."
        },
    )
    max_length: int | None = field(
        default=None,
        metadata={
            "help": "Tokens of a text to train on, for speed; held-out texts are read whole (--model "
            "sequence_classification never reads more than its encoder's limit)."
        },
    )
    sampled_parts: bool = field(
        default=False,
        metadata={
            "help": "Of a training text longer than --max_length, read a part of at most that length, drawn anew in "
            "each epoch, instead of its beginning."
        },
    )
