"""Labels: classes, several for a text, numbers, and what is refused."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Value
from hypothesis import example, given, settings
from hypothesis import strategies as st

from salience.configuration.errors import UserError
from salience.configuration.flags.data_arguments import FileArguments
from salience.train.data import labels as labels_module
from salience.train.data.labels import LabelScheme
from salience.train.data.load import load_test
from salience.train.data.tables import Part
from tests.helpers.data_files import ROWS, failure, load, write_csv, write_jsonl


def part_of(labels):
    return Part("f", pa.chunked_array([["x"] * len(labels)]), labels)


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (["10", "9", "2"], ["2", "9", "10"]),
        ([10, 9, 2], ["2", "9", "10"]),
        ([1.0, 0.0, -1.0], ["-1", "0", "1"]),
        ([True, False], ["false", "true"]),
        (["b", "a", "C"], ["C", "a", "b"]),
        (["1", "x", "10"], ["1", "10", "x"]),
        (["01", "1", "2"], ["01", "1", "2"]),
    ],
)
def test_label_names(values, names):
    scheme = LabelScheme.find([part_of(pa.chunked_array([values, values]))], FileArguments())
    assert scheme.names == names
    assert scheme.problem_type == "single_label_classification"


def test_labels_may_be_written_differently_in_each_file(tmp_path):
    train = write_csv(tmp_path / "a.csv", [("x", "1"), ("y", "0")] * 5)
    test = write_jsonl(tmp_path / "t.jsonl", [{"text": "z", "label": 1}])
    decimal = write_csv(tmp_path / "v.csv", [("z", "1.0")])
    data = load(train, test_file=test, validation_file=decimal)
    assert data.splits["test"]["labels"][0] == data.splits["validation"]["labels"][0] == 1


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        # Whole numbers may be written with a point, which is another test's; between other names "0.0" is a name.
        st.one_of(
            st.text(min_size=1).map(str.strip).filter(lambda name: name and not name.endswith(".0")),
            st.integers(-(2**60), 2**60).map(str),
        ),
        min_size=2,
        unique=True,
    )
)
@example(["0", "00.0"])
def test_labels_survive_the_round_trip(names):
    # Arrow's idea of white space is wider than Python's by a few control characters.
    names = list(dict.fromkeys(pa.compute.utf8_trim_whitespace(pa.array(names)).to_pylist()))
    names = [name for name in names if name]
    if len(names) < 2:
        return
    column = pa.chunked_array([names[::-1], names])
    scheme = LabelScheme.find([part_of(column)], FileArguments())
    assert sorted(scheme.names) == sorted(names)
    assert [scheme.names[i] for i in scheme.encode(part_of(column)).to_pylist()] == column.to_pylist()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.sampled_from("abcdef"), unique=True), min_size=1).filter(any), st.integers(1, 4))
def test_label_lists_survive_the_round_trip(rows, rows_at_once):
    column = pa.chunked_array([rows[:1], rows[1:]], pa.list_(pa.string()))
    scheme = LabelScheme.find([part_of(column)], FileArguments())
    assert scheme.problem_type == "multi_label_classification"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(labels_module, "_ROWS_AT_ONCE", rows_at_once)
        encoded = scheme.encode(part_of(column)).to_pylist()
    decoded = [{name for name, value in zip(scheme.names, row, strict=True) if value} for row in encoded]
    assert decoded == [set(row) for row in rows]


def test_multi_label_by_separator(tmp_path):
    rows = [("x", "b; a"), ("y", ""), ("z", "c;"), ("w", "a")] * 5
    data = load(write_csv(tmp_path / "a.csv", rows), label_separator=";")
    assert data.problem_type == "multi_label_classification"
    assert data.label_names == ["a", "b", "c"]
    found = dict(zip(data.splits["train"]["text"], data.splits["train"]["labels"], strict=True))
    assert found == {"x": [1, 1, 0], "y": [0, 0, 0], "z": [0, 0, 1], "w": [1, 0, 0]}
    assert data.splits["train"].features["labels"].feature == Value("float32")


@pytest.mark.parametrize("labels", [[0, 1, 2], [["a"], ["a", "b"], []]])
def test_a_separator_is_for_labels_of_text(labels, tmp_path):
    rows = [{"text": f"t{i}", "label": labels[i % 3]} for i in range(12)]
    message = failure(write_jsonl(tmp_path / "a.jsonl", rows), label_separator="|")
    assert "holds the --label_separator '|'; leave it out" in message


def test_multi_label_integers_sort_by_number(tmp_path):
    rows = [{"text": f"t{i}", "label": [i % 3, 10]} for i in range(10)]
    data = load(write_jsonl(tmp_path / "a.jsonl", rows))
    assert data.label_names == ["0", "1", "2", "10"]


def test_regression(tmp_path):
    rows = [(f"t{i}", str(i / 4)) for i in range(20)]
    data = load(write_csv(tmp_path / "a.csv", rows), test_file=write_csv(tmp_path / "t.csv", [("x", "3")]))
    assert (data.problem_type, data.label_names) == ("regression", [])
    assert dict(zip(*data.splits["train"][:].values(), strict=True)).items() <= {t: float(v) for t, v in rows}.items()
    assert data.splits["test"]["labels"] == [3.0]
    assert data.splits["train"].features["labels"] == Value("float32")


def test_whole_numbers_are_regression_only_on_demand(tmp_path):
    file = write_csv(tmp_path / "a.csv", [(f"t{i}", str(i % 5)) for i in range(40)])
    assert load(file).problem_type == "single_label_classification"
    assert load(file, problem_type="regression").problem_type == "regression"
    versions = write_csv(tmp_path / "b.csv", [("x", "1.5"), ("y", "2.0")] * 5)
    assert load(versions, problem_type="single_label_classification").label_names == ["1.5", "2.0"]


def test_numbers_with_a_space_before_them_are_numbers(tmp_path):
    file = tmp_path / "a.csv"
    file.write_text("text, label\n" + "".join(f"t{i}, {i / 4}\n" for i in range(20)))
    assert load(str(file), label_column=" label").problem_type == "regression"


@pytest.mark.parametrize(("cells", "names"), [(("+1", "-1"), ("neg", "pos")), (("+1", "0"), ("no", "yes"))])
def test_signed_numbers_are_ids_or_refused(tmp_path, cells, names):
    file = write_csv(tmp_path / "a.csv", [(f"t{i}", cells[i % 2]) for i in range(20)])
    if "-1" in cells:
        assert "the label id -1 of" in failure(file, class_names=list(names))
    else:
        assert load(file, class_names=list(names)).label_names == list(names)


def test_numbers_beyond_64_bits_and_the_year_0_are_names(tmp_path):
    for name, cells in (("a", ["9" * 30, "8" * 30]), ("b", ["0000-01-01", "0000-02-01"])):
        file = write_csv(tmp_path / f"{name}.csv", [(f"t{i}", cells[i % 2]) for i in range(20)])
        assert load(file).label_names == sorted(cells)


def test_regression_needs_numbers(tmp_path):
    file = write_csv(tmp_path / "a.csv", [("x", "1.5"), ("y", "much")])
    assert "label 'much' in row 2" in failure(file, problem_type="regression")
    pq.write_table(pa.table({"text": ["x", "y"], "label": [0.5, float("inf")]}), tmp_path / "a.parquet")
    assert "label 'inf' in row 2" in failure(str(tmp_path / "a.parquet"))


@pytest.mark.parametrize("split", ["validation_file", "test_file"])
def test_a_label_that_training_never_saw(split, tmp_path):
    other = write_csv(tmp_path / "b.csv", [("x", "news"), ("y", "music")])
    message = failure(write_csv(tmp_path / "a.csv"), **{split: other})
    assert "row 2 of '" in message and "b.csv' has the label 'music'" in message
    multi = write_csv(tmp_path / "c.csv", [("x", "a;b"), ("y", "b")] * 5)
    other = write_csv(tmp_path / "d.csv", [("x", "a"), ("y", "a;q")])
    message = failure(multi, label_separator=";", **{split: other})
    assert "row 2 of '" in message and "d.csv' has the label 'q'" in message


def test_one_class_only(tmp_path):
    message = failure(write_csv(tmp_path / "a.csv", [("x", "news"), ("y", "news")]))
    assert "a.csv' has only the label 'news'" in message
    assert "no label at all" in failure(write_csv(tmp_path / "b.csv", [("x", ""), ("y", ";")]), label_separator=";")


@pytest.mark.parametrize(("values", "names"), [("ab", ["a", "b"]), ([0, 1], ["0", "1"]), ([0, 2], ["0", "2"])])
def test_lists_of_one_label_each_are_told_and_can_be_classes(values, names, tmp_path, caplog):
    lists = write_jsonl(tmp_path / "a.jsonl", [{"text": str(n), "label": [values[n % 2]]} for n in range(20)])
    data = load(lists, problem_type="single_label_classification", test_file=lists)
    assert data.problem_type == "single_label_classification" and data.label_names == names
    assert "though each holds one" not in caplog.text
    if values == [0, 1]:
        assert "lists of one zero or one: if that is the class of a text, pass --problem_type single_l" in failure(
            lists
        )
    else:
        assert load(lists).problem_type == "multi_label_classification"
        assert "though each holds one; if they are classes, pass --problem_type single_label" in caplog.text
    numbers = write_jsonl(tmp_path / "b.jsonl", [{"text": str(n), "label": [n + 0.5]} for n in range(20)])
    assert load(numbers, problem_type="regression").splits["validation"]["labels"][0] % 1 == 0.5


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (["caf\xe9", "cafe\u0301"], r"'cafe\u0301' and 'caf\xe9' look alike and are two classes"),
        (["Sport", "sport"], "'Sport' and 'sport' look alike"),
        (["sport", "sport\u200b"], r"'sport' and 'sport\u200b' look alike"),
        (["2020-01-01", "2020-01-01 00:00:00", "x"], "'2020-01-01' and '2020-01-01 00:00:00' look alike"),
        (["1000", "1e3"], "'1000' and '1e3' look alike"),
        (["01", "1"], "'01' and '1' look alike"),
        (["+1", "1"], "'+1' and '1' look alike"),
        (['"sport"', "sport"], "'\"sport\"' and 'sport' look alike"),
        (["R&D", "R&amp;D"], "'R&D' and 'R&amp;D' look alike"),
        (["1", "01", "a", "A"], "'01' and '1' look alike and are two classes, as they are spelled (2 such pairs)"),
        (["2", "2.1", "2.10"], None),
        (["9" * 29, "9" * 28 + "8"], None),
        (["a", "b", "a,b"], "'a,b' is one class; if it stands for several, pass --label_separator ','"),
        (["a;b", "b;c", "a;c"], "'a;b' is one class; if it stands for several, pass --label_separator ';'"),
        (["Rock, Pop", "Jazz"], None),
        (["Reno, NV", "Ely, NV"], None),
        (["0,25", "0,5"], "look like numbers with a decimal comma, and are classes"),
        (["NaN", "sport"], "the label 'NaN' is a class like others"),
        (["1", "sport"], "are partly numbers and partly words, and all are classes"),
    ],
)
def test_labels_that_may_be_others_than_they_seem_are_told(labels, words, tmp_path, caplog):
    file = write_jsonl(tmp_path / "a.jsonl", [{"text": str(n), "label": labels[n % len(labels)]} for n in range(30)])
    assert load(file).label_names == sorted(labels)
    assert words in caplog.text if words else not caplog.text


def test_truth_values_are_told_as_what_their_classes_are_called(tmp_path, caplog):
    file = write_csv(tmp_path / "a.csv", [(str(n), "TRUE" if n % 2 else "FALSE") for n in range(20)])
    assert load(file).label_names == ["false", "true"]
    assert "the labels are truth values, and their classes are called true and false" in caplog.text


def test_numbers_in_one_file_and_words_in_the_other_are_told(tmp_path, caplog):
    words = write_csv(tmp_path / "words.csv")
    numbers = write_csv(tmp_path / "numbers.csv", [(f"n {i}", str(i % 2)) for i in range(20)])
    assert load([words, numbers]).label_names == ["0", "1", "news", "sport"]
    assert f"'{numbers}' are numbers and those of '{words}' words, and all are classes" in caplog.text


def test_an_unknown_label_that_looks_like_a_known_one_is_told(tmp_path):
    other = write_csv(tmp_path / "t.csv", [("x", "News")])
    sentence = failure(write_csv(tmp_path / "a.csv"), test_file=other)
    assert "has the label 'News', which the training data lacks ('News', while it has 'news')" in sentence


def test_a_separator_that_no_label_holds_is_refused(tmp_path):
    file = write_csv(tmp_path / "a.csv")
    assert "holds the --label_separator ';'; leave it out, or pass" in failure(file, label_separator=";")
    data = load(file, label_separator=";", problem_type="multi_label_classification")
    assert data.problem_type == "multi_label_classification"
    assert load(write_csv(tmp_path / "b.csv", [*ROWS, ("x", "")]), label_separator=";").label_names == ["news", "sport"]


@pytest.mark.parametrize("number", ["1_0", "0x10", "1,5"])
def test_what_only_python_reads_as_a_number_is_none(number, tmp_path):
    rows = [{"text": str(n), "label": f"{n}.5"} for n in range(20)] + [{"text": "x", "label": number}]
    file = write_jsonl(tmp_path / "a.jsonl", rows)
    assert f"the label '{number}' in row 21" in failure(file, problem_type="regression")


def test_labels_that_do_not_fit_the_problem_type(tmp_path):
    file = write_csv(tmp_path / "a.csv")
    assert "--label_separator" in failure(file, problem_type="multi_label_classification")
    lists = write_jsonl(tmp_path / "a.jsonl", [{"text": "x", "label": ["a"]}, {"text": "y", "label": ["b"]}] * 5)
    several = write_jsonl(tmp_path / "c.jsonl", [{"text": "x", "label": ["a"]}, {"text": "y", "label": ["b", "a"]}] * 5)
    assert "doesn't fit" in failure(several, problem_type="single_label_classification")
    assert "write them alike" in failure(lists, test_file=file)
    assert "write them alike" in failure(file, test_file=several)
    nested = write_jsonl(tmp_path / "b.jsonl", [{"text": "x", "label": {"a": 1}}, {"text": "y", "label": {"a": 2}}])
    assert "use words, numbers or flat lists" in failure(nested)


@pytest.mark.parametrize(
    ("names", "label", "way_out"),
    [
        (["LABEL_0", "LABEL_1"], "0", "write these, or, where 0 is an id, --class_names LABEL_0 LABEL_1"),
        (["1 star", "2 stars"], "1", "write these, or, where 1 is an id, --class_names '1 star' '2 stars'"),
        (["Business", "Sport"], "culture", "write these"),
        (["0", "1"], "2", "write these"),
        ([f"c{number}" for number in range(12)], "x", "write these"),
    ],
)
def test_a_label_that_a_model_does_not_know_is_told_with_those_that_it_knows(names, label, way_out):
    listed = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
    sentence = f"row 1 of 'test (lists)' has the label '{label}', which the model doesn't know; its labels are {listed}"
    for problem, stored in (("single_label_classification", label), ("multi_label_classification", [label, names[0]])):
        with pytest.raises(UserError) as error:
            load_test(FileArguments(), names, problem, (["a text"], [stored]))
        assert str(error.value) == f"{sentence}: {way_out}"
    if label == "0":
        rows = load_test(FileArguments(class_names=names), names, "single_label_classification", (["a text"], [label]))
        assert rows["labels"] == [0]
    with pytest.raises(UserError, match=r"doesn't know \('business', while it has 'Business'\); its labels are"):
        load_test(FileArguments(), ["Business", "Sport"], "single_label_classification", (["a text"], ["business"]))
