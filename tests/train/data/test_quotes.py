"""Quoted cells of csv and tsv files: what is right is read, and what swallows rows is refused with its line."""

import pytest

from tests.helpers.data_files import all_rows, failure, load


def lines(separator, **changed):
    rows = [f"text{separator}label"] + [f"text {number}{separator}{'ab'[number % 2]}" for number in range(1, 61)]
    for line, row in changed.items():
        rows[int(line[1:]) - 1] = row.replace("|", separator)
    return "\n".join(rows) + "\n"


@pytest.mark.parametrize(("name", "separator"), [("a.csv", ","), ("a.tsv", "\t"), ("b.csv", ";")])
def test_a_quote_that_swallows_rows_is_refused_with_its_line(name, separator, tmp_path):
    file = tmp_path / name
    cases = {
        "the quote that opens in line 12 is never closed": {"l12": '"text|a'},
        "line 12 is closed in line 27, where neither a separator": {"l12": '"text|a', "l27": 'he said "no"|b'},
        "line 12: the quote that opens there is closed in line 27 and swallows": {"l12": '"text|a', "l27": 'no"|b'},
        "line 12: the quote that opens there is closed in line 13": {"l12": '"text|a', "l13": 'no"|b'},
        "the quote that opens in line 5 is closed in line 5": {"l5": '"Great" film|a'},
    }
    for expected, changed in cases.items():
        file.write_text(lines(separator, **changed))
        message = failure(str(file))
        assert expected in message and "--quoting none" in message
        rows = all_rows(load(str(file), quoting="none"))
        assert len(rows) == 60 and any(text.startswith('"') for text, _ in rows)


def test_rows_are_found_in_any_column_and_order(tmp_path):
    file = tmp_path / "a.csv"
    rows = ["id,title,text,label", *(f"{number},t,text {number},{'ab'[number % 2]}" for number in range(60))]
    rows[10], rows[13] = '9,"t,text 9,a', '12,t",text 12,b'
    file.write_text("\n".join(rows))
    assert "line 11: the quote that opens there is closed in line 14" in failure(str(file))
    rows = ["label,text", *(f"{'ab'[number % 2]},text {number}" for number in range(60))]
    rows[10], rows[11] = 'a,"text', 'b,text"'
    file.write_text("\n".join(rows))
    assert "line 11" in failure(str(file))
    rows = ["text,label", *(f"text {number},{number / 4}" for number in range(60))]
    rows[10], rows[11] = '"text,2.25', 'text",2.5'
    file.write_text("\n".join(rows))
    assert "line 11" in failure(str(file))


@pytest.mark.parametrize(
    "cell",
    [
        '"Dear Sir, dear Madam\nbye"',
        '"one\n\ntwo"',
        '"""quoted"" and more"',
        '""""',
        '"a,b"',
        '5" pipe',
        'he said "no" and "yes"',
        "it's",
        '"x\r\ny"',
    ],
)
def test_cells_that_are_right(cell, tmp_path):
    file = tmp_path / "a.csv"
    file.write_bytes(("text,label\n" + f"{cell},a\nplain,b\n" * 8).encode())
    expected = cell[1:-1].replace('""', '"') if cell.startswith('"') else cell
    assert {text for text, _ in all_rows(load(str(file)))} == {expected, "plain"}


def test_a_cell_that_looks_like_rows_can_be_trusted(tmp_path):
    file = tmp_path / "a.csv"
    file.write_text("text,label\n" + '"one,a\ntwo",b\nthree,a\n' * 8)
    assert "--quoting trusted" in failure(str(file))
    assert {text for text, _ in all_rows(load(str(file), quoting="trusted"))} == {"one,a\ntwo", "three"}
    assert "--quoting some is unknown; choose from checked, trusted, none" in failure(str(file), quoting="some")


def test_a_carriage_return_within_a_cell(tmp_path):
    file = tmp_path / "a.csv"
    file.write_bytes(b"text,label\n" + b"x,a\n\ry,b\n" * 8)
    assert "line 3 has a carriage return" in failure(str(file))
    for end in ("\r\n", "\r", "\r\r\n"):
        file.write_bytes(("text,label\n" + "x,a\ny,b\n" * 8).replace("\n", end).encode())
        assert len(all_rows(load(str(file)))) == 16


def test_swallowed_rows_are_refused_whatever_their_labels_are(tmp_path):
    file = tmp_path / "a.tsv"
    rows = [f"{'ab'[number % 2]}\ttext {number}" for number in range(40)]
    expected = "line 12: the quote that opens there is closed in line 15 and swallows the rows between"
    between = {"a class that vanishes": "rare\ttext", "a trailing space": "a \ttext", "two labels": "a;b\ttext"}
    for cell in between.values():
        rows[10:14] = ['a\t"text', cell, cell, 'b\ttext"']
        file.write_text("\n".join(["label\ttext", *rows]))
        for flags in ({}, {"label_separator": ";"}):
            message = failure(str(file), **flags)
            assert expected in message and "pass --quoting trusted" in message
        assert any(text.startswith("text\n") for text, _ in all_rows(load(str(file), quoting="trusted")))
    columns = [f"{number % 2}\t1\ttext {number}" for number in range(40)]
    columns[10:14] = ['0\t1\t"text', "1\t1\ttext", "", '1\t0\ttext"']
    file.write_text("\n".join(["oven\thobby\ttext", *columns]))
    assert expected in failure(str(file), label_column=["oven", "hobby"])


def test_a_poem_of_one_comma_in_each_line_is_read(tmp_path):
    file, poem = tmp_path / "a.csv", "Roses are red,\nviolets are blue,\nsugar, too,\n\nbye"
    for cell in (poem, poem.replace("sugar, too", "sugar is sweet")):
        file.write_text("text,label\n" + f'"{cell}",a\nplain,b\n' * 8)
        assert {text for text, _ in all_rows(load(str(file)))} == {cell, "plain"}


def test_decimal_commas_in_each_line_of_a_cell_are_read(tmp_path):
    file, cell = tmp_path / "a.csv", "costs 3,7 EUR\nand 1,2 EUR\nmore 2,5 EUR\nend"
    file.write_text("label,text\n" + f'a,"{cell}"\nb,plain\n' * 8)
    assert {text for text, _ in all_rows(load(str(file)))} == {cell, "plain"}
    file.write_text("label,text\n" + f'a,"{cell}"\n2,3 plain\n' * 8)  # rows look like that, too
    assert "swallows the rows between" in failure(str(file))
    file.write_text("text,label\n" + f'"{cell}",a\nplain,b\n' * 8)
    assert {text for text, _ in all_rows(load(str(file)))} == {cell, "plain"}
