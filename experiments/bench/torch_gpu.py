"""What `phasor bench ... --device cuda --against torch` compares with: PyTorch on the same GPU. It starts this and talks
to it, a line of JSON each way; the first line says that it is ready.

    {"task": "attention", "kind": "flash" | "cudnn" | "flex", "pass": "forward" | "both",
     "batch", "heads", "length", "head_dim"}
        causal, bf16. flash: scaled_dot_product_attention's FlashAttention-2, its backward deterministic; cudnn: cuDNN's;
        flex: compiled FlexAttention with a learned bias for each head and distance.
    {"task": "step", "kind": "eager" | "compiled" | "graphs" | "captured", "width", "layers", "heads", "hidden",
     "vocabulary", "ids" (those that occur), "tied", "length", "batch"}
        A training step under bf16 autocast, fused AdamW, clipping: plain; torch.compile; torch.compile with its own CUDA
        graphs (reduce-overhead); torch.compile and the whole step captured in one CUDA graph.
    {"task": "time", "index": i}    answers with the seconds of one run of the i-th task, a mean of several

The first two do it once and answer {} or {"refusal": why}. Exit code 3: Python has no torch, or torch no GPU.

    torch_gpu.py --warm    does once what it will be asked for and compiles, and ends

PHASOR_TORCH_DEADLINE, seconds since 1970: from then on nothing is compiled any more.
"""
import json
import os
import sys
import time

try:
    import torch
    from torch import nn
    from torch.nn import functional

    if not torch.cuda.is_available():
        sys.exit(3)
except ImportError:
    sys.exit(3)

from torch_lm import Model  # needs torch

LEAST_SECONDS = 0.03


class Refusal(Exception):
    pass


def refuse_when_late():
    if time.time() > float(os.environ.get("PHASOR_TORCH_DEADLINE", "inf")):
        raise Refusal("no time left to compile it")


# ---- attention


def flash(q, k, v):
    from torch.nn.attention import SDPBackend, sdpa_kernel

    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        return functional.scaled_dot_product_attention(q, k, v, is_causal=True)


def cudnn(q, k, v):
    from torch.nn.attention import SDPBackend, sdpa_kernel

    with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
        return functional.scaled_dot_product_attention(q, k, v, is_causal=True)


def flex_with_bias(heads, length):
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    refuse_when_late()
    bias = torch.randn(heads, length, device="cuda", requires_grad=True)
    mask = create_block_mask(lambda b, h, q, k: q >= k, None, None, length, length, device="cuda")
    compiled = torch.compile(flex_attention, dynamic=False)

    def biased(score, b, h, q, k):
        return score + bias[h, torch.where(q >= k, q - k, 0)]

    return (lambda q, k, v: compiled(q, k, v, score_mod=biased, block_mask=mask)), [bias]


def attention(task):
    batch, heads, length, head_dim = (task[key] for key in ("batch", "heads", "length", "head_dim"))

    def projection():
        x = torch.randn(batch, length, heads, head_dim, device="cuda", dtype=torch.bfloat16)
        return x.transpose(1, 2)

    q, k, v = (projection().requires_grad_() for _ in range(3))
    dout, learned = projection(), []
    if task["kind"] == "flex":
        function, learned = flex_with_bias(heads, length)
    else:
        function = {"flash": flash, "cudnn": cudnn}[task["kind"]]

    def forward():
        with torch.no_grad():
            function(q, k, v)

    def both():
        torch.use_deterministic_algorithms(task["kind"] == "flash")
        torch.autograd.grad(function(q, k, v), [q, k, v, *learned], dout)
        torch.use_deterministic_algorithms(False)

    return forward if task["pass"] == "forward" else both


# ---- training step


def step(task):
    kind = task["kind"]
    if kind != "eager":
        refuse_when_late()
    torch.set_float32_matmul_precision("high")
    batch, length, vocabulary = task["batch"], task["length"], task["vocabulary"]
    model = Model(vocabulary, task["width"], task["layers"], task["heads"], task["hidden"], length)
    if task["tied"]:
        model.head.weight = model.embedding.weight
    model.cuda()
    model.cos, model.sin, model.hidden_pairs = model.cos.cuda(), model.sin.cuda(), None
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=1e-4, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1, fused=True,
        capturable=kind == "captured",
    )
    inputs, targets = torch.randint(task["ids"], (2, batch, length), device="cuda")

    def loss_of():
        with torch.autocast("cuda", torch.bfloat16):
            return functional.cross_entropy(model(inputs).view(-1, vocabulary), targets.reshape(-1))

    if kind in ("compiled", "captured"):
        loss_of = torch.compile(loss_of)
    elif kind == "graphs":
        loss_of = torch.compile(loss_of, mode="reduce-overhead")

    def one():
        if kind == "graphs":
            torch.compiler.cudagraph_mark_step_begin()
        optimizer.zero_grad(set_to_none=True)
        loss_of().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    if kind != "captured":
        return one
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            one()
    torch.cuda.current_stream().wait_stream(side)
    optimizer.zero_grad(set_to_none=True)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        one()
    return graph.replay


# ---- timing


def seconds_of(run, launches):
    start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    for _ in range(launches):
        run()
    stop.record()
    torch.cuda.synchronize()
    return start.elapsed_time(stop) * 1e-3 / launches


class Timed:
    """Something to run, warmed up, and how often it must run to last LEAST_SECONDS."""

    def __init__(self, run):
        self.run = run
        for _ in range(3):
            run()
        self.launches = max(1, min(1000, round(LEAST_SECONDS / seconds_of(run, 3))))

    def seconds(self):
        seconds_of(self.run, 1)  # the clock of the GPU rises with work
        return seconds_of(self.run, self.launches)


def prepared(task):
    return Timed({"attention": attention, "step": step}[task["task"]](task))


def reason_of(error):
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:200]


# What libraries print goes to stderr: stdout has answers alone.
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


def answer(**numbers):
    print(json.dumps(numbers), file=answers, flush=True)


def compiled_tasks():
    """Those of tests/cuda/on_gpu.sh that PyTorch compiles. A task that differs from the benchmark's is compiled there."""
    reference = dict(width=256, layers=6, heads=4, hidden=704, vocabulary=257, ids=256, tied=False, length=256, batch=16)
    gpt = dict(width=768, layers=12, heads=12, hidden=2048, vocabulary=50304, ids=50304, tied=True, length=512, batch=64)
    for size in (reference, gpt):
        for kind in ("compiled", "captured", "graphs"):
            yield dict(task="step", kind=kind, **size)
    for head_dim in (64, 128):
        for length in (16384, 4096, 1024):
            size = dict(batch=16384 // length, heads=2048 // head_dim, length=length, head_dim=head_dim)
            yield {"task": "attention", "kind": "flex", "pass": "both", **size}


def warm():
    for task in compiled_tasks():
        start = time.time()
        try:
            prepared(task)
            print(f"{time.time() - start:5.1f} s  {task}", flush=True)
        except Exception as error:  # what PyTorch cannot do is said when it is asked for
            print(f"{reason_of(error)}  {task}", flush=True)
        torch.cuda.empty_cache()


def main():
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # asked for by deterministic algorithms
    torch.manual_seed(1)
    if sys.argv[1:2] == ["--warm"]:
        return warm()
    tasks = []
    answer(torch=torch.__version__, gpu=torch.cuda.get_device_name())
    for line in sys.stdin:
        task = json.loads(line)
        if task["task"] == "time":
            answer(seconds=tasks[task["index"]].seconds())
            continue
        try:
            tasks.append(prepared(task))
            answer()
        except Exception as error:  # any of PyTorch's many: the row is left out, with the reason
            torch.cuda.empty_cache()
            answer(refusal=str(error) if isinstance(error, Refusal) else reason_of(error))


if __name__ == "__main__":
    main()
