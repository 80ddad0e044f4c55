"""The model card: README.md of a finished run folder, every figure in it read from the run's results files."""

import json
import re
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from salience.configuration.errors import UserError, one_line
from salience.model_cards.facts import METRICS, card_facts, is_number
from salience.model_cards.files import write_whole
from salience.model_cards.markdown import MAX_NAME, escape
from salience.model_cards.run_folder import CARD_FILE, RunFolder, RunRecord, is_hub_id

TEMPLATE = Path(__file__).parent / "template.md"


def write_card(folder: str | Path, record: RunRecord | None = None) -> Path:
    """Write the README.md of a finished run folder; a README.md that is there is replaced.

    The usage code loads the run's `hub_model_id`, else a name to fill in, at a revision that `pin_usage` sets.

    Args:
        folder: the run's `output_dir`, or its adapter folder.
        record: the content of run.json, where it isn't written yet.

    Returns:
        The path of the card.

    Raises:
        UserError: the folder has no config.json, or a results file is broken.
    """
    path = Path(folder) / CARD_FILE
    write_whole(path, str(make_card(folder, record)))
    return path


def make_card(folder: str | Path, record: RunRecord | None = None) -> ModelCard:
    """The card of a finished run folder; arguments and errors are those of `write_card`."""
    files = RunFolder(Path(folder), record)
    if not files.config:
        raise UserError(f"{folder} has no config.json, so it isn't a finished run: give the output_dir of a training.")
    arguments = files.run.get("arguments", {})
    repo_id = arguments.get("hub_model_id")
    repo_id = repo_id if is_hub_id(repo_id) else None
    language = arguments.get("language") or []
    languages = [one_line(code, MAX_NAME) for code in ([language] if isinstance(language, str) else language)]
    name = repo_id.split("/")[1] if repo_id else one_line(files.path.resolve().name, MAX_NAME)
    metadata = _metadata(files, name, languages, arguments.get("license"))
    facts = card_facts(files, languages) | {"title": escape(name), "repo": repo_id}
    return ModelCard.from_template(metadata, template_path=str(TEMPLATE), **facts)


def without_report(card_text: str) -> str:
    """The card without its section on a report.

    Args:
        card_text: A card that `write_card` made.
    """
    section = re.compile(r"\n## Where it is good, and how far to trust it\n.*?(?=\n## How to use it\n)", re.DOTALL)
    return section.sub("", card_text)


def pin_usage(card_text: str, repo_id: str, revision: str) -> str:
    """The card with the repository and revision of its usage blocks set.

    Args:
        card_text: A card that `write_card` made; lines that aren't there are not added.
        repo_id: `USER/NAME` of the repository.
        revision: Commit to pin.
    """
    card_text = re.sub(r"^REPO = .*$", f"REPO = {json.dumps(repo_id)}", card_text, flags=re.MULTILINE)
    return re.sub(r"^REVISION = .*$", f"REVISION = {json.dumps(revision)}", card_text, flags=re.MULTILINE)


def _metadata(files: RunFolder, name: str, languages: list[str], license: str | None) -> ModelCardData:
    run, arguments = files.run, files.run.get("arguments", {})
    model = run.get("model", {})
    family = re.sub(r"[^a-z0-9_]", "", str(model.get("family", ""))).replace("_", "-")
    bases = [files.adapter.get("base_model_name_or_path"), model.get("start", {}).get("name"), model.get("encoder")]
    base = next(filter(is_hub_id, bases if files.is_adapter else bases[1:]), None)
    dataset = arguments.get("dataset_name")
    results = _eval_results(files, dataset if is_hub_id(dataset) else None)
    return ModelCardData(
        language=languages or None,
        license=one_line(license, MAX_NAME) if license else None,
        library_name="peft" if files.is_adapter else "transformers",
        pipeline_tag="text-classification",
        tags=["salience", *filter(None, [family]), *(["lora"] if files.adapter else [])],
        base_model=base,
        base_model_relation=("adapter" if files.is_adapter else "finetune") if base else None,
        datasets=[dataset] if is_hub_id(dataset) else None,
        metrics=sorted({result.metric_type for result in results}) or None,
        model_name=name,
        eval_results=results or None,
    )


def _eval_results(files: RunFolder, dataset_id: str | None) -> list[EvalResult]:
    data, revision = files.run.get("data", {}), files.run.get("arguments", {}).get("dataset_revision")
    name = one_line(data.get("name") or dataset_id or "custom data", MAX_NAME)
    fingerprint = data.get("splits", {}).get("test", {}).get("sha256")
    return [
        EvalResult(
            task_type="text-classification",
            task_name="Text Classification",
            dataset_type=dataset_id or re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "custom",
            dataset_name=name,
            dataset_split="test",
            dataset_revision=one_line(revision, MAX_NAME) if dataset_id and revision else None,
            dataset_args={"sha256": one_line(fingerprint, MAX_NAME)} if fingerprint else None,
            metric_type=metric.hub_type,
            metric_name=metric.title,
            metric_value=files.test[metric.key],
        )
        for metric in METRICS
        if metric.hub_type and is_number(files.test.get(metric.key))
    ]
