"""Distillation of a converted model from the one that it was made of: first layer by layer, then as a whole.

Stage `attention` (attention transfer, as in LoLCATs, Zhang et al., 2024): one pass of the teacher, in which each
lightning layer is shown the input of the teacher's attention and learns its output, independent of all other layers.
Stage `logits` (as in The Mamba in the Llama, Wang et al., 2024): the student runs end to end and learns the teacher's
distribution of the next token. Either is a function from tokens to gradients; the loop around them is the run's.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from fulmen.kernels import mean_divergence, token_logprobs
from fulmen.model.cache import ForwardBatch, ForwardPass
from fulmen.model.decoder import Decoder
from fulmen.train.hybridize import decoder_layers, watch_attention


def attention_parameters(student: Decoder) -> list[nn.Parameter]:
    """The weights of the student's lightning layers."""
    layers = decoder_layers(student)
    return [p for i in student.config.lightning_layers for p in layers[i].self_attn.parameters()]


def train_only(student: Decoder, parameters: Iterable[nn.Parameter]) -> None:
    """Let these weights learn and freeze the others."""
    student.requires_grad_(False)
    for parameter in parameters:
        parameter.requires_grad_(True)


def transfer_attention(teacher: Decoder, student: Decoder, sequences: Tensor) -> list[float]:
    """Add the gradients of `|student - teacher|^2 / |teacher|^2` of each lightning layer's output; returns them all.

    sequences int64 [S, length]. The gradients of a layer are computed as the teacher passes it, so the memory is that
    of one layer, and the teacher's head is not needed at all.
    """
    layers, errors = decoder_layers(student), []

    def compare(layer: int, x: Tensor, shared: ForwardPass, wanted: Tensor) -> None:
        with torch.enable_grad():
            error = (layers[layer].self_attn(x, shared) - wanted).square().sum() / wanted.square().sum()
            if error.requires_grad:
                error.backward()
        errors.append(error.item())

    with torch.no_grad(), watch_attention(teacher, student.config.lightning_layers, compare):
        teacher(sequences.flatten(), _packed(sequences))
    return errors


def transfer_logits(
    teacher: Decoder, student: Decoder, sequences: Tensor, *, aux_loss_coef: float = 0.0
) -> tuple[float, float]:
    """Add the gradients of KL(teacher || student) + aux_loss_coef * aux; returns both, the means over all tokens.

    sequences int64 [S, length]; `aux` is the routers' balancing loss, 0 without experts.
    """
    tokens, batch = sequences.flatten(), _packed(sequences)
    with torch.no_grad():
        wanted = teacher(tokens, batch)
    if student.config.num_experts:
        hidden, load = student.forward_with_router(tokens, batch)
        aux = load.balancing_loss()
    else:
        hidden = student(tokens, batch)
        aux = hidden.new_zeros(())
    live = student.config.num_live_tokens
    divergence = mean_divergence(hidden, student.lm_head.weight, wanted, teacher.lm_head.weight, num_live_tokens=live)
    (divergence + aux_loss_coef * aux).backward()
    return divergence.item(), aux.item()


@torch.no_grad()
def log_perplexity(model: Decoder, sequences: Tensor) -> float:
    """Mean negative log-probability of each token of sequences [S, length] but the first ones, in nats."""
    total = 0.0
    for sequence in sequences:
        hidden = model(sequence, _packed(sequence[None]))
        logprobs = token_logprobs(
            hidden[:-1], model.lm_head.weight, sequence[1:], num_live_tokens=model.config.num_live_tokens
        )
        total -= float(logprobs.double().mean())
    return total / len(sequences)


def _packed(sequences: Tensor) -> ForwardBatch:
    return ForwardBatch.pack([sequences.shape[1]] * len(sequences), device=sequences.device)
