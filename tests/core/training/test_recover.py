"""Training a compressed network: against torch's own losses and optimiser, on problems whose answer is known."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.errors import Cancelled, InputError
from core.training.recover import recover
from core.training.recover_spec import EpochLog, RecoverSpec, checked


def problem(n: int = 400) -> tuple[nn.Module, Tensor, Tensor]:
    """A teacher, inputs, and the classes it says."""
    torch.manual_seed(0)
    teacher = nn.Sequential(nn.Linear(6, 3)).eval()
    x = torch.randn(n, 6)
    with torch.no_grad():
        return teacher, x, teacher(x).argmax(1)


def student() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(6, 3))


def logs(model: nn.Module, spec: RecoverSpec, n: int = 400, **more: object) -> list[EpochLog]:
    teacher, x, y = problem(n)
    return list(recover(model, teacher, x, y, spec, **more))  # type: ignore[arg-type]


@pytest.mark.parametrize("distil", [0.0, 0.5, 1.0])
def test_a_network_that_can_learn_the_classes_does(distil: float) -> None:
    model, (teacher, x, y) = student(), problem()
    before = float((model(x).argmax(1) == y).double().mean())
    found = list(recover(model, teacher, x, y, RecoverSpec(epochs=15, lr=0.03, distil=distil, patience=0)))
    after = float((model(x).argmax(1) == y).double().mean())
    assert before < 0.6 < 0.93 < after and not model.training
    assert [log.epoch for log in found] == list(range(16)) and found[-1].loss < found[1].loss
    assert max(log.held_out for log in found) == [log for log in found if log.best][-1].held_out


def test_full_distillation_never_looks_at_labels() -> None:
    teacher, x, y = problem()
    ends = []
    for labels in (y, torch.zeros_like(y)):
        model = student()
        last = list(recover(model, teacher, x, labels, RecoverSpec(epochs=1, distil=1.0)))[-1]
        ends.append(last.loss)
    assert ends[0] == ends[1]


def test_one_step_is_torch_s_own() -> None:
    teacher, x, y = problem(10)
    spec = RecoverSpec(
        epochs=1, lr=0.01, schedule="constant", batch=100, distil=0.25, temperature=3.0, weight_decay=0.1
    )
    model, twin = student(), student()
    run = recover(model, teacher, x, y, spec)
    next(run)
    log = next(run)
    rest = torch.randperm(10, generator=torch.Generator().manual_seed(0))[1:]
    optimizer = torch.optim.AdamW(twin.parameters(), lr=0.01, weight_decay=0.1)
    with torch.no_grad():
        p = F.softmax(teacher(x[rest]) / 3.0, 1)
    scores = twin(x[rest])
    kl = (p * (p.log() - F.log_softmax(scores / 3.0, 1))).sum(1).mean()
    loss = 0.75 * F.cross_entropy(scores, y[rest]) + 0.25 * 9.0 * kl
    loss.backward()
    optimizer.step()
    assert log.loss == pytest.approx(loss.item(), rel=1e-5)
    assert torch.allclose(model[0].weight, twin[0].weight, atol=1e-6)


def test_the_best_epoch_is_what_stays_however_it_ends() -> None:
    teacher, x, y = problem()
    for take in (1, 4, 100):
        model, best = student(), (-1.0, 0)
        run = recover(model, teacher, x, y, RecoverSpec(epochs=6, lr=0.5, patience=0, distil=0.0))
        for i, log in enumerate(run):
            if log.held_out > best[0]:
                best = (log.held_out, log.epoch)
                weights = model[0].weight.detach().clone()
            if i + 1 == take:
                run.close()
                break
        assert torch.equal(model[0].weight, weights) and not model.training


def test_it_can_be_stopped_between_two_steps() -> None:
    """Who hears of a step may end it there; the best epoch so far stays, as ever."""
    teacher, x, y = problem()
    told: list[tuple[str, int, int]] = []

    def progress(*words: object) -> None:
        told.append(words)  # type: ignore[arg-type]
        if len(told) == 9:
            raise Cancelled("enough")

    model, found = student(), []
    with pytest.raises(Cancelled):
        for log in recover(model, teacher, x, y, RecoverSpec(epochs=3, distil=0.0, lr=0.1), progress=progress):
            found.append(log)
            weights = model[0].weight.detach().clone()
    assert [words[1] for words in told] == list(range(9)) and {words[2] for words in told} == {18}
    assert len(found) == 2 and found[1].best and torch.equal(model[0].weight, weights) and not model.training


def test_it_stops_when_nothing_gets_better() -> None:
    teacher, x, y = problem()
    model = student()
    model.load_state_dict(teacher.state_dict())  # as good as it can be
    found = list(recover(model, teacher, x, y, RecoverSpec(epochs=50, patience=2)))
    assert [log.epoch for log in found] == [0, 1, 2] and [log.best for log in found] == [True, False, False]
    assert torch.equal(model[0].weight, teacher[0].weight)


def test_zeros_of_sparse_layers_stay_zeros_and_others_move() -> None:
    model = student()
    with torch.no_grad():
        model[0].weight[:, :3] = 0.0
    logs(model, RecoverSpec(epochs=3, lr=0.05, patience=0), sparse=("0",))
    assert (model[0].weight[:, :3] == 0).all() and (model[0].weight[:, 3:] != 0).all()
    free = student()
    with torch.no_grad():
        free[0].weight[:, :3] = 0.0
    logs(free, RecoverSpec(epochs=3, lr=0.05, patience=0))
    assert (free[0].weight[:, :3] != 0).any()


def test_two_runs_of_one_seed_are_equal_and_another_seed_is_not() -> None:
    def ends(seed: int) -> Tensor:
        model = student()
        logs(model, RecoverSpec(epochs=2, seed=seed, patience=0))
        return model[0].weight

    assert torch.equal(ends(0), ends(0)) and not torch.equal(ends(0), ends(1))


def test_the_cosine_ends_near_zero_and_the_constant_stays() -> None:
    spec = {"epochs": 10, "lr": 0.01, "patience": 0}
    rates = [log.lr for log in logs(student(), RecoverSpec(**spec))][1:]
    assert rates[-1] < 1e-5 and rates == sorted(rates, reverse=True) and rates[4] == pytest.approx(0.005, rel=0.12)
    assert {log.lr for log in logs(student(), RecoverSpec(**spec, schedule="constant"))} == {0.01}


def test_divergence_says_when_and_what_to_try_and_keeps_the_best() -> None:
    teacher, x, y = problem()
    x[200:] = math.inf
    model = student()
    start = model[0].weight.detach().clone()
    with pytest.raises(InputError, match=r"diverged in epoch 1 .*0.0001"):
        list(recover(model, teacher, x, y, RecoverSpec()))
    assert torch.equal(model[0].weight, start)


@pytest.mark.parametrize(
    "change", [{"schedule": "step"}, {"epochs": 0}, {"batch": 0}, {"lr": 0.0}, {"distil": 2.0}, {"temperature": 0.0}]
)
def test_what_cannot_be_run_is_one_sentence(change: dict[str, object]) -> None:
    with pytest.raises(InputError) as error:
        checked(RecoverSpec(**change))  # type: ignore[arg-type]
    assert str(error.value).endswith(".") and len(str(error.value)) < 200


def test_too_few_examples_are_one_sentence() -> None:
    with pytest.raises(InputError, match="too few"):
        logs(student(), RecoverSpec(), n=9)
