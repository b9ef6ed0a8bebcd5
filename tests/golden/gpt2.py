"""A small GPT-2 in PyTorch, written as PyTorch users write it, and Phasor's names of its parameters.

Radford et al., "Language Models are Unsupervised Multitask Learners": layer norm before each part, gelu through tanh,
biases, learned positions, a head that is the embedding, q, k and v from one product.
"""

import math

import torch
from torch import nn
from torch.nn import functional

settings = {"width": 8, "layers": 2, "heads": 2, "hidden": 20, "vocab": 9, "train_length": 8, "length": 6, "batch": 2,
            "ignore": -1}


class Block(nn.Module):
    def __init__(self, width, heads, hidden):
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.c_attn, self.attn_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.c_fc, self.mlp_proj = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def attention(self, x):
        batch, length, width = x.shape
        q, k, v = (part.view(batch, length, self.heads, -1).transpose(1, 2) for part in self.c_attn(x).chunk(3, -1))
        scores = q @ k.transpose(-1, -2) / math.sqrt(width // self.heads)
        hidden = torch.ones(length, length).triu(1) != 0
        pattern = scores.masked_fill(hidden, -math.inf).softmax(-1)
        return self.attn_proj((pattern @ v).transpose(1, 2).reshape(x.shape))

    def forward(self, x):
        x = x + self.attention(self.ln_1(x))
        return x + self.mlp_proj(functional.gelu(self.c_fc(self.ln_2(x)), approximate="tanh"))


class Gpt2(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(s["vocab"], s["width"]), nn.Embedding(s["train_length"], s["width"])
        self.h = nn.ModuleList(Block(s["width"], s["heads"], s["hidden"]) for _ in range(s["layers"]))
        self.ln_f = nn.LayerNorm(s["width"])

    def forward(self, ids):
        x = self.wte(ids) + self.wpe(torch.arange(ids.shape[1]))
        for block in self.h:
            x = block(x)
        return functional.linear(self.ln_f(x), self.wte.weight)


def renamed(tensors):
    """Parameters of Gpt2, or their gradients, under Phasor's names; linear weights become [in, out]."""
    parts = {"ln_1": "attention_norm", "ln_2": "mlp_norm", "attn_proj": "attention.out", "c_fc": "mlp.up",
             "mlp_proj": "mlp.down"}
    result = {"embedding.weight": tensors["wte.weight"], "encoding.weight": tensors["wpe.weight"],
              "final_norm.weight": tensors["ln_f.weight"], "final_norm.bias": tensors["ln_f.bias"]}
    for name, value in tensors.items():
        if not name.startswith("h."):
            continue
        _, layer, part, kind = name.split(".")
        value = value.T if value.dim() == 2 else value
        if part == "c_attn":
            for of, piece in zip("qkv", value.chunk(3, -1)):
                result[f"block.{layer}.attention.{of}.{kind}"] = piece
        else:
            result[f"block.{layer}.{parts[part]}.{kind}"] = value
    return result


def content(random):
    model = Gpt2(settings).double()
    with torch.no_grad():
        for name, p in model.named_parameters():
            # Large enough that no wrong formula looks right; no parameter at 0 or 1.
            of_norm = "ln_" in name and name.endswith("weight")
            p.copy_(random("gpt2 " + name, *p.shape, scale=0.4, shift=1.0 if of_norm else 0.0))
    tokens = torch.randint(settings["vocab"], (settings["batch"], settings["length"] + 1),
                           generator=torch.Generator().manual_seed(12))
    ids, targets = tokens[:, :-1], tokens[:, 1:].clone()
    targets[1, 2] = settings["ignore"]
    logits = model(ids)
    loss = functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=settings["ignore"])
    loss.backward()
    gradients = renamed({name: p.grad for name, p in model.named_parameters()})
    for name, gradient in gradients.items():
        # A key bias adds the same to every score of a query: softmax does not see it.
        invisible = name.endswith("attention.k.bias")
        assert (gradient.abs().max() < 1e-15) if invisible else (gradient.abs().max() > 1e-4), name
        if invisible:
            gradients[name] = torch.zeros_like(gradient)
    return {"settings": settings, "ids": ids, "targets": targets, "parameters": renamed(dict(model.named_parameters())),
            "loss": loss.item(), "logits": logits, "gradients": gradients}
