"""Where things lie in the repository."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
TRAIN, EVAL = ROOT / "train.py", ROOT / "eval.py"
RECIPES, STUDIES = ROOT / "configuration" / "recipes", ROOT / "configuration" / "studies"
DATA = ROOT / "tests" / "data"
TINY_TOKENIZER = DATA / "tiny_tokenizer"
# data/run_VERSION and data/run_format_NUMBER: what was saved then, and what it answered.
RECORDED = sorted(DATA.glob("run_*/*.json"))
