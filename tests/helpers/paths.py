"""Where things lie in the repository."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
TRAIN, EVAL = ROOT / "train.py", ROOT / "eval.py"
RECIPES, STUDIES = ROOT / "configuration" / "recipes", ROOT / "configuration" / "studies"
DATA = ROOT / "tests" / "data"
TINY_TOKENIZER = DATA / "tiny_tokenizer"
# data/run_VERSION and data/run_format_NUMBER: what was saved then, and what it answered.
# Each folder has a name of its own: transformers 4 keeps the code of folders by their last name.
RECORDED = sorted(DATA.glob("run_*/*.json"))
