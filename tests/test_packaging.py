import shutil
import subprocess
import sys
import zipfile

import pytest

from salience.configuration import AttnPoolConfig, BaselineConfig, HierarchicalAttnConfig
from salience.modeling import configuration_attn_pool, configuration_baseline, configuration_hierarchical_attn
from tests.helpers.paths import ROOT

FOLDERS = ("modeling", "configuration", "train", "eval", "model_cards")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> list[str]:
    """Names of the files in the wheel, built from a copy so that no build folder is left behind."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "train.py", "eval.py"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip"]
    command = [*pip, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", target, source]
    process = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert process.returncode == 0, process.stderr
    return zipfile.ZipFile(next(target.glob("*.whl"))).namelist()


def test_the_wheel_holds_salience_and_nothing_beside_it(wheel):
    assert {name.split("/")[0] for name in wheel if ".dist-info/" not in name} == {"salience"}


def test_the_wheel_holds_code_recipes_metric_and_card_template(wheel):
    for folder in FOLDERS:
        expected = {
            f"salience/{path.relative_to(ROOT).as_posix()}"
            for pattern in ("*.py", "*.yaml", "*.md", "py.typed")
            for path in (ROOT / folder).rglob(pattern)
            if not {"__pycache__", "results"} & set(path.parts)  # results are for readers of the repository
        }
        assert expected <= set(wheel), expected - set(wheel)


def test_generic_names_are_not_importable(tmp_path):
    code = f"import importlib.util\nassert not [name for name in {FOLDERS!r} if importlib.util.find_spec(name)]"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=60)


def test_each_configuration_is_one_class():
    assert configuration_attn_pool.AttnPoolConfig is AttnPoolConfig
    assert configuration_hierarchical_attn.HierarchicalAttnConfig is HierarchicalAttnConfig
    assert configuration_baseline.BaselineConfig is BaselineConfig
