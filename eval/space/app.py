"""The Space: `python app.py` starts it; space.json beside it says of which model it is."""

from pathlib import Path

from salience.configuration.terminal import calm_threads

calm_threads()  # before torch is imported

from salience.eval.space.interface import LOOKS, build  # noqa: E402

demo = build(Path(__file__).parent)

if __name__ == "__main__":
    demo.launch(**LOOKS)
