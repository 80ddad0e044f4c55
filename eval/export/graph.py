"""A classifier as an ONNX file, and that file with its encoder's products in int8."""

import copy
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import BatchEncoding, PreTrainedModel

from salience.configuration.errors import UserError, one_line
from salience.configuration.problem_types import MULTI_LABEL, REGRESSION
from salience.eval.reading.words import label_names, problem_type
from salience.eval.scores.predictions import least_confidence, logit_thresholds
from salience.modeling.encoders import pretrained_encoder
from salience.modeling.salience_base import SaliencePreTrainedModel

SCOPES = "pkg.torch.onnx.name_scopes"
"""The exporter's note on a node: the modules that it stands in."""
LARGEST_FILE = 1_900_000_000
"""Bytes of weights that one file holds; those of more lie in a second one beside it."""


class Answers(nn.Module):
    """A classifier with what makes its answers of logits, as `salience.eval.scores.predictions` does."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model
        self.problem_type = problem_type(model)
        threshold = getattr(model.config, "review_threshold", None)
        self.review_threshold = None if self.problem_type == REGRESSION else threshold
        self.outputs = ["logits", "scores", "chosen"] + ["is_sure"] * (self.review_threshold is not None)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Inputs of (B, T) each.

        Returns:
            logits and scores (B, C) float32; chosen, the answer's class (B,), or which of several classes or numbers
            (B, C) bool; and where the model has a threshold, whether it is sure enough, bool (B,).
        """
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask, "token_type_ids": token_type_ids}
        given = {name: values for name, values in inputs.items() if values is not None}
        if isinstance(self.model, SaliencePreTrainedModel):  # no text of a batch may have a token; others have some
            given = {name: nn.functional.pad(values, (0, 1)) for name, values in given.items()}
        logits_BC = self.model(**given).logits
        if self.problem_type == REGRESSION:
            return logits_BC, logits_BC, self.all_numbers(logits_BC)
        scores_BC, chosen, sureness_B = self.decided(logits_BC.double())
        answered = (logits_BC, scores_BC, chosen)
        if self.review_threshold is None:
            return answered
        return *answered, sureness_B >= float(np.float32(least_confidence(self.review_threshold)))

    def all_numbers(self, logits_BC: Tensor) -> Tensor:
        """Of a regression everything is the answer: its place (B,), or those of several, (B, C)."""
        if logits_BC.shape[1] == 1:
            return torch.zeros_like(logits_BC[:, 0], dtype=torch.long)
        return torch.ones_like(logits_BC, dtype=torch.bool)

    def decided(self, logits_BC: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scores (B, C), what is chosen, and how sure that is (B,)."""
        if self.problem_type == MULTI_LABEL:
            thresholds = getattr(self.model.config, "label_thresholds", None)
            scores_BC = logits_BC.sigmoid().float()
            chosen_BC = logits_BC >= torch.from_numpy(logit_thresholds(thresholds, logits_BC.shape[1]))
            return scores_BC, chosen_BC, torch.where(chosen_BC, scores_BC, 1 - scores_BC).amin(1)
        scores_BC = logits_BC.softmax(1).float()
        return scores_BC, logits_BC.argmax(1), scores_BC.amax(1)


def write_graph(model: PreTrainedModel, example: BatchEncoding, file: Path) -> None:
    """Write a classifier with all that makes its answers, for any number of texts of any length; see `Answers`.

    Args:
        model: The classifier, on the CPU and in float32.
        example: Several texts as its inputs; how many they are and how long doesn't matter.
        file: Is written. Its metadata has the names of the classes as `labels`, a JSON list, empty for regression, and
            as `separator` what stands between the texts of several columns.

    Raises:
        UserError: The exporter can't do this model.
    """
    from salience.eval.export.operators import OPSET, TRANSLATIONS, with_onnx_lstms

    copied = copy.deepcopy(model).eval()
    with_onnx_lstms(copied)
    dynamic = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    num_bytes = sum(each.numel() * each.element_size() for each in model.state_dict().values())
    try:
        answers = Answers(copied).eval()
        with quiet():
            program = torch.onnx.export(
                answers,
                kwargs=dict(example),
                dynamic_shapes={name: dynamic for name in example},
                dynamo=True,
                opset_version=OPSET,
                custom_translation_table=TRANSLATIONS,
                output_names=answers.outputs,
                verbose=False,
            )
    except Exception as error:  # what it raises for a model that it can't do is of many kinds
        reason = one_line(str(error.__cause__ or error).strip().partition("\n")[0])
        raise UserError(
            f"--model {model.name_or_path} can't be exported by torch {torch.__version__}: {reason}"
        ) from error
    assert program is not None
    for node in program.model.graph.all_nodes():
        if node.op_type == "ScatterND" and (kind := node.attributes.get("reduction")) and kind.value != "none":
            raise UserError(f"--model {model.name_or_path} adds up by ScatterND, which onnxruntime's threads do wrong")
        for note in set(node.metadata_props) - {SCOPES}:  # they are long, and name files of this machine
            del node.metadata_props[note]
    labels = [] if answers.problem_type == REGRESSION else label_names(model)
    program.model.metadata_props["labels"] = json.dumps(labels)
    program.model.metadata_props["separator"] = getattr(model.config, "text_separator", None) or ""
    program.save(file, external_data=num_bytes > LARGEST_FILE)


def write_int8(model: PreTrainedModel, graph: Path, file: Path) -> int:
    """Write a graph with the encoder's products of int8: weights by output, and activations as they come.

    One bit is left free, without which CPUs without VNNI instructions overflow.

    Args:
        model: What the graph was made of; it has an encoder.
        graph: From `write_graph`.
        file: Is written.

    Returns:
        How many products they are.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    encoder = pretrained_encoder(model)
    scope = next(name for name, module in model.named_modules() if module is encoder)
    nodes = onnx.load(graph, load_external_data=False).graph.node
    products = [each.name for each in nodes if each.op_type == "MatMul" and is_within(each, f"model.{scope}.")]
    with quiet():
        quantize_dynamic(
            graph,
            file,
            nodes_to_quantize=products,
            op_types_to_quantize=["MatMul"],
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
            use_external_data_format=graph.with_name(f"{graph.name}.data").exists(),
        )
    return sum(each.op_type == "MatMulInteger" for each in onnx.load(file, load_external_data=False).graph.node)


def is_within(node: object, scope: str) -> bool:
    """Whether a node of an exported graph stands in the module of this name, by the exporter's notes."""
    notes = {each.key: each.value for each in node.metadata_props}  # type: ignore[attr-defined]
    return f"'{scope}" in notes.get(SCOPES, "")


@contextmanager
def quiet() -> Iterator[None]:
    """Without the notes of the exporter and the quantizer on their own doings."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
