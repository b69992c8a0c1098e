"""The paths for CUDA, run here against stand-ins that follow the libraries' documented interfaces."""

import subprocess
import sys
from types import ModuleType

import pytest
import torch

from fulmen.kernels import dispatch, paged_attention, reference

grouped_experts_module = sys.modules["fulmen.kernels.grouped_experts"]
paged_attention_module = sys.modules["fulmen.kernels.paged_attention"]


@pytest.fixture
def simple_gla(monkeypatch):
    """A stand-in for fla.ops.simple_gla: the same arguments, the recurrence inside; records which form ran."""
    calls = []

    def form(name):
        def run(q, k, v, *, g_gamma, scale, initial_state, output_final_state, cu_seqlens):
            assert scale == 1.0
            assert output_final_state
            assert (g_gamma < 0).all()
            calls.append(name)
            out, final = reference.lightning(q[0], k[0], v[0], -g_gamma, initial_state, cu_seqlens)
            return out[None], final

        return run

    module = ModuleType("fla.ops.simple_gla")
    module.chunk_simple_gla = form("chunk")
    module.fused_recurrent_simple_gla = form("recurrent")
    for name in ("fla", "fla.ops"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "fla.ops.simple_gla", module)
    return calls


@pytest.mark.parametrize(("lengths", "form"), [([5, 1, 9], "chunk"), ([1, 1, 1], "recurrent")])
def test_flash_linear_attention_is_called_with_our_decay_and_no_scale(simple_gla, lengths, form):
    q, k, v = torch.randn(3, sum(lengths), 2, 4, generator=torch.Generator().manual_seed(0))
    arguments = (q, k, v, torch.tensor([1.0, 0.01]), torch.ones(3, 2, 4, 4), torch.tensor([0, *lengths]).cumsum(0))
    for actual, expected in zip(dispatch._lightning_fla(*arguments), reference.lightning(*arguments), strict=True):
        torch.testing.assert_close(actual, expected)
    assert simple_gla == [form]


def test_grouped_mm_equals_the_loop():
    """torch's grouped_mm has a fallback for CPUs with the meaning of the CUDA kernel."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(20, 16, generator=generator)
    ids = torch.rand(20, 4, generator=generator).topk(2).indices
    ids[ids == 1] = 0  # an idle expert
    weights = torch.rand(20, 2, generator=generator)
    w13, w2 = torch.randn(4, 16, 16, generator=generator), torch.randn(4, 16, 8, generator=generator)
    out = grouped_experts_module._grouped_mm(x, ids, weights, w13, w2)
    torch.testing.assert_close(out, reference.grouped_experts(x, ids, weights, w13, w2), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("page_size", [4, 256])
def test_varlen_attention_is_given_each_sequence_and_its_keys(monkeypatch, page_size):
    def varlen_attn(
        query,
        key,
        value,
        cu_seq_q,
        cu_seq_k,
        max_q,
        max_k,
        *,
        window_size,
        enable_gqa,
        seqused_k=None,
        block_table=None,
    ):
        assert window_size == (-1, 0)
        assert enable_gqa
        lengths = cu_seq_q.diff().tolist()
        totals = (cu_seq_k.diff() if seqused_k is None else seqused_k).tolist()
        assert (max_q, max_k) == (max(lengths), max(totals))
        if block_table is None:
            parts = zip(key.split(totals), value.split(totals), strict=True)
        else:
            parts = ((key[table].flatten(0, 1), value[table].flatten(0, 1)) for table in block_table)
        outs = [
            paged_attention(q, k[None], v[None], torch.zeros(1, 1, dtype=torch.int64), (len(q),), (total - len(q),))
            for q, (k, v), total in zip(query.split(lengths), parts, totals, strict=True)
        ]
        return torch.cat(outs)

    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", varlen_attn)
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(8, 4, 8, generator=generator)
    keys, values = torch.randn(2, 8, page_size, 2, 8, generator=generator)
    table, lengths, contexts = torch.tensor([[6, 2, 3], [1, 0, 0], [5, 7, 0]]), (5, 1, 2), (6, 2, 3)
    out = paged_attention_module._paged_varlen(q, keys, values, table, lengths, [11, 3, 5])
    expected = reference.paged_attention(q, keys, values, table, lengths, contexts)
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)


def test_importing_the_kernels_imports_nothing_heavy_beyond_torch():
    code = "import torch, sys; before = set(sys.modules); import fulmen.kernels; print(*(set(sys.modules) - before))"
    added = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {name for name in added if not name.startswith(("fulmen", "torch.nn.attention"))} <= {"importlib.util"}
