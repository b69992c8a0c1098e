"""Same weights, same logits: against transformers where it computes the same function, against plain loops elsewhere.

The loops are written from the published model's semantics, in float64, one token and one head at a time; they share
nothing with the package but the weights.
"""

import math

import pytest
import torch
import transformers

import fulmen
from fulmen.config import ModelConfig, ResidualScale, hybrid_layers
from fulmen.config_formats import Family
from fulmen.model.decoder import Decoder
from fulmen.model.weights import save_checkpoint

HYBRID = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 24,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,
    "layer_types": ["linear_attention"] * 3 + ["full_attention"],
}
SCALES = {"linear_attn_alpha_factor": 1.7, "full_attn_alpha_factor": 1.6, "mlp_alpha_factor": 1.5}
BETAS = {"linear_attn_beta_factor": 0.9, "full_attn_beta_factor": 1.1, "mlp_beta_factor": 0.8}
DENSE = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,
}
PEERS = {
    "minimax": lambda: transformers.MiniMaxConfig(**HYBRID),
    "minimax, all factors": lambda: transformers.MiniMaxConfig(**HYBRID, **SCALES, **BETAS),
    "minimax, eight heads": lambda: transformers.MiniMaxConfig(
        **HYBRID | {"num_attention_heads": 8, "num_key_value_heads": 1, "head_dim": 16}, **SCALES
    ),
    "minimax, softmax first": lambda: transformers.MiniMaxConfig(
        # A lightning layer in the last place would differ: there transformers' epsilon makes the slope a third larger.
        **HYBRID | {"layer_types": ["full_attention", "linear_attention", "linear_attention", "full_attention"]},
        **BETAS,
    ),
    "llama": lambda: transformers.LlamaConfig(**DENSE, rope_theta=5000.0),
    "llama, tied, wide heads": lambda: transformers.LlamaConfig(**DENSE, head_dim=16, tie_word_embeddings=True),
    "qwen2": lambda: transformers.Qwen2Config(**DENSE),
}
FAMILIES: dict[str, Family] = {"minimax": "minimax", "llama": "llama", "qwen2": "qwen2"}


def peer_of(config: transformers.PretrainedConfig) -> transformers.PreTrainedModel:
    torch.manual_seed(0)
    peer = transformers.AutoModelForCausalLM.from_config(config).eval()
    for name, parameter in peer.named_parameters():
        if name.endswith("bias") or "norm" in name:
            torch.nn.init.normal_(parameter, mean=1.0, std=0.3)
    return peer


def tokens_of(*shape: int) -> torch.Tensor:
    return torch.randint(0, 64, shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("config", PEERS.values(), ids=PEERS.keys())
def test_logits_equal_transformers_both_ways(config, tmp_path) -> None:
    peer = peer_of(config())
    peer.save_pretrained(tmp_path / "theirs")
    ours = fulmen.load(tmp_path / "theirs")
    save_checkpoint(ours, tmp_path / "ours", family=FAMILIES[peer.config.model_type])
    back = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours", dtype=torch.float32).eval()
    for length in (1, 63, 64, 65, 255, 257, 300):
        tokens = tokens_of(2, length)
        with torch.no_grad():
            expected = peer(tokens).logits
            torch.testing.assert_close(ours.logits(tokens), expected, atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(back(tokens).logits, expected, atol=1e-5, rtol=1e-5)


def reference_logits(model: Decoder, tokens: list[int]) -> torch.Tensor:
    """Logits [T, vocab] by loops over tokens, heads and experts, float64."""
    c, w = model.config, {name: p.detach().double() for name, p in model.state_dict().items()}

    def norm(x, weight, eps):
        return x / (x.pow(2).mean(-1, keepdim=True) + eps).sqrt() * weight

    def silu(x):
        return x * torch.sigmoid(x)

    def gated(x, base):
        w1, w3 = w[f"{base}.w13.weight"].chunk(2)
        return w[f"{base}.w2.weight"] @ (silu(w1 @ x) * (w3 @ x))

    def rotated(x, position):
        x = x.clone()
        half = c.rotary_dim // 2
        for i in range(half):
            angle = position * c.rope_base ** (-2 * i / c.rotary_dim)
            a, b = x[i].item(), x[i + half].item()
            x[i] = a * math.cos(angle) - b * math.sin(angle)
            x[i + half] = b * math.cos(angle) + a * math.sin(angle)
        return x

    def slopes(heads):
        if heads & (heads - 1) == 0:
            return [2 ** (-8 * (h + 1) / heads) for h in range(heads)]
        below = 2 ** (heads.bit_length() - 1)
        return slopes(below) + slopes(2 * below)[::2][: heads - below]

    def lightning_layer(hs, base, layer):
        decay = [s * (1 - layer / (c.num_layers - 1) + 1e-5) for s in slopes(c.num_heads)]
        states = [torch.zeros(c.head_dim, c.head_dim, dtype=torch.float64) for _ in decay]
        outs = []
        for h in hs:
            qkv = silu(w[f"{base}.qkv_proj.weight"] @ h)
            heads = []
            for i, s in enumerate(decay):
                q, k, v = qkv[3 * i * c.head_dim : 3 * (i + 1) * c.head_dim].split(c.head_dim)
                states[i] = math.exp(-s) * states[i] + torch.outer(k, v)
                heads.append(q @ states[i])
            mixed = norm(torch.cat(heads), w[f"{base}.norm.weight"], c.gate_norm_eps)
            outs.append(w[f"{base}.out_proj.weight"] @ (mixed * torch.sigmoid(w[f"{base}.output_gate.weight"] @ h)))
        return outs

    def softmax_layer(hs, base, _):
        def project(h, name, count):
            out = w[f"{base}.{name}_proj.weight"] @ h
            return (out + w.get(f"{base}.{name}_proj.bias", 0)).view(count, c.head_dim)

        keys = [[rotated(k, t) for k in project(h, "k", c.num_kv_heads)] for t, h in enumerate(hs)]
        values = [project(h, "v", c.num_kv_heads) for h in hs]
        outs = []
        for t, h in enumerate(hs):
            heads = []
            for i, q in enumerate(project(h, "q", c.num_heads)):
                group = i // (c.num_heads // c.num_kv_heads)
                scores = torch.stack([rotated(q, t) @ keys[u][group] for u in range(t + 1)]) / math.sqrt(c.head_dim)
                share = scores.softmax(0)
                heads.append(sum(share[u] * values[u][group] for u in range(t + 1)))
            outs.append(w[f"{base}.o_proj.weight"] @ torch.cat(heads))
        return outs

    def feed_forward(h, base):
        if f"{base}.mlp.w13.weight" in w:
            return gated(h, f"{base}.mlp")
        probabilities = (w[f"{base}.block_sparse_moe.gate.weight"] @ h).softmax(0)
        best, chosen = probabilities.topk(c.experts_per_token)
        out = 0
        for share, e in zip(best / best.sum(), chosen.tolist(), strict=True):
            w1, w3 = w[f"{base}.block_sparse_moe.experts.w13"][e].chunk(2)
            out = out + share * (w[f"{base}.block_sparse_moe.experts.w2"][e] @ (silu(w1 @ h) * (w3 @ h)))
        if c.shared_intermediate_size:
            share = torch.sigmoid(w[f"{base}.coefficient.weight"] @ h)
            out = (1 - share) * out + share * gated(h, f"{base}.shared_mlp")
        return out

    xs = [w["model.embed_tokens.weight"][token] for token in tokens]
    for i, layer in enumerate(c.layers):
        base = f"model.layers.{i}"
        hs = [norm(x, w[f"{base}.input_layernorm.weight"], c.norm_eps) for x in xs]
        attend, scale = {
            "lightning": (lightning_layer, c.lightning_residual),
            "softmax": (softmax_layer, c.softmax_residual),
        }[layer.attention]
        outs = attend(hs, f"{base}.self_attn", i)
        xs = [scale.alpha * (h if c.postnorm else x) + scale.beta * o for x, h, o in zip(xs, hs, outs, strict=True)]
        hs = [norm(x, w[f"{base}.post_attention_layernorm.weight"], c.norm_eps) for x in xs]
        scale = c.feed_forward_residual
        xs = [
            scale.alpha * (h if c.postnorm else x) + scale.beta * feed_forward(h, base)
            for x, h in zip(xs, hs, strict=True)
        ]
    final = torch.stack([norm(x, w["model.norm.weight"], c.norm_eps) for x in xs])
    return final @ w["lm_head.weight"].T


M1_LIKE = ModelConfig(
    vocab_size=40,
    hidden_size=24,
    num_heads=4,
    num_kv_heads=2,
    head_dim=8,
    layers=hybrid_layers(4, softmax_every=4),
    intermediate_size=20,
    num_experts=4,
    experts_per_token=2,
    postnorm=True,
    lightning_residual=ResidualScale(alpha=1.7, beta=0.9),
    softmax_residual=ResidualScale(alpha=1.6, beta=1.1),
    feed_forward_residual=ResidualScale(alpha=1.5, beta=0.8),
    rotary_dim=4,
    rope_base=1e7,
    initializer_range=0.3,
)
FORMS = {
    "partial rotary": M1_LIKE,
    "shared expert": M1_LIKE.replace(shared_intermediate_size=12),
    "prenorm residuals": M1_LIKE.replace(postnorm=False),
    "heads that are no power of two": M1_LIKE.replace(num_heads=6, num_kv_heads=3),
    "dense with biases, tied": M1_LIKE.replace(
        layers=hybrid_layers(3, softmax_every=2, feed_forward="dense"), qkv_bias=True, tied_embeddings=True
    ),
}


@pytest.mark.parametrize("config", FORMS.values(), ids=FORMS.keys())
@pytest.mark.parametrize("length", [1, 23])
def test_what_transformers_cannot_express_equals_plain_loops(config, length) -> None:
    model = Decoder(config).initialize(seed=0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name or name.endswith("bias"):
                parameter.normal_(1.0, 0.3, generator=torch.Generator().manual_seed(2))
    tokens = tokens_of(length) % 40
    expected = reference_logits(model, tokens.tolist())
    torch.testing.assert_close(model.logits(tokens).double(), expected, atol=1e-4, rtol=1e-4)
