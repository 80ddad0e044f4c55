import json

import numpy as np
import pytest
import torch

from salience.configuration.errors import UserError
from salience.eval.benchmark.command import BenchmarkArguments
from salience.eval.benchmark.growth import Curve, Measurer, Point
from salience.eval.benchmark.models import (
    Corpus,
    baseline,
    batches_of,
    check_equal,
    contestant,
    cut_unread,
    dense_contestant,
    hierarchical,
    hierarchical_config,
    make_batch,
    packed_lstm,
)
from salience.eval.benchmark.pooling import FLAGS
from salience.eval.benchmark.steps import multiplications
from salience.eval.benchmark.timing import compared, growth_exponent, interleaved
from salience.eval.cli import main
from tests.helpers.tiny import save_tiny_encoder
from tests.helpers.toy import toy_texts, write_csv

CPU = torch.device("cpu")
TINY = {"embedding_dim": 6, "hidden_dim": 8, "num_heads": 2, "classifier_hidden_dim": 4}
MODELS = ["lstm", "hierarchical", "cnn", "lstm, packed", "dense, to the longest", "dense, whole grid"]


@pytest.fixture(scope="module")
def corpus():
    return Corpus([text for text, _ in toy_texts(24)], seed=0)


def batches(corpus, count=8, size=4):
    return batches_of(corpus.draw(count), size)


def run(tmp_path, *flags):
    texts = write_csv(tmp_path / "texts.csv", toy_texts(24))
    batches = [] if "growth" in flags else ["--num_batches", "2", "--batch_size", "4"]
    fast = ["--repetitions", "2", *batches, "--model_options", json.dumps(TINY)]
    return main(["benchmark", "--test_file", str(texts), *fast, *flags])


def checked_rows(part, models):
    assert list(dict.fromkeys(row["model"] for row in part["rows"])) == models
    for row in part["rows"]:
        assert 0 < row["seconds"]["low"] <= row["seconds"]["median"] <= row["seconds"]["high"] and row["slow"] >= 0
    return part["rows"]


@pytest.mark.slow
def test_the_hierarchical_model_is_timed_beside_others(tmp_path, capsys):
    small = ["--suite", "hierarchical", "--batch_sizes", "1", "4", "--num_documents", "8", "12"]
    assert run(tmp_path, "--output_dir", str(tmp_path / "out"), *small) == 0
    results = json.loads((tmp_path / "out" / "benchmark.json").read_text())
    assert results["environment"].keys() >= {"device", "threads", "versions", "repetitions", "seed", "limits"}
    assert results["environment"]["limits"].keys() == {"fp32_flops", "bf16_flops", "bytes_per_second"}
    steps, batches = results["parts"]["steps"], results["parts"]["batches"]
    for row in checked_rows(steps, MODELS):
        assert row["ratios"].keys() == {"lstm", "hierarchical"} and row["ratios"]["lstm"]["median"] > 0
    assert steps["difference"] <= 1e-5 and steps["multiplications"] > 1 and "Bi-LSTM is faster" in steps["meaning"]
    assert {(row["batch_size"], row["model"]) for row in batches["batch_sizes"]} == {
        (size, model) for size in (1, 4) for model in ("lstm", "hierarchical")
    }
    assert all(row["documents_per_second"] > 0 for row in batches["documents"])
    assert (tmp_path / "out" / "benchmark.png").read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    assert all(f"{model} " in printed for model in MODELS) and "load average before: " in printed
    assert run(tmp_path, "--output_dir", str(tmp_path / "out"), *small) == 2  # nothing is overwritten


@pytest.mark.slow
def test_the_cost_of_pooling_is_measured_by_length(tmp_path):
    encoder = str(save_tiny_encoder(tmp_path / "encoder"))
    flags = ["--suite", "scaling", "--encoder", encoder, "--lengths", "8", "40"]
    assert run(tmp_path, *flags, "--output_dir", str(tmp_path / "out")) == 0
    results = json.loads((tmp_path / "out" / "benchmark.json").read_text())
    rows = checked_rows(results["parts"]["pooling"], list(FLAGS))
    assert {row["batches"].partition(",")[0] for row in rows} == {"8 tokens", "40 tokens", "texts as they come"}
    assert not [row for row in rows if row["model"] == "plain head" and row["batches"].startswith("40 ")]  # reads 24
    for row in rows:
        plain = set() if row["batches"].startswith("40 ") else {"plain head"}
        assert row["ratios"].keys() == {"Transformer from scratch", "Bi-LSTM from scratch"} | plain
        assert ("operations_per_second" in row) == ("scratch" not in row["model"]) and row["tokens_per_second"] > 0
        assert row["model"] != "plain head" or row["ratios"]["plain head"]["median"] == 1.0
    assert (tmp_path / "out" / "benchmark.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_time_and_memory_of_a_growing_document_are_measured(tmp_path, capsys):
    encoder = str(save_tiny_encoder(tmp_path / "encoder"))
    flags = ["--suite", "growth", "--encoder", encoder, "--words", "50", "1000", "3000"]
    assert run(tmp_path, *flags, "--output_dir", str(tmp_path / "out")) == 0
    growth = json.loads((tmp_path / "out" / "benchmark.json").read_text())["parts"]["growth"]
    assert len(growth["rows"]) == 10 and growth["rows"][0]["variant"] == "attention pooling on the encoder"
    for row in growth["rows"]:
        assert row["words"] == growth["words"] == [50, 1000, 3000] and not row["stopped"]
        assert all(whole > own >= 0 for whole, own in zip(row["peak_megabytes"], row["megabytes"], strict=True))
        assert isinstance(row["time_exponent"], float)
    for name in ("growth_seconds.png", "growth_megabytes.png"):
        assert (tmp_path / "out" / name).read_bytes().startswith(b"\x89PNG")
    assert "hierarchical, document attention, linear, training" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--suite", "all"], "--suite"),
        (["--suite", "attn_pool"], "choose from train, predict, start, hierarchical, scaling, growth"),
        (["--suite", "hierarchical", "--encoder", "some/encoder"], "--encoder belongs to --suite"),
        (["--suite", "hierarchical", "--peers", "python"], "--peers belongs to --suite train or predict"),
        (["--suite", "hierarchical", "--repetitions", "0"], "--repetitions"),
        (["--suite", "hierarchical", "--model_options", "{"], "--model_options"),
        (["--suite", "hierarchical", "--model_options", '{"hiden_dim": 8}'], "hiden_dim"),
        (["--suite", "hierarchical", "--model_options", '{"dropout": 2}'], "dropout"),
        (["--suite", "hierarchical", "--test_file", "nowhere.csv"], "nowhere.csv"),
        (["--suite", "hierarchical", "--max_length", "64"], "--max_length has no effect here"),
        (["--suite", "scaling", "--encoder", "./nowhere"], "nowhere"),
    ],
)
def test_bad_flags_are_one_sentence(tmp_path, capsys, flags, said):
    assert run(tmp_path, *flags) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and said in error and "Traceback" not in error


def test_texts_without_words_are_refused(tmp_path, capsys):
    write_csv(tmp_path / "blank.csv", [(" ", "a"), ("\t", "b")])
    assert main(["benchmark", "--suite", "hierarchical", "--test_file", str(tmp_path / "blank.csv")]) == 2
    assert "blank.csv" in capsys.readouterr().err


@pytest.mark.parametrize("whole_grid", [False, True])
def test_versions_of_one_model_are_equal_and_others_are_not(corpus, whole_grid):
    config = hierarchical_config(corpus, **TINY)
    ragged = contestant(hierarchical(config), batches(corpus), CPU)
    dense = dense_contestant(config, batches(corpus), CPU, whole_grid)
    assert dense.inputs[0].ids_BSW.shape[1:] == (30, 100) or not whole_grid
    before = {name: value.clone() for name, value in ragged.model.state_dict().items()}
    assert check_equal(ragged, dense, num_batches=2) <= 1e-7
    for version in (ragged, dense):  # as if nothing had been
        torch.testing.assert_close(version.model.state_dict(), before, rtol=0, atol=0)
    for part in ("word_filter.score.bias", "sentence_pooling.score.weight", "cross_attention.value.bias"):
        with torch.no_grad():
            dense.model.model.get_parameter(part).add_(0.1)
        with pytest.raises(RuntimeError, match="differ"):
            check_equal(ragged, dense, num_batches=2)
        dense.model.load_state_dict(before)


def test_training_step_trains_and_inference_does_not(corpus):
    config = hierarchical_config(corpus, **TINY)
    made = batches(corpus)
    contestants = [contestant(build, made, CPU) for build in (hierarchical(config), baseline("cnn", config))]
    for each in [*contestants, dense_contestant(config, made, CPU, whole_grid=False)]:
        before = {name: value.clone() for name, value in each.model.named_parameters()}
        each.calls("inference")[0]()
        assert all(torch.equal(value, before[name]) for name, value in each.model.named_parameters())
        each.calls("training")[0]()
        changed = [name for name, value in each.model.named_parameters() if not torch.equal(value, before[name])]
        assert "model.embeddings.weight" in changed and any(name.startswith("classifier") for name in changed)


def test_packed_lstm_computes_what_the_baseline_does(corpus):
    config = hierarchical_config(corpus, **TINY)
    ours, packed = baseline("lstm", config).eval(), packed_lstm(config).eval()
    source, target = ours.model.network.bilstm, packed.model.network.bilstm.lstm
    weights = {}
    for layer in range(config.num_layers):
        for suffix, layers in (("", source.forward_layers), ("_reverse", source.backward_layers)):
            values = layers[layer].state_dict()
            weights |= {name.replace("_l0", f"_l{layer}{suffix}"): value for name, value in values.items()}
    target.load_state_dict(weights)
    batch = make_batch([*corpus.draw(3), []])
    inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
    with torch.no_grad():
        torch.testing.assert_close(packed(**inputs).logits, ours(**inputs).logits)


def test_multiplications_are_those_of_all_matrices(corpus):
    config = hierarchical_config(corpus, **TINY)
    document = corpus.draw(1)
    model = baseline("lstm", config)
    matrices = [weight for name, weight in model.model.network.bilstm.named_parameters() if "weight" in name]
    per_word = sum(weight.numel() for weight in matrices)
    counted = multiplications(contestant(model, batches_of(document, 1), CPU))
    assert counted == len(document[0]) * per_word + model.classifier.weight.numel()


def test_documents_end_where_the_model_stops_reading(corpus):
    config = hierarchical_config(corpus, max_sentences=2, max_words=3, **TINY)
    document = corpus.documents[0]
    assert document.count(config.sentence_end_ids[0]) >= 2
    cut, empty = cut_unread(hierarchical(config).eval(), [document, []])
    assert 0 < len(cut) < len(document) and cut == document[: len(cut)] and empty == []
    assert cut_unread(hierarchical(config).eval(), [cut]) == [cut]


def test_documents_of_any_length_and_number(corpus):
    assert len(corpus.long_document(5000)) == 5000 == len(corpus.long_text(5000).split())
    assert corpus.draw(50)[24:48] == corpus.draw(24)


def test_grouped_batches_hold_documents_of_like_length():
    corpus = Corpus([text for text, _ in toy_texts(400)], seed=0)
    drawn = corpus.draw_grouped(num_batches=6, batch_size=4)
    lengths = np.array([len(document) for document in drawn]).reshape(6, 4)
    assert np.ptp(lengths, axis=1).mean() < np.ptp(lengths) / 8


def test_calls_take_turns():
    said = []
    calls = {name: [lambda text=f"{name}{number}": said.append(text) for number in (0, 1)] for name in "abc"}
    times = interleaved(calls, 2, CPU, "", one_each=frozenset("c"))
    assert said[:5] == ["a0", "b0", "c0", "a1", "b1"]  # the warm-up
    assert said[5:] == ["a0", "b0", "a1", "b1", "c1", "a0", "b0", "c0", "a1", "b1"]
    assert {name: np.isfinite(each).tolist() for name, each in times.items()} == {
        "a": [[True, True]] * 2, "b": [[True, True]] * 2, "c": [[False, True], [True, False]]
    }  # fmt: skip


def test_ratios_are_those_of_the_same_calls_in_a_repetition():
    """Batches differ: what a slow model took for one is compared with what the other took for the same."""
    nan = np.nan
    times = {"slow": np.array([[2.0, nan], [nan, 40.0], [3.0, nan]]), "fast": np.array([[1.0, 9], [10, 20], [1, 9]])}
    (slow, fast) = compared(times, ("fast",), mode="training", batches="mixed lengths")
    assert slow["ratios"]["fast"] == {"median": 2.0, "low": 2.0, "high": 3.0} and slow["mode"] == "training"
    assert slow["seconds"] == {"median": 3.0, "low": 2.0, "high": 40.0}
    assert fast["seconds"] == {"median": 5.0, "low": 5.0, "high": 15.0}
    assert slow["slow"] == 0 and fast["slow"] == 1  # 10 s of the first batch, beside 1 s and 1 s


def test_exponent_of_growth():
    sizes = [100, 1000, 3000, 10_000, 100_000]
    assert growth_exponent(sizes, [3e-9 * size**2 for size in sizes]) == pytest.approx(2.0)
    assert growth_exponent(sizes, [5e-4 * size for size in sizes]) == pytest.approx(1.0)
    assert growth_exponent(sizes, [1e9, *(float(size) for size in sizes[1:])]) == pytest.approx(1.0)  # 100 is no part
    assert growth_exponent([1000, 2000], [0.0, 5.0]) is None


def test_curve_stops_before_what_would_take_too_long(corpus):
    config = hierarchical_config(corpus, **TINY)
    curve = Curve("quadratic", "inference", [Point(1000, [1.0], 10.0, 99.0), Point(2000, [4.0], 20.0, 99.0)])
    assert curve.expected(8000) == pytest.approx((64.0, 80.0))
    patient, thrifty = Measurer(CPU, 1, 1e9, 79.0, 8192), Measurer(CPU, 1, 63.0, 1e9, 8192)
    for measurer, said in ((patient, "80 MiB"), (thrifty, "64 s")):
        stopped = Curve(curve.variant, curve.mode, list(curve.points))
        measurer.extend(stopped, config, [2] * 8000, 8000)
        assert said in stopped.stopped and len(stopped.points) == 2
        assert stopped.row()["stopped"] == stopped.stopped


@pytest.mark.slow
def test_memory_is_that_of_the_document(corpus):
    config = hierarchical_config(corpus, max_sentences=0, max_words=0, **TINY)
    point = Measurer(CPU, 2, 1e9, 1e9, 10**6).measure(config, corpus.long_document(20_000), 20_000, "training")
    # One vector of 8 float32 for each word is the least that is kept, and the process as a whole has hundreds of MB.
    assert 20_000 * 8 * 4 / 2**20 < point.megabytes < 200 < point.peak_megabytes
    assert point.words == 20_000 and 1 <= len(point.seconds) <= 2


@pytest.mark.slow
def test_a_process_that_dies_ends_its_curve_only(corpus):
    curve = Curve("any", "inference")
    Measurer(CPU, 1, 1e9, 1e9, 8192).extend(curve, hierarchical_config(corpus, **TINY), [10**9] * 5, 5)  # no such word
    assert "ended with status" in curve.row()["stopped"] and not curve.points


def test_arguments_are_checked():
    with pytest.raises(UserError, match="--words"):
        BenchmarkArguments(suite="growth", words=[0])
    with pytest.raises(UserError, match="--words belongs to --suite growth"):
        BenchmarkArguments(words=[100])
    assert BenchmarkArguments().repetitions == 3 and BenchmarkArguments(suite="predict").repetitions == 7
