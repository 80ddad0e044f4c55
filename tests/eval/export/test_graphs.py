"""Graphs answer as their models do, at batch sizes and lengths other than those that they were made from.

The exporter takes many seconds for each: one is made in the quick tests, in test_export.py.
"""

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import AutoConfig, BertForSequenceClassification, PreTrainedTokenizerFast
from transformers.tokenization_utils_base import BatchEncoding

from salience.configuration import AttnPoolConfig, BaselineConfig
from salience.configuration.problem_types import MULTI_LABEL, REGRESSION
from salience.eval import Predictor
from salience.eval.export.command import write_files
from salience.eval.export.graph import write_graph, write_int8
from salience.eval.reading.reader import Reader
from salience.modeling import AttnPoolForSequenceClassification, BaselineForSequenceClassification
from salience.modeling.ngram_evidence import NgramEvidence
from salience.modeling.windows import pack_inputs
from tests.helpers.graphs import LENGTHS, largest_difference, predict_of
from tests.helpers.predicting import NUMBERS
from tests.helpers.tiny import ENCODER, LABELS, TINY_MODELS, WINDOWS, random_batch, tiny_encoder_config, tiny_model

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
pytestmark = pytest.mark.slow


def session_of(model, file):
    write_graph(model, BatchEncoding(random_batch([20, 7, 13])), file)  # a plain head reads 24 tokens
    return onnxruntime.InferenceSession(str(file))


@pytest.mark.parametrize("name", TINY_MODELS)
def test_graph_answers_as_the_model_at_any_size(name, tmp_path):
    model = tiny_model(name)
    session = session_of(model, tmp_path / "model.onnx")
    for side in ("right", "left"):
        for lengths in LENGTHS:
            assert largest_difference(model, session, lengths, side) < 1e-5, (lengths, side)


WORDS = {"[PAD]": 0, "[UNK]": 1, "a": 2, "b": 3, "c": 4}
ODD_NAMES = ['say "a"', "line\nbreak", "été"]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"problem_type": MULTI_LABEL, "label_thresholds": [0.5, 0.4, 0.6], "review_threshold": 0.55},
        {"problem_type": REGRESSION},
        NUMBERS,
    ],
)
def test_predict_answers_as_predictor_does_and_to_texts_without_tokens(options, tmp_path):
    names = {"id2label": dict(enumerate(ODD_NAMES)), "label2id": {name: index for index, name in enumerate(ODD_NAMES)}}
    torch.manual_seed(0)
    model = BaselineForSequenceClassification(BaselineConfig("cnn", len(WORDS), **{**names, **options}))
    words = Tokenizer(WordLevel(WORDS, "[UNK]"))  # adds no token to a text
    words.pre_tokenizer = WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]")
    model.save_pretrained(tmp_path / "run")
    tokenizer.save_pretrained(tmp_path / "run")
    write_files(Reader(model, tokenizer), False, tmp_path)
    classifier = predict_of(tmp_path).Classifier()
    assert classifier([""])[0].keys() == classifier(["a b"])[0].keys()  # a batch without any token
    texts = ["a b c", "c c", "b"]
    expected = Predictor(tmp_path / "run", bf16=False)({"text": texts})
    for row, answer in enumerate(classifier(texts)):
        assert answer.pop("score") == pytest.approx(expected["score"][row], abs=1e-5)
        assert answer == {name: expected[name][row] for name in ("label", "action") if name in expected}


@torch.no_grad()
def test_evidence_of_ngrams_and_all_corrections_are_in_the_graph(tmp_path):
    model = tiny_model("cnn")
    batch = random_batch([60, 3, 16, 17, 33])
    keys = NgramEvidence(3, 0, 2).ngrams(pack_inputs(**batch))[1].unique()[::2]
    model.config.update(
        {"ngram_weight": 0.7, "ngram_damping": 0.5, "logit_temperature": 1.7, "prior_correction": [0.1, 0.2, -0.3]}
    )
    model.ngrams = NgramEvidence(3, len(keys), 2)
    model.ngrams.key_G, model.ngrams.idf_G = keys, torch.linspace(1, 3, len(keys))
    model.ngrams.weight_GC = torch.randn(len(keys), 3, generator=torch.Generator().manual_seed(0)).half()
    assert model.ngrams(pack_inputs(**batch)).abs().min() > 0.01
    session = session_of(model, tmp_path / "model.onnx")
    for lengths in LENGTHS:
        assert largest_difference(model, session, lengths, "left") < 1e-5, lengths


def test_int8_is_of_all_products_of_the_encoder_and_of_no_other(tmp_path):
    model = tiny_model("attn_pool")
    session_of(model, tmp_path / "model.onnx")
    linears = [each for each in model.encoder.modules() if isinstance(each, torch.nn.Linear)]
    assert write_int8(model, tmp_path / "model.onnx", tmp_path / "int8.onnx") == len(linears)
    session = onnxruntime.InferenceSession(str(tmp_path / "int8.onnx"))
    differences = [largest_difference(model, session, lengths, "right") for lengths in LENGTHS]
    assert 0 < max(differences) < 0.1


@pytest.mark.parametrize("kind", ["distilbert", "roberta", "electra", "mpnet", "modernbert"])
def test_other_encoders_are_exported(kind, tmp_path):
    torch.manual_seed(0)
    small = {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32} if kind == "distilbert" else {}
    encoder = AutoConfig.for_model(kind, **{**ENCODER, "pad_token_id": 0, **small})
    config = AttnPoolConfig(encoder_config=encoder, key_dim=8, **WINDOWS, **LABELS)
    model = AttnPoolForSequenceClassification(config).eval()
    session = session_of(model, tmp_path / "model.onnx")
    for lengths in LENGTHS:
        assert largest_difference(model, session, lengths, "right") < 1e-4, lengths


def test_plain_head_is_exported(tmp_path):
    torch.manual_seed(0)
    model = BertForSequenceClassification(tiny_encoder_config()).eval()
    model.config.num_labels = 3
    model.classifier = torch.nn.Linear(16, 3)
    session = session_of(model, tmp_path / "model.onnx")
    for lengths in ([5], [24, 1, 7], [9] * 13):
        assert largest_difference(model, session, lengths, "right") < 1e-5, lengths
