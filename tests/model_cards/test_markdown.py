from salience.model_cards.markdown import aligned_table, difference_text


def test_a_difference_is_told_in_points():
    found = {"difference": 0.0123, "low": -0.002, "high": 0.03, "p_value": 0.0456}
    assert difference_text(found) == "+1.23 (-0.20 to +3.00, p 0.046)"
    assert difference_text(found | {"p_value": 0.0002}) == "+1.23 (-0.20 to +3.00, p ≤ 0.001)"
    assert difference_text(None) == ""


def test_columns_of_plain_text_are_aligned():
    found = aligned_table("Runs", ["run", "score"], [["a", "1.5"], ["longer", "10.25"]])
    assert found.splitlines() == ["", "Runs", "run     score", "a         1.5", "longer  10.25"]
    assert aligned_table("", ["run"], [["a"]]).splitlines() == ["", "run", "a  "]
