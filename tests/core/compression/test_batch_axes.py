"""Where samples lie in a value, and the value repeated, against torch's own repetition."""

from __future__ import annotations

import torch

from core.compression.batch_axes import COUNT, MIXED, axis_of, nbytes, tiled


def test_the_axis_is_where_two_and_three_samples_differ() -> None:
    for shape in ((0, 4, 5), (4, 0), (3, 2, 0, 2)):
        at = shape.index(0)
        two, three = (torch.zeros([n if side == 0 else side for side in shape]) for n in (2, 3))
        assert axis_of(two, three) == at
    assert axis_of(torch.zeros(6, 4), torch.zeros(9, 4)) == 0  # heads folded into the batch
    assert axis_of(torch.zeros(4), torch.zeros(4)) is None
    assert axis_of(torch.zeros(2, 2), torch.zeros(3, 3)) is MIXED
    assert axis_of(torch.zeros(3, 4), torch.zeros(4, 4)) is MIXED  # one token more than samples
    assert axis_of(torch.zeros(2), torch.zeros(3, 1)) is MIXED


def test_counts_sequences_and_the_rest() -> None:
    assert axis_of(2, 3) is COUNT and axis_of(8, 12) is COUNT and axis_of(5, 5) is None and axis_of(3, 4) is MIXED
    assert axis_of(torch.Size([2, 7]), torch.Size([3, 7])) == (COUNT, None)
    assert axis_of((torch.zeros(2, 1), 4), (torch.zeros(3, 1), 4)) == (0, None)
    assert axis_of((1, 2), (1, 4)) is MIXED and axis_of((1,), (1, 2)) is MIXED
    assert axis_of(None, None) is None and axis_of(0.5, 0.5) is None and axis_of(1.0, 1.5) is MIXED
    assert axis_of(slice(2), slice(3)) is MIXED and axis_of(True, True) is None


def test_a_value_for_several_candidates() -> None:
    x = torch.randn(3, 4)
    assert torch.equal(tiled(x, 0, 5), x.repeat(5, 1)) and torch.equal(tiled(x, 1, 2), x.repeat(1, 2))
    assert tiled(x, None, 5) is x and tiled(x, 0, 1) is x and tiled(7, COUNT, 3) == 21
    assert tiled(torch.Size([3, 4]), (COUNT, None), 2) == torch.Size([6, 4])
    a, b = tiled([x, 2], (0, None), 2)
    assert torch.equal(a, torch.cat([x, x])) and b == 2


def test_bytes_of_nested_values() -> None:
    assert nbytes((torch.zeros(3, 2), [torch.zeros(2, dtype=torch.float64)], 5, None)) == 24 + 16
