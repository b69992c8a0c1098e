"""The decoder as a native program: a whole decode step in one call, over the same weights and the same cache.

`NativeStep` walks a `Decoder` once and writes down what its modules compute as operations of `kernels.native`, which
read the parameters where they lie. Small batches run there, because a step of torch is hundreds of calls whose
dispatch costs more than their work; large ones stay with torch's matrix products. Activations are float32 whatever
the weights' type, so a bfloat16 model is rounded less often here than in torch; docs/numerics.md says what int8 does.
"""

from collections.abc import Iterable, Mapping
from typing import cast

import torch
from torch import Tensor, nn

from fulmen.kernels import native
from fulmen.kernels.native import Buffer, Kind, Matrix, ProgramBuilder, Shape
from fulmen.model.attention import SoftmaxAttention
from fulmen.model.cache import ForwardBatch, HybridCache
from fulmen.model.decoder import Decoder, DecoderLayer
from fulmen.model.experts import GatedFeedForward, SparseExperts
from fulmen.model.lightning import LightningAttention

MOST_TOKENS = 64
"""Larger batches are faster in torch, whose matrix products reuse each weight more."""


class NativeStep:
    """Runs a decoder's small forward passes natively; `native.available()` says whether this machine can.

    Changes of parameters in place are seen by the next call. int8 weights are those of `model.quantize`: `weight`
    int8 with `weight_scale` float32 per row (for experts `w13`, `w13_scale`, `w2`, `w2_scale`).

    Example::

        step = NativeStep(model)
        if step.supports(batch):
            logits = step.forward(tokens, batch, cache, logit_rows)
    """

    def __init__(self, model: Decoder) -> None:
        if model.model.embed_tokens.weight.device.type != "cpu":
            raise ValueError(f"the native step runs on CPUs, the model is on {model.model.embed_tokens.weight.device}")
        self._pointers = _Pointers(model)
        self._program = _Translation(model, self._pointers).program()

    def supports(self, batch: ForwardBatch) -> bool:
        """Whether this batch is small enough to be faster here, and has a cache to run on."""
        return (
            len(batch.positions) <= MOST_TOKENS
            and batch.positions.device.type == "cpu"
            and batch.slots is not None
            and batch.block_table is not None
        )

    def forward(
        self,
        tokens: Tensor,
        batch: ForwardBatch,
        cache: HybridCache,
        logit_rows: Tensor,
        *,
        hidden: Tensor | None = None,
    ) -> Tensor:
        """Logits float32 [n, vocab] of the rows `logit_rows` int64 [n] of packed tokens int64 [T]; updates the cache.

        `hidden`, float32 [T, hidden], receives the states after the final norm if given. Raises ValueError if the
        batch doesn't fit the cache, and RuntimeError if a parameter was replaced since this object was made.
        """
        self._pointers.check()
        return self._program.run(
            tokens=tokens,
            positions=batch.positions,
            cu_seqlens=batch.cu_seqlens,
            slots=batch.slots,
            block_table=batch.block_table,
            wanted=logit_rows,
            keys=cache.keys,
            values=cache.values,
            states=cache.states,
            hidden=hidden,
        )


class _Pointers:
    """The tensors that a program points into: kept alive, and checked to be still the model's own."""

    def __init__(self, model: Decoder) -> None:
        self._names = {module: name for name, module in model.named_modules()}
        self._owned: list[tuple[Mapping[str, Tensor | None], str, int, Tensor]] = []
        self._kept: list[Tensor] = []

    def matrix(self, module: nn.Module, name: str = "weight") -> Matrix:
        """A parameter of a module, with its scales if it is int8."""
        weight = self._own(module, name)
        return Matrix.of(weight, self._own(module, f"{name}_scale") if not weight.is_floating_point() else None)

    def keep(self, tensor: Tensor) -> Matrix:
        """A tensor that is no parameter: a copy made for the program."""
        self._kept.append(tensor)
        return Matrix.of(tensor)

    def check(self) -> None:
        """Raise RuntimeError if a parameter lies elsewhere than it did."""
        for owner, name, pointer, _ in self._owned:
            tensor = owner[name]
            if tensor is None or tensor.data_ptr() != pointer:
                raise RuntimeError(f"parameter {name} was replaced since its NativeStep was made: make a new one")

    def _own(self, module: nn.Module, name: str) -> Tensor:
        owner: Mapping[str, Tensor | None] = module._parameters
        if name not in owner:
            owner = module._buffers
        tensor = owner.get(name)
        if tensor is None:
            raise ValueError(f"{self._names[module]} has int8 weights without {name}")
        self._owned.append((owner, name, tensor.data_ptr(), tensor))
        return tensor


class _Translation:
    """Writes a decoder down as operations, layer by layer."""

    def __init__(self, model: Decoder, pointers: _Pointers) -> None:
        self._model, self._config, self._pointers = model, model.config, pointers
        self._builder = ProgramBuilder()
        self._x = self._buffer("x", self._config.hidden_size)
        self._h = self._buffer("normed", self._config.hidden_size)

    def program(self) -> native.Program:
        """The whole model."""
        config, model, builder, matrix = self._config, self._model, self._builder, self._pointers.matrix
        builder.add(Kind.EMBED, output=self._x, weight=matrix(model.model.embed_tokens))
        for layer in cast(Iterable[DecoderLayer], model.model.layers):
            self._layer(layer)
        self._norm(model.model.norm, self._x, self._h)
        builder.add(Kind.HEAD, input=self._h, weight=matrix(model.lm_head))
        shape = Shape(
            heads=config.num_heads,
            kv_heads=config.num_kv_heads,
            head_dim=config.head_dim,
            experts=config.num_experts,
            experts_per_token=config.experts_per_token,
            vocab=config.vocab_size,
            live_vocab=config.vocab_size if config.num_live_tokens is None else config.num_live_tokens,
        )
        # The float32 frequencies of `attention.rotary_angles`.
        exponents = torch.arange(0, config.rotary_dim, 2, dtype=torch.float32) / config.rotary_dim
        return builder.finish(shape, 1.0 / config.rope_base**exponents)

    def _buffer(self, name: str, width: int, rows_per_token: int = 1) -> Buffer:
        return self._builder.buffer(name, width, rows_per_token)

    def _norm(self, norm: nn.RMSNorm, source: Buffer, target: Buffer) -> None:
        self._builder.add(
            Kind.NORM, input=source, output=target, weight=self._pointers.matrix(norm), eps=norm.eps or 0.0
        )

    def _linear(self, linear: nn.Module, source: Buffer, target: Buffer, **options: float | Buffer) -> None:
        bias = self._pointers.matrix(linear, "bias") if linear._parameters.get("bias") is not None else None
        weight = self._pointers.matrix(linear)
        self._builder.add(Kind.LINEAR, input=source, output=target, weight=weight, bias=bias, **options)  # type: ignore[arg-type]

    def _layer(self, layer: DecoderLayer) -> None:
        residual = self._h if layer.postnorm else self._x
        self._norm(layer.input_layernorm, self._x, self._h)
        if isinstance(layer.self_attn, LightningAttention):
            mixed = self._lightning(layer.self_attn)
            last: nn.Module = layer.self_attn.out_proj
        else:
            assert isinstance(layer.self_attn, SoftmaxAttention)
            mixed = self._softmax(layer.self_attn)
            last = layer.self_attn.o_proj
        scale = layer.attention_residual
        self._linear(last, mixed, self._x, aux=residual, alpha=scale.alpha, beta=scale.beta)
        self._norm(layer.post_attention_layernorm, self._x, self._h)
        if layer.sparse:
            self._experts(layer, residual)
        else:
            inner = self._gated(layer.mlp, "inner")
            scale = layer.feed_forward_residual
            self._linear(layer.mlp.w2, inner, self._x, aux=residual, alpha=scale.alpha, beta=scale.beta)

    def _lightning(self, attention: LightningAttention) -> Buffer:
        width = attention.num_heads * attention.head_dim
        qkv, gate = self._buffer("qkv", 3 * width), self._buffer("gate", width)
        out, gated = self._buffer("mixed", width), self._buffer("gated", width)
        self._linear(attention.qkv_proj, self._h, qkv, silu=True, joined=True)
        self._linear(attention.output_gate, self._h, gate)
        decay = self._pointers.keep((-attention.slopes).exp().to("cpu"))  # [H]
        self._builder.add(Kind.LIGHTNING, input=qkv, output=out, weight=decay, layer=attention.index)
        norm = attention.norm
        weight = self._pointers.matrix(norm)
        self._builder.add(Kind.GATED_NORM, input=out, aux=gate, output=gated, weight=weight, eps=norm.eps or 0.0)
        return gated

    def _softmax(self, attention: SoftmaxAttention) -> Buffer:
        config = self._config
        width, narrow = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
        q, k, v = self._buffer("queries", width), self._buffer("keys", narrow), self._buffer("values", narrow)
        out = self._buffer("mixed", width)
        self._linear(attention.q_proj, self._h, q, joined=True)
        self._linear(attention.k_proj, self._h, k, joined=True)
        self._linear(attention.v_proj, self._h, v)
        self._builder.add(Kind.ROTARY, input=q, aux=k, other=v, layer=attention.index)
        self._builder.add(Kind.ATTENTION, input=q, output=out, layer=attention.index)
        return out

    def _gated(self, feed_forward: GatedFeedForward, name: str, *, joined: bool = False) -> Buffer:
        weight = self._pointers.matrix(feed_forward.w13)
        inner = self._buffer(name, weight.rows // 2)
        self._builder.add(Kind.GATED, input=self._h, output=inner, weight=weight, joined=joined)
        return inner

    def _experts(self, layer: DecoderLayer, residual: Buffer) -> None:
        sparse, builder, config = layer.block_sparse_moe, self._builder, self._config
        assert isinstance(sparse, SparseExperts)
        matrix, per_token = self._pointers.matrix, config.experts_per_token
        inner = self._buffer("expert inner", config.intermediate_size, per_token)
        out = self._buffer("expert out", config.hidden_size, per_token)
        shared = Buffer(-1)
        builder.add(Kind.ROUTER, input=self._h, weight=matrix(sparse.gate))
        if layer.has_shared_expert:
            builder.add(Kind.SHARE, input=self._h, weight=matrix(layer.coefficient))
            shared = self._buffer("shared out", config.hidden_size)
            shared_inner = self._gated(layer.shared_mlp, "shared inner", joined=True)
        builder.add(Kind.EXPERTS_IN, input=self._h, output=inner, weight=matrix(sparse.experts, "w13"))
        if layer.has_shared_expert:
            self._linear(layer.shared_mlp.w2, shared_inner, shared, joined=True)
        builder.add(Kind.EXPERTS_OUT, input=inner, output=out, weight=matrix(sparse.experts, "w2"))
        scale = layer.feed_forward_residual
        builder.add(
            Kind.COMBINE,
            input=out,
            aux=residual,
            other=shared,
            output=self._x,
            alpha=scale.alpha,
            beta=scale.beta,
        )
