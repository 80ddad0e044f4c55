"""The suite `hierarchical`: the model from scratch beside others of its size, and beside its own dense version."""

from typing import Any

import torch
from torch import nn

from salience.eval.benchmark.models import (
    Contestant,
    Corpus,
    baseline,
    batches_of,
    check_equal,
    contestant,
    cut_unread,
    dense_contestant,
    hierarchical,
    hierarchical_config,
    packed_lstm,
)
from salience.eval.benchmark.timing import MODES, compared, interleaved, spread

MEANING = (
    "/ lstm: seconds of a batch over those of the document-level Bi-LSTM for the same texts in the same repetition; "
    "above 1, the Bi-LSTM is faster. / hierarchical: the same with ours."
)


def measure_steps(corpus: Corpus, arguments: Any, device: torch.device) -> dict[str, Any]:
    """Part `steps`, on documents as they come, and on such of like length as `--length_grouped true` makes batches."""
    config = hierarchical_config(corpus, **arguments.options)
    reader, size, count = hierarchical(config).eval(), arguments.batch_size, arguments.num_batches
    mixed = batches_of(cut_unread(reader, corpus.draw(count * size)), size)
    grouped = batches_of(cut_unread(reader, corpus.draw_grouped(count, size)), size)
    models = {
        "lstm": contestant(baseline("lstm", config), mixed, device),
        "hierarchical": contestant(hierarchical(config), mixed, device),
        "cnn": contestant(baseline("cnn", config), mixed, device),
        "lstm, packed": contestant(packed_lstm(config), mixed, device),
        "dense, to the longest": dense_contestant(config, mixed, device, whole_grid=False),
        "dense, whole grid": dense_contestant(config, mixed, device, whole_grid=True),
    }
    checked = {"dense, to the longest": count, "dense, whole grid": 1}  # in float64, whose whole grids take seconds
    difference = max(check_equal(models["hierarchical"], models[name], number) for name, number in checked.items())
    fast = ("lstm", "hierarchical", "cnn")
    slow = frozenset(models.keys() - fast)
    on_grouped = {name: contestant(models[name].model, grouped, device) for name in fast}
    rows = []
    for mode in MODES:
        for kind, contestants in (("mixed lengths", models), ("grouped by length", on_grouped)):
            calls = {name: each.calls(mode) for name, each in contestants.items()}
            times = interleaved(calls, arguments.repetitions, device, f"{mode}, {kind}", one_each=slow)
            rows += compared(times, ("lstm", "hierarchical"), mode=mode, batches=kind)
    own, lstm = (multiplications(on_grouped[name]) for name in ("hierarchical", "lstm"))
    return {
        "batch_size": arguments.batch_size,
        "difference": difference,
        "rows": rows,
        "multiplications": own / lstm,  # of batches of like length; what a step can hardly be below
        "meaning": MEANING,
    }


def multiplications(contestant: Contestant) -> int:
    """What the linear layers and LSTMs of a model multiply to read its batches once, padding included."""
    counted = []

    def count(layer: Any, given: Any, output: Any) -> None:
        if isinstance(layer, nn.LSTM):
            cells = output[0].numel() // output[0].shape[-1]
            counted.append(cells * 4 * layer.hidden_size * (layer.input_size + layer.hidden_size))
        else:
            counted.append(output.numel() * layer.in_features)

    layers = [layer for layer in contestant.model.modules() if isinstance(layer, (nn.LSTM, nn.Linear))]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    for read in contestant.calls("inference"):
        read()
    for hook in hooks:
        hook.remove()
    return sum(counted)


def measure_batches(corpus: Corpus, arguments: Any, device: torch.device) -> dict[str, Any]:
    """Part `batches`; all batch sizes divide the same documents, of which small ones take a few."""
    config = hierarchical_config(corpus, **arguments.options)
    most = max(*arguments.batch_sizes, *arguments.num_documents)
    documents = cut_unread(hierarchical(config).eval(), corpus.draw(most))
    models = {"lstm": baseline("lstm", config), "hierarchical": hierarchical(config)}
    batch_rows = []
    for mode in MODES:
        for size in arguments.batch_sizes:
            own = batches_of(documents[: max(arguments.batch_sizes)], size)[:4]
            calls = {name: contestant(model, own, device).calls(mode) for name, model in models.items()}
            times = interleaved(calls, arguments.repetitions, device, f"{mode}, batches of {size}")
            for name, each in times.items():
                row = {
                    "mode": mode,
                    "batch_size": size,
                    "model": name,
                    "seconds_per_document": spread(each.mean(axis=1) / size),
                }
                batch_rows.append(row)
    rows = []
    for count in arguments.num_documents:
        own = batches_of(sorted(documents[:count], key=len), arguments.batch_size)
        calls = {name: contestant(model, own, device).calls("inference") for name, model in models.items()}
        times = interleaved(calls, min(arguments.repetitions, 3), device, f"{count} documents")
        for name, each in times.items():
            total = spread(each.sum(axis=1))
            rows.append(
                {"documents": count, "model": name, "seconds": total, "documents_per_second": count / total["median"]}
            )
    return {"batch_size": arguments.batch_size, "batch_sizes": batch_rows, "documents": rows}
