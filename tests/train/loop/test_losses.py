import datasets
import numpy as np
import pytest
import torch
from scipy.special import expit, logit, logsumexp
from torch.nn import functional as F
from transformers import BertConfig, DataCollatorWithPadding

from salience.configuration.errors import UserError
from salience.configuration.flags.training_arguments import SalienceTrainingArguments
from salience.configuration.flags.tuning_arguments import TuningArguments
from salience.modeling import AttnPoolConfig, AttnPoolForSequenceClassification
from salience.train.loop.losses import LOSSES, LabelStatistics, TrainingLoss, correct_prior
from salience.train.loop.trainer import SalienceTrainer
from tests.helpers.tiny import ENCODER, LABELS, random_batch, tiny_model

COUNTS = np.array([60.0, 30.0, 9.0, 1.0])
NUM_TEXTS = 100
GAMMA, BETA, TAU, MARGIN = 1.5, 0.9, 0.7, 0.4
OPTIONS = {"focal_gamma": GAMMA, "class_balanced_beta": BETA, "logit_adjustment_tau": TAU, "ldam_max_margin": MARGIN}
SINGLE, MULTI = "single_label_classification", "multi_label_classification"
PROBLEM_TYPES = [SINGLE, MULTI]


def training_loss(name, problem_type=SINGLE, smoothing=0.0, counts=COUNTS, **options):
    statistics = LabelStatistics(torch.tensor(counts), NUM_TEXTS, problem_type)
    return TrainingLoss(TuningArguments(loss=name, **(OPTIONS | options)), problem_type, statistics, smoothing)


def random_items(problem_type, num_texts=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(num_texts, len(COUNTS), generator=generator)
    if problem_type == MULTI:
        return logits, torch.randint(2, logits.shape, generator=generator).float()
    return logits, torch.randint(len(COUNTS), (num_texts,), generator=generator)


def expected_weights(name):
    """One for each class, averaging 1 over the training set."""
    if name == "weighted":
        return COUNTS.sum() / (len(COUNTS) * COUNTS)
    if name == "class_balanced":
        weights = (1 - BETA) / (1 - BETA**COUNTS)
        return weights * COUNTS.sum() / (weights * COUNTS).sum()
    return np.ones(len(COUNTS))


MARGINS = MARGIN * (COUNTS.min() / COUNTS) ** 0.25


def expected_single(name, logits, label, smoothing):
    """The loss of one text, written out from the papers."""
    logits = logits + TAU * np.log(COUNTS / NUM_TEXTS) if name == "logit_adjusted" else logits.copy()
    logits[label] -= MARGINS[label] if name == "ldam" else 0
    log_probabilities = logits - logsumexp(logits)
    target = np.full(len(COUNTS), smoothing / len(COUNTS))
    target[label] += 1 - smoothing
    modulation = (1 - np.exp(log_probabilities[label])) ** GAMMA if name == "focal" else 1
    return -expected_weights(name)[label] * modulation * (target * log_probabilities).sum()


def expected_multi(name, logits, labels, smoothing):
    """The loss of one text's labels, each a question of its own."""
    logits = logits + TAU * logit(COUNTS / NUM_TEXTS) if name == "logit_adjusted" else logits
    logits = logits - MARGINS * labels if name == "ldam" else logits
    target = labels * (1 - smoothing) + smoothing / 2
    losses = -(target * np.log(expit(logits)) + (1 - target) * np.log(expit(-logits)))
    missed = np.where(labels == 1, expit(-logits), expit(logits))
    modulation = missed**GAMMA if name == "focal" else 1
    return np.where(labels == 1, expected_weights(name), 1) * modulation * losses


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("problem_type", PROBLEM_TYPES)
@pytest.mark.parametrize("name", LOSSES)
def test_formulas(name, problem_type, smoothing):
    logits, labels = random_items(problem_type)
    formula = expected_multi if problem_type == MULTI else expected_single
    expected = np.mean(
        [formula(name, *pair, smoothing) for pair in zip(logits.double().numpy(), labels.numpy(), strict=True)]
    )
    found = training_loss(name, problem_type, smoothing)({"logits": logits}, labels)
    assert found.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("problem_type", PROBLEM_TYPES)
@pytest.mark.parametrize("name", LOSSES)
def test_micro_batches_add_up_to_the_batch(name, problem_type):
    loss = training_loss(name, problem_type, smoothing=0.1)
    logits, labels = random_items(problem_type)
    whole = logits.clone().requires_grad_()
    full = loss({"logits": whole}, labels)
    full.backward()
    pieces = logits.clone().requires_grad_()
    total = 0.0
    for part in (slice(0, 3), slice(3, 4), slice(4, 16)):
        part_loss = loss({"logits": pieces[part]}, labels[part], num_items_in_batch=torch.tensor(labels.numel()))
        part_loss.backward()
        total += part_loss.item()
    assert total == pytest.approx(full.item(), rel=1e-6)
    torch.testing.assert_close(pieces.grad, whole.grad)


@pytest.mark.parametrize("problem_type", PROBLEM_TYPES)
def test_where_losses_meet_cross_entropy(problem_type):
    logits, labels = random_items(problem_type)
    even = np.full(4, NUM_TEXTS / (2 if problem_type == MULTI else 4))
    plain = training_loss("cross_entropy", problem_type)({"logits": logits}, labels)
    if problem_type == MULTI:
        torch.testing.assert_close(plain, F.binary_cross_entropy_with_logits(logits, labels))
    else:
        torch.testing.assert_close(plain, F.cross_entropy(logits, labels))
    same = [
        training_loss("focal", problem_type, focal_gamma=0.0),
        training_loss("logit_adjusted", problem_type, counts=even),
        training_loss("logit_adjusted", problem_type, logit_adjustment_tau=0.0),
        training_loss("weighted", problem_type, counts=even),
        training_loss("class_balanced", problem_type, counts=even),
        training_loss("ldam", problem_type, ldam_max_margin=0.0),
    ]
    for loss in same:
        torch.testing.assert_close(loss({"logits": logits}, labels), plain)


@pytest.mark.parametrize("counts", [COUNTS, np.array([50.0, 30.0, 20.0, 0.0])])
@pytest.mark.parametrize("name", ["weighted", "class_balanced"])
def test_class_weights_average_one_over_the_training_set(name, counts):
    # Equal logits cost log(4) for every text, so that the mean over the training set shows the mean weight.
    labels = torch.repeat_interleave(torch.arange(4), torch.tensor(counts).long())
    loss = training_loss(name, counts=counts)({"logits": torch.zeros(len(labels), 4)}, labels)
    assert loss.item() == pytest.approx(np.log(4), rel=1e-5)


@pytest.mark.parametrize("name", ["weighted", "class_balanced", "logit_adjusted", "ldam"])
def test_rare_classes_count_more(name):
    logits = torch.zeros(2, 4)
    common, rare = (training_loss(name)({"logits": logits}, torch.full((2,), label)) for label in (0, 3))
    assert rare > common


def test_focal_forgets_what_is_easy():
    logits = torch.tensor([[5.0, 0.0, 0.0, 0.0], [0.5, 0.0, 0.0, 0.0]])
    labels = torch.tensor([0, 0])
    plain, focal = (
        [training_loss(name)({"logits": logits[[row]]}, labels[:1]).item() for row in (0, 1)]
        for name in ("cross_entropy", "focal")
    )
    assert focal[0] / plain[0] < 0.01 < 0.3 < focal[1] / plain[1] < 1


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("problem_type", PROBLEM_TYPES)
def test_gradients_are_finite_for_certain_and_for_wrong_texts(name, problem_type):
    logits = torch.tensor([[100.0, -100.0, -100.0, -100.0], [-100.0, 100.0, 100.0, 100.0]], requires_grad=True)
    labels = torch.tensor([[1.0, 0, 0, 0], [1.0, 0, 0, 0]]) if problem_type == MULTI else torch.tensor([0, 0])
    loss = training_loss(name, problem_type, focal_gamma=0.5)({"logits": logits}, labels)
    loss.backward()
    assert loss.isfinite() and logits.grad.isfinite().all()


def test_bfloat16_logits_are_counted_in_float32():
    logits, labels = random_items(SINGLE)
    for name in LOSSES:
        assert training_loss(name)({"logits": logits.bfloat16()}, labels).dtype == torch.float32


def test_regression_is_squared_error():
    loss = TrainingLoss(TuningArguments(), "regression", None)
    logits, labels = torch.randn(6, 1), torch.randn(6)
    torch.testing.assert_close(loss({"logits": logits}, labels), F.mse_loss(logits[:, 0], labels))
    parts = [loss({"logits": logits[rows]}, labels[rows], num_items_in_batch=6) for rows in (slice(2), slice(2, 6))]
    torch.testing.assert_close(sum(parts), F.mse_loss(logits[:, 0], labels))
    in_deviations = TrainingLoss(TuningArguments(), "regression", None, deviation=10.0)
    torch.testing.assert_close(in_deviations({"logits": logits}, labels), F.mse_loss(logits[:, 0], labels) / 100)


def test_losses_that_there_are_not():
    with pytest.raises(UserError, match="--loss hinge is unknown; choose from cross_entropy, weighted, focal"):
        training_loss("hinge")
    with pytest.raises(UserError, match="--loss focal needs classes"):
        TrainingLoss(TuningArguments(loss="focal"), "regression", None)
    with pytest.raises(UserError, match="--label_smoothing_factor needs classes"):
        TrainingLoss(TuningArguments(), "regression", None, label_smoothing=0.1)


# --- through the trainer ---

TEXT_LENGTHS = [3, 9, 14, 5, 21, 7, 2, 11]
TEXT_LABELS = [0, 0, 0, 0, 0, 1, 1, 2]  # every micro-batch of two has its own mix of classes


def trained_weights(folder, tokenizer, loss, batch_size, accumulation, smoothing=0.0, passes=0, adversarial_size=0.0):
    """Weights after one step on eight texts, without anything random."""
    torch.manual_seed(0)
    no_dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    config = AttnPoolConfig(
        encoder_config=BertConfig(**ENCODER, **no_dropout), key_dim=8, classifier_dropout=0.0, **LABELS
    )
    batch = random_batch(TEXT_LENGTHS)
    ids = [row[mask == 1].tolist() for row, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)]
    counts = torch.bincount(torch.tensor(TEXT_LABELS), minlength=3)
    statistics = LabelStatistics(counts, len(TEXT_LABELS), SINGLE)
    arguments = SalienceTrainingArguments(
        output_dir=str(folder), num_train_epochs=1, max_steps=1, per_device_train_batch_size=batch_size,
        gradient_accumulation_steps=accumulation, optim="sgd", learning_rate=0.1, lr_scheduler_type="constant",
        max_grad_norm=1e9, eval_strategy="no", save_strategy="no", load_best_model_at_end=False, report_to="none",
        bf16=False, use_cpu=True, label_smoothing_factor=smoothing, disable_tqdm=True, max_tokens_per_pass=passes,
    )  # fmt: skip
    trainer = SalienceTrainer(
        adversarial_size=adversarial_size,
        model=AttnPoolForSequenceClassification(config),
        args=arguments,
        train_dataset=datasets.Dataset.from_dict({"input_ids": ids, "labels": TEXT_LABELS}),
        processing_class=tokenizer,
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_loss_func=TrainingLoss(TuningArguments(loss=loss), SINGLE, statistics, smoothing),
    )
    before = {name: weight.clone() for name, weight in trainer.model.state_dict().items()}
    trained = trainer.train()
    assert any(not torch.equal(before[name], weight) for name, weight in trainer.model.state_dict().items())
    return trained.training_loss, trainer.model.state_dict()


@pytest.mark.parametrize(("loss", "smoothing"), [("cross_entropy", 0.0), ("weighted", 0.1)])
def test_accumulated_steps_change_nothing(loss, smoothing, tmp_path, tokenizer, monkeypatch):
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION", raising=False)  # transformers 4 leaves that of another run here
    first_loss, first = trained_weights(tmp_path, tokenizer, loss, 8, 1, smoothing)
    second_loss, second = trained_weights(tmp_path, tokenizer, loss, 2, 4, smoothing)
    assert first_loss == pytest.approx(second_loss, abs=1e-6)
    for name, weight in first.items():
        torch.testing.assert_close(weight, second[name], rtol=0, atol=1e-6)


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("adversarial_size", [0.0, 0.1])
def test_passes_change_nothing(accumulation, adversarial_size, tmp_path, tokenizer, monkeypatch):
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION", raising=False)
    batches = "weighted", 8 // accumulation, accumulation, 0.1
    first_loss, first = trained_weights(tmp_path, tokenizer, *batches, adversarial_size=adversarial_size)
    second_loss, second = trained_weights(tmp_path, tokenizer, *batches, 15, adversarial_size)
    assert first_loss == pytest.approx(second_loss, abs=1e-6)
    for name, weight in first.items():
        torch.testing.assert_close(weight, second[name], rtol=0, atol=1e-6)


# --- prior correction ---


@pytest.mark.parametrize("problem_type", PROBLEM_TYPES)
def test_prior_correction_shifts_the_logits_outside_of_training(problem_type, tmp_path):
    model, batch = tiny_model("attn_pool_mean"), random_batch([5, 9])
    counts = torch.tensor([80, 15, 5])
    before = model(**batch).logits
    correct_prior(model, 0.5, LabelStatistics(counts, 100, problem_type))
    prior = counts / 100
    shift = 0.5 * (prior.logit() if problem_type == MULTI else prior.log())
    torch.testing.assert_close(model(**batch).logits, before - shift)
    model.save_pretrained(tmp_path)
    reloaded = AttnPoolForSequenceClassification.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(reloaded(**batch).logits, before - shift)
    for part in model.modules():
        part.training = isinstance(part, AttnPoolForSequenceClassification)  # training, without dropout
    torch.testing.assert_close(model(**batch).logits, before)
