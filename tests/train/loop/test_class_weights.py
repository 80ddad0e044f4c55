"""Class weights by hand: read in either form, and they weigh what PyTorch's own do."""

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from salience.configuration.errors import UserError
from salience.configuration.flags.tuning_arguments import TuningArguments
from salience.train import cli
from salience.train.loop.class_weights import read_class_weights
from salience.train.loop.losses import LabelStatistics, TrainingLoss
from tests.helpers.run_folders import QUIET
from tests.helpers.toy import toy_csv

NAMES = ["news", "a=1", "sport"]
COUNTS = torch.tensor([6.0, 3.0, 1.0])


@pytest.mark.parametrize(
    "words", [["1", "2.5", "10"], ["sport=10", "news=1", "a=1=2.5"], ["news=1e0", "a=1=2.50", "sport=1e1"]]
)
def test_both_forms_say_the_same(words):
    assert read_class_weights(words, NAMES).tolist() == [1, 2.5, 10]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["1", "2"], "--class_weights has 2 numbers for 3 classes; the classes are, in this order, news, a=1, sport"),
        (["1", "2", "3", "4"], "has 4 numbers for 3 classes"),
        (["news=1", "2", "3"], "mixes numbers and NAME=NUMBER"),
        (["news=1", "a=1=2"], "lacks sport: give each class its weight"),
        (["news=1", "a=1=2", "sports=3"], "sports=3 names no class"),
        (["news=1", "news=2", "a=1=2", "sport=3"], "names news twice"),
        (["1", "0", "2"], "'0', the weight of a=1, isn't a number above 0"),
        (["1", "nan", "2"], "'nan', the weight of a=1"),
        (["1", "inf", "2"], "'inf', the weight of a=1"),
        (["1", "1e308", "2"], "'1e308', the weight of a=1, isn't a number above 0, from 1e-9 to 1e9"),
        (["1", "1e-40", "2"], "'1e-40', the weight of a=1"),
        (["1", "-1", "2"], "'-1', the weight of a=1"),
        (["1", "two", "2"], "'two', the weight of a=1"),
        (["{news: 1}", "1", "2"], "'{news: 1}', the weight of news"),
    ],
)
def test_anything_else_is_refused(words, sentence):
    with pytest.raises(UserError) as error:
        read_class_weights(words, NAMES)
    assert sentence in str(error.value)


def test_they_weigh_as_in_cross_entropy():
    statistics = LabelStatistics(COUNTS, 10, "single_label_classification", NAMES)
    options = TuningArguments(loss="weighted", class_weights=["sport=10", "news=1", "a=1=2.5"])
    loss = TrainingLoss(options, "single_label_classification", statistics)
    logits, labels = torch.randn(8, 3), torch.randint(3, (8,))
    weights = torch.tensor([1, 2.5, 10])
    scale = 10 / (weights * COUNTS).sum()  # they average 1 over the training texts
    expected = F.cross_entropy(logits, labels, weight=weights * scale, reduction="sum") / 8
    assert_close(loss({"logits": logits}, labels), expected)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ([], "--class_weights belongs to --loss weighted"),
        (["--loss", "focal"], "--class_weights belongs to --loss weighted"),
        (["--loss", "weighted", "--balanced_sampling", "true"], "exclude each other"),
        (["--loss", "weighted", "--prior_correction", "1"], "correct the same twice"),
        (["--loss", "weighted"], "2 numbers for 3 classes; the classes are, in this order, business, culture, sport"),
    ],
)
def test_they_stand_alone(tmp_path, capsys, flags, sentence):
    flags = [*toy_csv(tmp_path), "--encoder", str(tmp_path), "--class_weights", "1", "2", *flags]
    assert cli.main([*flags, "--output_dir", str(tmp_path / "out"), *QUIET]) == 2
    assert sentence in capsys.readouterr().err
