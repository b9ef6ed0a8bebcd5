"""The functions of Phasor written once more in PyTorch, from plain primitives, so that autograd and not our rules gives
the gradients. Written to be obvious: loops over batch, head and query, matrices for rotations, one-hot rows for tables.
"""

import math

import torch


def sigmoid(x):
    return 1 / (1 + torch.exp(-x))


def silu(x):
    return x / (1 + torch.exp(-x))


def softmax(x):
    e = torch.exp(x - x.detach().amax(-1, keepdim=True))
    return e / e.sum(-1, keepdim=True)


def log_sum_exp(x):
    largest = x.detach().amax(-1)
    return largest + torch.log(torch.exp(x - largest[..., None]).sum(-1))


def rms_norm(x, weight, epsilon):
    return x / torch.sqrt((x * x).mean(-1, keepdim=True) + epsilon) * weight


def one_hot(ids, classes):
    return (ids[..., None] == torch.arange(classes)).to(torch.float64)


def embedding(table, ids):
    return one_hot(ids, table.shape[0]) @ table


def cross_entropy_by_row(logits, targets, ignore):
    counted = (targets != ignore).to(torch.float64)
    hit = one_hot(targets * (targets != ignore), logits.shape[-1])
    return counted * (log_sum_exp(logits) - (logits * hit).sum(-1))


def cross_entropy(logits, targets, ignore):
    return cross_entropy_by_row(logits, targets, ignore).sum() / (targets != ignore).sum()


def rotary(x, cos, sin, layout):
    """x [batch, heads, length, head_dim]; each component is multiplied by [cos -sin; sin cos]."""
    components = cos.shape[-1]
    if layout == "interleaved":
        pairs = [(2 * p, 2 * p + 1) for p in range(components)]
    else:
        pairs = [(p, p + components) for p in range(components)]
    full = x.shape[:3] + (components,)
    cos, sin = cos.expand(full), sin.expand(full)
    channels = list(x.unbind(-1))
    for p, (first, second) in enumerate(pairs):
        c, s = cos[..., p], sin[..., p]
        matrix = torch.stack([torch.stack([c, -s], -1), torch.stack([s, c], -1)], -2)
        turned = (matrix @ torch.stack([x[..., first], x[..., second]], -1)[..., None])[..., 0]
        channels[first], channels[second] = turned[..., 0], turned[..., 1]
    return torch.stack(channels, -1)


def attention(q, k, v, scale=None, causal=True, segments=None, bias_by_distance=None, bias=None, cap=None, far_q=None,
              far_k=None, far_from=None):
    """Query by query, over the keys it may see: out [batch, heads, q_length, v_dim] and the log-sum-exp of each row."""
    batch, heads, q_length, qk_dim = q.shape
    group, k_length = heads // k.shape[1], k.shape[2]
    scale = 1 / math.sqrt(qk_dim) if scale is None else scale
    if bias is not None:
        bias = bias.expand(batch, heads, q_length, k_length)
    if bias_by_distance is not None:
        bias_by_distance = bias_by_distance.expand(heads, bias_by_distance.shape[1])
    rows, normalisers = [], []
    for b in range(batch):
        for h in range(heads):
            for i in range(q_length):
                q_index = i + k_length - q_length
                keys = [j for j in range(k_length) if not causal or j <= q_index]
                if segments is not None:
                    of = segments[min(b, segments.shape[0] - 1)]
                    keys = [j for j in keys if of[j] == of[q_index]]
                near = k[b, h // group, keys] @ q[b, h, i]
                if far_from is not None:
                    far = far_k[b, h // group, keys] @ far_q[b, h, i]
                    near = torch.stack([far[n] if q_index - j >= far_from else near[n] for n, j in enumerate(keys)])
                scores = scale * near
                if bias_by_distance is not None:
                    scores = scores + torch.stack([bias_by_distance[h, q_index - j] for j in keys])
                if bias is not None:
                    scores = scores + bias[b, h, i, keys]
                if cap is not None:
                    scores = cap * torch.tanh(scores / cap)
                rows.append(softmax(scores) @ v[b, h // group, keys])
                normalisers.append(log_sum_exp(scores))
    out = torch.stack(rows).reshape(batch, heads, q_length, v.shape[3])
    return out, torch.stack(normalisers).reshape(batch, heads, q_length)


def dense_attention(q, k, v, scale=None, causal=True, segments=None, bias_by_distance=None, bias=None):
    """The same once more, with a matrix of scores, PyTorch's softmax and its logsumexp."""
    q_length, k_length = q.shape[2], k.shape[2]
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
    scores = q @ k.transpose(-1, -2) * (1 / math.sqrt(q.shape[3]) if scale is None else scale)
    q_index = torch.arange(k_length - q_length, k_length)[:, None]
    distance = q_index - torch.arange(k_length)
    if bias_by_distance is not None:
        scores = scores + bias_by_distance[:, distance.clamp(min=0)]
    if bias is not None:
        scores = scores + bias
    hidden = (distance < 0) & torch.tensor(causal)
    if segments is not None:
        hidden = hidden | (segments[:, q_index] != segments[:, None, :])[:, None]
    scores = scores.masked_fill(hidden, -math.inf)
    return torch.softmax(scores, -1) @ v, torch.logsumexp(scores, -1)


def frequencies(base, head_dim):
    return [base ** (-2 * p / head_dim) for p in range(head_dim // 2)]


def kept_components(base, head_dim, train_length):
    """HoPE's K: the components whose wavelength fits into the training length."""
    wavelengths = [2 * math.pi / f for f in frequencies(base, head_dim)]
    # Rounding must not decide: no component of these tables lies on the cut.
    assert all(abs(w / train_length - 1) > 1e-9 for w in wavelengths)
    return sum(w <= train_length for w in wavelengths)


def transformer(parameters, settings, encoding, ids):
    """Pre-norm Llama-style model; linear weights are [in, out]. Returns logits [batch, length, vocab]."""
    p, heads, epsilon = parameters, settings["heads"], settings["norm_epsilon"]
    head_dim = settings["width"] // heads
    length = ids.shape[1]
    turning = frequencies(settings["rope_base"], head_dim)
    if encoding == "hope":
        kept = kept_components(settings["rope_base"], head_dim, settings["train_length"])
        turning = [f if i < kept else 0.0 for i, f in enumerate(turning)]
    angles = torch.tensor([[f * position for f in turning] for position in range(length)], dtype=torch.float64)

    def split_heads(x):
        return x.reshape(x.shape[0], length, heads, head_dim).transpose(1, 2)

    def turn(x):
        return x if encoding == "nope" else rotary(x, torch.cos(angles)[None, None], torch.sin(angles)[None, None],
                                                   "half_split")

    x = embedding(p["embedding.weight"], ids)
    for layer in range(settings["layers"]):
        block = f"block.{layer}."
        normed = rms_norm(x, p[block + "attention_norm.weight"], epsilon)
        q, k, v = (split_heads(normed @ p[f"{block}attention.{name}.weight"]) for name in "qkv")
        attended = attention(turn(q), turn(k), v)[0].transpose(1, 2).reshape(x.shape)
        x = x + attended @ p[block + "attention.out.weight"]
        normed = rms_norm(x, p[block + "mlp_norm.weight"], epsilon)
        gate, up = normed @ p[block + "mlp.gate.weight"], normed @ p[block + "mlp.up.weight"]
        x = x + (silu(gate) * up) @ p[block + "mlp.down.weight"]
    return rms_norm(x, p["final_norm.weight"], epsilon) @ p["head.weight"]
