"""A step of LaBraM's masked modelling as a plain training loop writes it.

From the paper and its published description, on the weights of our own modules: the mask
and its complement each go through the *whole* network (patch embedding and tokens), the
convolutions are convolutions, attention writes its weights out, the tokenizer runs without
gradients, and the optimizer has torch's defaults. It is the yardstick of
``bench_pretraining.py``, and at the same time a check of the numbers.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F


def embed(network, signal):
    """Patch embedding: three convolutions with GroupNorm and GELU."""
    n, n_channels, n_times = signal.shape
    conv = network.patch_embed
    x = signal.reshape(n, 1, n_channels * (n_times // 200), 200)
    for layer, norm in (
        (conv.conv1, conv.norm1),
        (conv.conv2, conv.norm2),
        (conv.conv3, conv.norm3),
    ):
        x = F.gelu(F.group_norm(layer(x), 4, norm.weight, norm.bias, norm.eps))
    return x.permute(0, 2, 3, 1).flatten(2)


def attend(attention, x):
    """Attention with its weights written out."""
    n, n_tokens, dim = x.shape
    bias = None
    if attention.q_bias is not None:
        bias = torch.cat([attention.q_bias, torch.zeros_like(attention.v_bias), attention.v_bias])
    qkv = F.linear(x, attention.qkv.weight, bias)
    qkv = qkv.reshape(n, n_tokens, 3, attention.heads, -1).permute(2, 0, 3, 1, 4)
    q, k, v = qkv[0], qkv[1], qkv[2]
    if attention.q_norm is not None:
        q, k = attention.q_norm(q), attention.k_norm(k)
    weights = ((q * attention.head_dim**-0.5) @ k.transpose(-2, -1)).softmax(dim=-1)
    return attention.proj((weights @ v).transpose(1, 2).reshape(n, n_tokens, dim))


def encode(network, patches, rows, cls_row=0):
    """Class token, electrodes and times, and the blocks."""
    n, count, dim = patches.shape
    place = network.pos_embed[0, rows + 1][:, None] + network.time_embed[0, : count // len(rows)]
    cls = (network.cls_token[0, 0] + network.pos_embed[0, cls_row]).expand(n, 1, dim)
    x = torch.cat([cls, patches + place.reshape(count, dim)], dim=1)
    for block in network.blocks:
        for norm, part, gamma in (
            (block.norm1, lambda y, block=block: attend(block.attn, y), block.gamma_1),
            (block.norm2, lambda y, block=block: feed(block.mlp, y), block.gamma_2),
        ):
            change = part(norm(x))
            x = x + (change if gamma is None else gamma * change)
    return network.norm(x)


def feed(mlp, x):
    """Two linear layers and GELU."""
    return mlp.fc2(F.gelu(mlp.fc1(x)))


@torch.no_grad()
def codes_of(tokenizer, signal, rows):
    """Return the tokenizer's codes of the whole signal."""
    encoder = tokenizer.encoder
    tokens = encoder.fc_norm(encode(encoder, embed(encoder, signal), rows)[:, 1:])
    z = F.normalize(tokenizer.encode_task_layer(tokens), dim=-1)
    table = tokenizer.quantize.embedding.weight
    flat = z.flatten(0, 1)
    distances = flat.square().sum(1, keepdim=True) + table.square().sum(1) - 2 * flat @ table.T
    return distances.argmin(1).view(z.shape[:2])


def masked_loss(objective, signal, rows, masks):
    """Return the loss of a batch: one whole forward pass per mask.

    Parameters
    ----------
    objective : MaskedObjective
        Whose weights are used.
    signal : Tensor, shape (n, n_channels, n_times)
        In the network's unit.
    rows : Tensor of int64
        Places of the electrodes.
    masks : Tensor of bool, shape (n, n_channels * n_patches)
        What is hidden first; then its complement.
    """
    codes = codes_of(objective.tokenizer, signal, rows)
    network = objective.network
    student, total = network.student, 0.0
    for hidden in (masks, ~masks):
        patches = embed(student, signal)
        weight = hidden[..., None].to(patches.dtype)
        patches = patches * (1 - weight) + student.mask_token * weight
        tokens = encode(student, patches, rows, cls_row=int(rows[0]) + 1)[:, 1:]
        logits = network.lm_head(tokens[hidden])
        total = total + F.cross_entropy(logits, codes[hidden])
    return total
