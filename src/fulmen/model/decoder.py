"""The hybrid decoder: embedding, layers of attention and feed-forward, final norm, and a head in float32.

This file is the model; kernels compute, `cache` remembers, `weights` loads. Attribute names are those of the
published MiniMax-M1 checkpoint. Shapes: T tokens packed over all sequences of a batch.
"""

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn

from fulmen.config import ModelConfig, ResidualScale
from fulmen.model.attention import SoftmaxAttention, rotary_angles
from fulmen.model.cache import ForwardBatch, ForwardPass, HybridCache
from fulmen.model.experts import GatedFeedForward, RouterLoad, SparseExperts
from fulmen.model.lightning import LightningAttention
from fulmen.model.norm import RMSNorm

_HEAD_ROWS = 16_384  # vocabulary rows of a low-precision head that are widened to float32 at a time


def _add_residual(residual: Tensor, branch: Tensor, scale: ResidualScale) -> Tensor:
    """`alpha * residual + beta * branch`, into the branch's memory where no gradient needs it."""
    if branch.requires_grad or residual.requires_grad:
        return torch.add(branch * scale.beta if scale.beta != 1 else branch, residual, alpha=scale.alpha)
    if scale.beta != 1:
        branch.mul_(scale.beta)
    return branch.add_(residual, alpha=scale.alpha)


class DecoderLayer(nn.Module):
    """Attention of one kind, then a feed-forward of one kind, each after a norm and with its residual."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        kind = config.layers[layer]
        self.postnorm = config.postnorm
        lightning = kind.attention == "lightning"
        self.attention_residual = config.lightning_residual if lightning else config.softmax_residual
        self.feed_forward_residual = config.feed_forward_residual
        self.input_layernorm = RMSNorm(config.hidden_size, eps=config.norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, eps=config.norm_eps)
        self.self_attn = LightningAttention(config, layer) if lightning else SoftmaxAttention(config, layer)
        self.sparse = kind.feed_forward == "experts"
        if self.sparse:
            self.block_sparse_moe = SparseExperts(config)
        else:
            self.mlp = GatedFeedForward(config.hidden_size, config.intermediate_size)
        self.has_shared_expert = self.sparse and config.shared_intermediate_size > 0
        if self.has_shared_expert:
            self.shared_mlp = GatedFeedForward(config.hidden_size, config.shared_intermediate_size)
            self.coefficient = nn.Linear(config.hidden_size, 1, bias=False)

    def forward(self, x: Tensor, shared: ForwardPass) -> Tensor:
        """x [T, hidden] -> [T, hidden]."""
        h = self.input_layernorm(x)
        x = _add_residual(h if self.postnorm else x, self.self_attn(h, shared), self.attention_residual)
        h = self.post_attention_layernorm(x)
        return _add_residual(h if self.postnorm else x, self._feed_forward(h, shared), self.feed_forward_residual)

    def _feed_forward(self, x: Tensor, shared: ForwardPass) -> Tensor:
        if not self.sparse:
            return self.mlp(x)
        out = self.block_sparse_moe(x, shared)
        if not self.has_shared_expert:
            return out
        with torch.autocast(x.device.type, enabled=False):
            share = torch.sigmoid(nn.functional.linear(x.float(), self.coefficient.weight.float()))  # [T, 1]
        return torch.lerp(out.float(), self.shared_mlp(x).float(), share).to(x.dtype)


class Backbone(nn.Module):
    """Embedding, layers and final norm: what the checkpoints call `model`."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        # Left empty: random numbers for a model on no device yet would load torch's compiler, which takes a second.
        self.embed_tokens = nn.Embedding.from_pretrained(
            torch.empty(config.vocab_size, config.hidden_size), freeze=False
        )
        self.layers = nn.ModuleList(DecoderLayer(config, i) for i in range(config.num_layers))
        self.norm = RMSNorm(config.hidden_size, eps=config.norm_eps)


class Decoder(nn.Module):
    """A hybrid language model, from token ids to hidden states and logits.

    Example::

        model = Decoder(config)
        model.logits(torch.tensor([1, 2, 3]))  # float32 [3, vocab]
    """

    def __init__(
        self, config: ModelConfig, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
    ) -> None:
        super().__init__()
        self.config = config
        before = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        try:
            with torch.device(device):
                self.model = Backbone(config)
                self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        finally:
            torch.set_default_dtype(before)
        if config.tied_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight

    @property
    def precision(self) -> str:
        """Of the weights: "float32", "bfloat16", or "int8" where they are quantised, as the head tells."""
        return str(self.lm_head.weight.dtype).removeprefix("torch.")

    @torch.no_grad()
    def initialize(self, seed: int) -> "Decoder":
        """Random weights for training from nothing: normal with the config's range, norms at 1, biases at 0."""
        generator = torch.Generator(device=self.model.embed_tokens.weight.device).manual_seed(seed)
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
            elif parameter.dim() == 1:
                parameter.fill_(1.0)
            else:
                parameter.normal_(std=self.config.initializer_range, generator=generator)
        return self

    def forward(self, tokens: Tensor, batch: ForwardBatch, cache: HybridCache | None = None) -> Tensor:
        """Hidden states after the final norm, [T, hidden], of packed tokens int64 [T].

        With a cache the pass continues from `batch.contexts` and writes the new keys, values and states in place; a
        sequence that starts at context 0 must own a cleared slot. Without one, every sequence starts at position 0.
        """
        return self._run(tokens, batch, cache, None)

    def forward_with_router(self, tokens: Tensor, batch: ForwardBatch) -> tuple[Tensor, RouterLoad]:
        """Like `forward` without a cache, and how the routers spread the tokens (for the auxiliary loss)."""
        loads: list[tuple[Tensor, Tensor]] = []
        hidden = self._run(tokens, batch, None, loads)
        if not loads:
            raise ValueError("this model has no experts, so no router to report on")
        probability, fraction = (torch.stack(column) for column in zip(*loads, strict=True))
        return hidden, RouterLoad(probability=probability, fraction=fraction)

    def _run(
        self, tokens: Tensor, batch: ForwardBatch, cache: HybridCache | None, loads: list[tuple[Tensor, Tensor]] | None
    ) -> Tensor:
        shared = ForwardPass(
            batch=batch,
            angles=rotary_angles(batch.positions, self.config.rotary_dim, self.config.rope_base),
            cache=cache,
            rows=None if cache is None else cache.rows(batch),
            report_load=None if loads is None else loads.append,
        )
        x = self.model.embed_tokens(tokens)  # [T, hidden]
        for layer in cast(Iterable[DecoderLayer], self.model.layers):
            x = layer(x, shared)
        return self.model.norm(x)

    def head(self, hidden: Tensor) -> Tensor:
        """Logits in float32, [..., vocab], of hidden states [..., hidden]; padded vocabulary rows are -inf.

        The product itself runs in float32, weights included: report section 3.2 found that a lower precision here
        parts the log-probabilities of training and sampling.
        """
        weight, hidden = self.lm_head.weight, hidden.float()
        if weight.dtype in (torch.float32, torch.int8):
            logits = self.lm_head(hidden)
        else:
            blocks = [nn.functional.linear(hidden, block.float()) for block in weight.split(_HEAD_ROWS)]
            logits = torch.cat(blocks, dim=-1)
        if self.config.num_live_tokens is not None:
            logits[..., self.config.num_live_tokens :] = -torch.inf
        return logits

    def logits(self, token_ids: Tensor) -> Tensor:
        """float32 [T, vocab] or [B, T, vocab] of whole sequences, int64 [T] or [B, T], from position 0."""
        sequences = token_ids if token_ids.dim() == 2 else token_ids[None]
        batch = ForwardBatch.pack([sequences.shape[1]] * sequences.shape[0], device=token_ids.device)
        return self.head(self(sequences.flatten(), batch)).view(*token_ids.shape, -1)
