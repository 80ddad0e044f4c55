"""What a trained model is worth, and how models compare: what `eval.py` does, as functions."""

from typing import TYPE_CHECKING

from salience.configuration.lazy import lazy_names

if TYPE_CHECKING:
    from salience.configuration.errors import UserError
    from salience.eval.compare.command import compare_runs
    from salience.eval.explain.command import explain_texts
    from salience.eval.export.command import export_model
    from salience.eval.predict.command import predict_files
    from salience.eval.predict.predictor import Predictor
    from salience.eval.reading.load import load_classifier
    from salience.eval.report.command import write_report
    from salience.eval.score.command import score_model
    from salience.eval.study.command import run_study

__all__ = [
    "Predictor",
    "UserError",
    "compare_runs",
    "explain_texts",
    "export_model",
    "load_classifier",
    "predict_files",
    "run_study",
    "score_model",
    "write_report",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Predictor": "salience.eval.predict.predictor",
        "UserError": "salience.configuration.errors",
        "compare_runs": "salience.eval.compare.command",
        "explain_texts": "salience.eval.explain.command",
        "export_model": "salience.eval.export.command",
        "load_classifier": "salience.eval.reading.load",
        "predict_files": "salience.eval.predict.command",
        "run_study": "salience.eval.study.command",
        "score_model": "salience.eval.score.command",
        "write_report": "salience.eval.report.command",
    },
)
