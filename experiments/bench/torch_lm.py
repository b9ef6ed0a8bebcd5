"""The model of `phasor bench step` in PyTorch, for `--against torch`, which starts this and talks to it:

    torch_lm.py '{"width": 256, "layers": 6, ...}' THREADS

Prints a line of JSON when it has taken its first steps, then answers each line of its input: "step" takes one training
step and prints its seconds, "memory" prints the largest resident size. Exit code 3: Python has no torch.
"""
import json
import math
import sys
import time

try:
    import torch
    from torch import nn
    from torch.nn import functional
except ImportError:
    sys.exit(3)


def resident_bytes(key):
    """VmRSS or VmHWM. (ru_maxrss would count what the process that started this one had in memory.)"""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(key))


class RmsNorm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * self.weight


def rotary(x, cos, sin):
    first, second = x.chunk(2, -1)
    return torch.cat((first * cos - second * sin, first * sin + second * cos), -1)


def causal_attention(q, k, v, hidden_pairs):
    if hasattr(functional, "scaled_dot_product_attention"):
        return functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]) + hidden_pairs
    return scores.softmax(-1) @ v


class Block(nn.Module):
    def __init__(self, width, heads, hidden):
        super().__init__()
        self.heads = heads
        self.attention_norm, self.mlp_norm = RmsNorm(width), RmsNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.gate_up = nn.Linear(width, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x, cos, sin, hidden_pairs):
        batch, length, width = x.shape
        qkv = self.qkv(self.attention_norm(x)).view(batch, length, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        mixed = causal_attention(rotary(q, cos, sin), rotary(k, cos, sin), v, hidden_pairs)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, length, width))
        gate, up = self.gate_up(self.mlp_norm(x)).chunk(2, -1)
        return x + self.down(functional.silu(gate) * up)


class Model(nn.Module):
    def __init__(self, vocabulary, width, layers, heads, hidden, length):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.blocks = nn.ModuleList(Block(width, heads, hidden) for _ in range(layers))
        self.norm = RmsNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, 0, 0.02)
        head_dim = width // heads
        frequency = 10000.0 ** (-torch.arange(0, head_dim, 2).double() / head_dim)
        angle = torch.arange(length).double()[:, None] * frequency
        self.cos, self.sin = angle.cos().float(), angle.sin().float()
        self.hidden_pairs = torch.full((length, length), -math.inf).triu(1)

    def forward(self, tokens):
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x, self.cos, self.sin, self.hidden_pairs)
        return self.head(self.norm(x))


def main():
    settings, threads = json.loads(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    imported_bytes = resident_bytes("VmRSS")
    vocabulary, length, batch = (settings[key] for key in ("vocabulary", "length", "batch"))
    model = Model(vocabulary, settings["width"], settings["layers"], settings["heads"], settings["hidden"], length)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings["learning_rate"], betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1
    )
    inputs, targets = torch.randint(256, (2, batch, length))

    def step():
        start = time.perf_counter()
        loss = functional.cross_entropy(model(inputs).view(-1, vocabulary), targets.reshape(-1))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.item(), time.perf_counter() - start

    losses = [step()[0] for _ in range(4)]
    if not losses[-1] < losses[0]:
        sys.exit(f"PyTorch's loss on one batch went from {losses[0]} to {losses[-1]} in three steps")
    answer(
        torch=torch.__version__,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        imported_bytes=imported_bytes,
    )
    for line in sys.stdin:
        if line.strip() == "step":
            answer(seconds=step()[1])
        else:
            answer(peak_bytes=resident_bytes("VmHWM"))


def answer(**numbers):
    print(json.dumps(numbers), flush=True)


if __name__ == "__main__":
    main()
