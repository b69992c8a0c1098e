"""The divergence of two heads against torch's own, in value and gradients, whatever the chunks."""

import pytest
import torch
from torch.nn import functional

from fulmen.kernels import mean_divergence


def random_inputs(tokens=7, vocab=11, hidden=5):
    torch.manual_seed(0)
    make = torch.randn
    return [
        make(tokens, hidden, dtype=torch.float64, requires_grad=True),
        make(vocab, hidden, dtype=torch.float64, requires_grad=True),
        make(tokens, hidden + 2, dtype=torch.float64),
        make(vocab, hidden + 2, dtype=torch.float64),
    ]


@pytest.mark.parametrize("chunk", [None, 1, 3, 7])
@pytest.mark.parametrize("live", [None, 9])
def test_value_and_gradients_are_those_of_torch(chunk, live) -> None:
    hidden, head, teacher_hidden, teacher_head = random_inputs()
    student = (hidden @ head[:live].T).log_softmax(-1)
    teacher = (teacher_hidden @ teacher_head[:live].T).log_softmax(-1)
    expected = functional.kl_div(student, teacher, reduction="batchmean", log_target=True)
    gradients = torch.autograd.grad(3 * expected, (hidden, head))
    value = mean_divergence(hidden, head, teacher_hidden, teacher_head, num_live_tokens=live, chunk=chunk)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(torch.autograd.grad(3 * value, (hidden, head)), gradients)


def test_autocast_changes_nothing() -> None:
    hidden, head, *teacher = (x.detach().float() for x in random_inputs())
    leaves = (hidden.requires_grad_(), head.requires_grad_())
    results = []
    for autocast in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            value = mean_divergence(*leaves, *teacher)
            results.append((value, *torch.autograd.grad(value, leaves)))
    for actual, expected in zip(*results, strict=True):
        assert torch.equal(actual, expected)


def test_a_tied_head_collects_both_gradients_and_a_frozen_one_none() -> None:
    hidden, head, *teacher = random_inputs()
    mean_divergence(head[:7].float() * 2, head.float(), *teacher).backward()
    assert head.grad is not None
    assert head.grad[8:].any()
    mean_divergence(hidden, head.detach(), *teacher).backward()
    assert hidden.grad is not None


def test_equal_heads_do_not_diverge_and_logits_never_exist_at_once(largest_tensor) -> None:
    hidden, head = torch.randn(64, 4, requires_grad=True), torch.randn(50, 4)
    with largest_tensor:
        value = mean_divergence(hidden, head, hidden, head, chunk=8)
        value.backward()
    assert value.abs() < 1e-6
    assert hidden.grad is not None
    assert hidden.grad.abs().max() < 1e-6
    assert largest_tensor.elements < 64 * 50


def test_what_cannot_be_compared_is_named() -> None:
    hidden, head, teacher_hidden, teacher_head = random_inputs()
    with pytest.raises(ValueError, match="7 tokens of the student against 6"):
        mean_divergence(hidden, head, teacher_hidden[:6], teacher_head)
    with pytest.raises(ValueError, match="11 and 10 rows have no 11"):
        mean_divergence(hidden, head, teacher_hidden, teacher_head[:10])
