"""A small vision transformer in which every projection is an nn.Linear. Source: Dosovitskiy et al. 2020, pre-norm."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HEAD_WIDTH = 16
"""Channels per attention head, always. Chosen so that names and shapes alone say what the network computes."""


class Attention(nn.Module):
    """Self-attention, x (N, T, dim) to (N, T, dim), with dim / HEAD_WIDTH heads; `qkv` holds all three projections."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        if dim % HEAD_WIDTH:
            raise ValueError(f"the width of a transformer must be a multiple of {HEAD_WIDTH}, got {dim}")
        self.heads = dim // HEAD_WIDTH
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        N, T, dim = x.shape
        q, k, v = self.qkv(x).reshape(N, T, 3, self.heads, HEAD_WIDTH).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v)  # (N, heads, T, HEAD_WIDTH)
        out: Tensor = self.proj(mixed.transpose(1, 2).reshape(N, T, dim))
        return out


class Mlp(nn.Module):
    """x (..., dim) to (..., dim) through `hidden` GELU units."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class EncoderBlock(nn.Module):
    """x + attention, then x + perceptron, each on a normalised copy; (N, T, dim) to (N, T, dim)."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = Attention(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, hidden)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class VisionTransformer(nn.Module):
    """x (N, in_channels, size, size) to logits (N, num_classes).

    Patches of patch x patch pixels, flattened as (channel, row, column), go through the linear `embed`; `pos_embed`
    (1, T, dim) is added; `blocks`; `norm`; mean over the T = (size / patch) ** 2 tokens; `head`.
    """

    def __init__(
        self, in_channels: int, size: int, patch: int, dim: int, depth: int, hidden: int, num_classes: int
    ) -> None:
        super().__init__()
        if size % patch:
            raise ValueError(f"images of {size} pixels cannot be cut into patches of {patch}")
        self.patch = patch
        self.embed = nn.Linear(in_channels * patch * patch, dim)
        self.pos_embed = nn.Parameter(torch.empty(1, (size // patch) ** 2, dim))
        self.blocks = nn.ModuleList(EncoderBlock(dim, hidden) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, num_classes)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        N, channels, height, width = x.shape
        p = self.patch
        x = x.reshape(N, channels, height // p, p, width // p, p).permute(0, 2, 4, 1, 3, 5)
        x = self.embed(x.reshape(N, (height // p) * (width // p), channels * p * p)) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.head(self.norm(x).mean(dim=1))
        return logits
