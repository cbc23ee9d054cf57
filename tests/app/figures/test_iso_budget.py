from __future__ import annotations

from app.figures.iso_budget import iso_budget_alt, iso_budget_figure, iso_budget_table

PAIRS, ERRORS = ((0, 24), (1, 14), (2, 4), (3, 0)), (0.4, 0.25, 0.3, 0.5)


def test_every_pair_is_a_point_and_says_both_numbers():
    fig = iso_budget_figure(PAIRS, ERRORS, 48, 2)
    (line,) = fig.data
    assert list(line.x) == [0, 1, 2, 3] and [round(float(v), 4) for v in line.y] == [40, 25, 30, 50]
    assert list(line.customdata)[:2] == ["50.0 % of the weights", "29.2 % of the weights"]
    assert "%{customdata}" in line.hovertemplate


def test_the_pair_in_hand_both_ends_and_the_best_are_marked():
    fig = iso_budget_figure(PAIRS, ERRORS, 48, 2)
    (ring,) = fig.layout.shapes
    assert (ring.xanchor, ring.yanchor) == (2, 30)
    words = {note.text: note.x for note in fig.layout.annotations}
    assert words["sparse alone"] == 0 and words["low rank alone"] == 3
    assert "least error at rank 1" in words and words["rank 2"] == 2
    assert "rank" in fig.layout.xaxis.title.text and fig.layout.yaxis.ticksuffix == " %"
    assert fig.layout.xaxis.range[0] < 0 and fig.layout.yaxis.range[1] > 50


def test_without_a_rank_that_fits_there_is_one_point():
    fig = iso_budget_figure(((0, 3),), (0.9,), 48, 0)
    words = [note.text for note in fig.layout.annotations]
    assert words.count("sparse alone") == 1 and "low rank alone" not in words


def test_words_and_table():
    said = iso_budget_alt(PAIRS, ERRORS, 48)
    assert said == (
        "Least error along this budget: 25.0% at rank 1 with 29.2 % of the weights; sparse alone 40.0%; "
        "low rank alone 50.0%."
    )
    assert iso_budget_table(PAIRS, ERRORS, 48) == {
        "rank": [0, 1, 2, 3],
        "sparse weights": [24, 14, 4, 0],
        "share of weights": [0.5, 14 / 48, 4 / 48, 0.0],
        "weight error": list(ERRORS),
    }
