"""What people see of a Space: a tab for one text, and a tab for a file of them."""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import gradio as gr
from markupsafe import Markup, escape

from salience.configuration.errors import UserError, one_line
from salience.configuration.flags.data_arguments import TextArguments
from salience.configuration.problem_types import MULTI_LABEL, REGRESSION
from salience.eval.explain.command import ExplainArguments, explained
from salience.eval.explain.page import environment
from salience.eval.explain.telling import about_method
from salience.eval.predict.command import predict
from salience.eval.predict.planning import PredictArguments
from salience.eval.predict.predictor import ACTION, LABEL, PROBABILITIES, REVIEW, SCORE, Predictor
from salience.model_cards.files import read_json
from salience.model_cards.markdown import MAX_NAME

SETTINGS = "space.json"
NUM_SCORES = 6
FILES = [".csv", ".tsv", ".jsonl", ".json", ".parquet", ".gz"]
BARS: Any = environment().get_template("bars.html.j2").module
FONTS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
STYLE = """
.gradio-container { width: 100%; max-width: 1100px !important; margin: 0 auto !important; }
.head h1 { font-size: 1.6rem; line-height: 1.25; margin: 8px 0 2px; overflow-wrap: anywhere; }
.head p, .note { opacity: .75; font-size: .9rem; margin: 4px 0; overflow-wrap: anywhere; }
/* Words as the text has them: Gradio sets them apart, and writes white space of its own between them. */
.words .textfield { display: block; font-size: 0; line-height: 1.9rem; word-break: normal; tab-size: 2rem; }
.words .textfield { overflow-wrap: anywhere; unicode-bidi: plaintext; }
.words .token.highlighted { padding: 0; margin: 0; }
.words .text { font-size: 1rem; padding: 2px 0; border-radius: 3px; background-color: inherit; }
.file-preview .stem, .file-preview .filename { white-space: normal; overflow-wrap: anywhere; }
.why .bars { --for: rgb(239, 68, 60); --against: rgb(128, 90, 213); }
"""
"""Bars have the colours of HighlightedText."""
ONE_MODEL: Any = {"concurrency_id": "model"}
"""Of an event: one at a time of all, as an explanation changes what goes into the model meanwhile."""
LOOKS: dict[str, Any] = {
    "theme": gr.themes.Default(primary_hue="blue", font=FONTS, font_mono=["ui-monospace", "monospace"]),
    "css": STYLE + BARS.style(),
    "max_file_size": "100mb",
}
"""What `launch` takes beside the address."""

P = ParamSpec("P")
R = TypeVar("R")


def told(function: Callable[P, R]) -> Callable[P, R]:
    """Have a refusal shown on the page, where a message is read as HTML."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except UserError as error:
            raise gr.Error(str(escape(error)), duration=None, print_exception=False) from error

    return run


@dataclass(frozen=True)
class Demo:
    """A classifier behind the buttons of a Space.

    Args:
        predictor: Labels texts.
    """

    predictor: Predictor

    @told
    def classify(self, text: str, target: str | None = None) -> tuple[Any, list[tuple[str, float | None]], str]:
        """Label one text, and say why.

        Args:
            text: The text.
            target: The class that is explained; empty for the answer.

        Returns:
            Scores by label, the text's words and what is between them with their weights, and sentences as HTML.
        """
        if not text or not text.strip():
            raise UserError("Write a text first.")
        reader = self.predictor.reader
        arguments = ExplainArguments(model=str(self.predictor.model), target=target or None, top_k=1)
        answer = explained(reader, [text], arguments)[0][0]
        found = self.predictor.answers([text])
        return self.scores(found), answer["spans"], self.review(found) + self.given(found) + self.why(answer)

    def given(self, found: Mapping[str, Any]) -> str:
        """Which labels a text gets, where it can have several, as HTML."""
        if self.predictor.reader.problem_type != MULTI_LABEL:
            return ""
        names = " · ".join(one_line(name, MAX_NAME) for name in found[LABEL][0]) or "none reaches its threshold"
        return str(Markup("<p><b>Labels:</b> <bdi>{}</bdi></p>").format(names))

    def review(self, found: Mapping[str, Any]) -> str:
        """What is said above an answer that the model isn't sure enough of, as HTML."""
        if ACTION not in found or found[ACTION][0] != REVIEW:
            return ""
        sentence = "<p><b>For review:</b> the model is less sure than {}, so a person had better look at this text.</p>"
        return sentence.format(f"{self.predictor.review_threshold:.2f}")

    def scores(self, found: Mapping[str, Any]) -> Any:
        """What a `gr.Label` shows: calibrated probabilities by class, or the numbers of a regression.

        Args:
            found: The answer of `Predictor` to one text.
        """
        names = self.predictor.reader.label_names
        if self.predictor.reader.problem_type != REGRESSION:
            return dict(zip(names, found[PROBABILITIES][0], strict=True))
        numbers = [found[SCORE][0]] if len(names) == 1 else found[SCORE][0]
        return " · ".join(f"{one_line(name, MAX_NAME)} {each:.4g}" for name, each in zip(names, numbers, strict=True))

    def why(self, answer: dict[str, Any]) -> str:
        """Sentences as bars, the method, and the words that were not read, as HTML."""
        parts = [Markup("<p class='note'>What speaks for <b><bdi>{}</bdi></b>").format(one_line(answer["target"]))]
        parts.append(Markup(", by {}.").format(about_method(answer)))
        if "dropped" in answer:
            counts = len(answer["dropped"]), len(answer["words"])
            parts.append(Markup(" {} of {} words were dropped by the model's filter, or not read.").format(*counts))
        parts.append(Markup("</p>"))
        if len(answer["sentences"]) > 1:
            parts += [Markup("<h3>Sentences</h3>"), Markup(BARS.bars(answer["sentences"], "sentence"))]
        return str(Markup("").join(parts))

    @told
    def label_file(self, file: str | None, column: str = "", prefix: str = "") -> tuple[list[str], str]:
        """Label the texts of a file.

        Args:
            file: A csv, tsv, json lines or parquet file.
            column: That holds the texts; empty for what the model was trained on.
            prefix: Stands before the names of the new columns.

        Returns:
            The file with its new columns, behind it the list of rows without an answer if there are any; and how many
            rows there were.
        """
        if not file:
            raise UserError("Choose a file first.")
        source = Path(file)
        output = Path(tempfile.mkdtemp(dir=source.parent)) / f"labelled_{source.name}"
        model, revision = str(self.predictor.model), self.predictor.revision
        files = PredictArguments(
            model, revision, input=[str(source)], output=str(output), prefix=prefix, max_rejected=1
        )  # they are listed
        texts = TextArguments([column]) if column else TextArguments()
        found = predict(files, texts, reader=self.predictor.reader)
        assert found is not None  # one process
        written = [output] if found.rejected_file is None else [output, found.rejected_file]
        return [str(each) for each in written], f"{found.rows:,} rows, {found.rejected:,} of them without an answer"


def build(folder: Path) -> gr.Blocks:
    """The page of a Space.

    Args:
        folder: Of the Space, which holds space.json.

    Raises:
        UserError: The model can't be loaded.
    """
    settings = read_json(folder / SETTINGS)
    model = settings["model"] if settings["revision"] else folder / settings["model"]
    predictor = Predictor(str(model), settings["revision"])
    names, kind = predictor.reader.label_names, predictor.reader.problem_type
    demo = Demo(predictor)
    title = one_line(settings["title"], MAX_NAME)
    with gr.Blocks(title=title, analytics_enabled=False, delete_cache=(3600, 3600)) as page:
        what = "A number" if kind == REGRESSION else f"One or several of {len(names)} classes"
        what = f"One of {len(names)} classes" if kind not in (REGRESSION, MULTI_LABEL) else what
        gr.HTML(
            str(Markup("<h1><bdi>{}</bdi></h1><p>{}, and the words that speak for it.</p>").format(title, what)),
            elem_classes="head",
        )
        with gr.Tab("One text"):
            text_tab(demo, names, kind, settings["examples"])
        with gr.Tab("A file of texts"):
            file_tab(demo)
    return page


def text_tab(demo: Demo, names: list[str], kind: str, examples: list[str]) -> None:
    """A text goes in; scores, coloured words and sentences come out."""
    with gr.Row():
        with gr.Column():
            text = gr.Textbox(label="Text", lines=7, max_lines=20)
            target = gr.Dropdown(names, value=None, label="Explain", info="Empty: the answer", visible=len(names) > 1)
            button = gr.Button("Classify", variant="primary")
            if examples:
                gr.Examples([[each] for each in examples], [text])
        with gr.Column():
            scores = gr.Label(label="Scores", num_top_classes=NUM_SCORES, show_heading=kind != MULTI_LABEL)
    words = gr.HighlightedText(label="Words: red speaks for it, violet against it", elem_classes="words")
    why = gr.HTML(elem_classes="why")
    gr.on(
        [button.click, text.submit],
        demo.classify,
        [text, target],
        [scores, words, why],
        api_name="classify",
        **ONE_MODEL,
    )


def file_tab(demo: Demo) -> None:
    """A file goes in, and comes back with labels."""
    with gr.Row():
        with gr.Column():
            file = gr.File(label="csv, tsv, json lines or parquet", file_types=FILES)
            column = gr.Textbox(label="Column of the texts (--text_column)", info="Empty: that of the training")
            prefix = gr.Textbox(label="Stands before new columns (--prefix)", info="Such as predicted_")
            button = gr.Button("Label", variant="primary")
        with gr.Column():
            labelled = gr.File(label="With label, score and probabilities", file_count="multiple", interactive=False)
            count = gr.Textbox(label="Rows", interactive=False)
    results = [labelled, count]
    gr.on([button.click], demo.label_file, [file, column, prefix], results, api_name="label_file", **ONE_MODEL)
