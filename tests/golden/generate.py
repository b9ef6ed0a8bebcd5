"""Writes the golden values of this folder: PyTorch in float64, gradients by its autograd.

    /usr/bin/python3 tests/golden/generate.py          (Debian: python3-torch)

ops.json    each op (here and in torch_cases.py): inputs, options, a random cotangent, output, gradient of
            sum(output * cotangent) for every input
model.json  a small transformer: parameters, and loss, logits and every gradient under each encoding; ten AdamW steps
gpt2.json   a small GPT-2: parameters, loss, logits and every gradient
hope.json   frequencies and the number of components that HoPE keeps

A tensor is {"shape", "values"}, row-major, printed so that it reads back exactly. Another processor or version of
PyTorch may change last digits, which the tolerances of the tests cover.
"""

import json
import math
import pathlib
import platform
import sys
import zlib

import torch

sys.dont_write_bytecode = True
import gpt2
import primitives
import torch_cases

folder = pathlib.Path(__file__).parent
versions = {"python": platform.python_version(), "torch": torch.__version__}
torch.set_num_threads(1)


def random(name, *shape, scale=1.0, shift=0.0):
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    return torch.randn(shape, generator=generator, dtype=torch.float64) * scale + shift


def encode(value):
    if isinstance(value, torch.Tensor):
        value = value.detach()
        return {"shape": list(value.shape), "values": value.reshape(-1).tolist()}
    return value


def text(value, depth=0):
    """JSON with one line per tensor, list or number."""
    value = encode(value)
    if not isinstance(value, dict) or "values" in value:
        return json.dumps(value, separators=(",", ":"), allow_nan=False)
    indent = " " * (depth + 1)
    lines = [f"{indent}{json.dumps(key)}: {text(item, depth + 1)}" for key, item in value.items()]
    return "{\n" + ",\n".join(lines) + "\n" + " " * depth + "}"


def write(name, content):
    (folder / name).write_text(text({"versions": versions, **content}) + "\n")


cases = {}


def case(name, f, inputs, ids={}, options={}):
    """f(inputs..., ids..., options...) -> output, or (output, further results to compare)."""
    assert name not in cases, name
    leaves = {key: value.clone().requires_grad_() for key, value in inputs.items()}
    result = f(**leaves, **ids, **options)
    output, more = result if isinstance(result, tuple) else (result, {})
    cotangent = random(name + " cotangent", *output.shape)
    (output * cotangent).sum().backward()
    gradients = {key: leaf.grad for key, leaf in leaves.items()}
    assert all(g.abs().max() > 0 for g in gradients.values()), name
    cases[name] = {"options": options, "inputs": inputs, "ids": ids, "cotangent": cotangent, "output": output,
                   "more": more, "gradients": gradients}


def unary_cases():
    functions = {"neg": lambda x: -x, "exp": torch.exp, "log": torch.log, "sqrt": torch.sqrt, "sin": torch.sin,
                 "cos": torch.cos, "tanh": torch.tanh, "sigmoid": primitives.sigmoid, "silu": primitives.silu}
    for name, f in functions.items():
        x = random(name, 3, 11, scale=2)
        case(f"unary {name}", f, {"x": x.abs() + 0.1 if name in ("log", "sqrt") else x})
    # Where a formula that is right in the middle loses its digits. One region per tensor, since errors are measured
    # against the largest element.
    for name in ("sin", "tanh", "silu"):
        case(f"unary {name} near zero", functions[name], {"x": random(name + " zero", 9, scale=1e-6)})
    for name in ("exp", "sigmoid", "silu"):
        case(f"unary {name} far left", functions[name], {"x": random(name + " left", 9, scale=0.5, shift=-30)})
    # Both tails at once; e^95 overflows in f32. The derivatives y (1 - y) of sigmoid and 1 - y^2 of tanh lose relative
    # digits on the right (PyTorch's too), never absolute ones: the middle is in the tensor and sets the scale.
    for name in ("sigmoid", "silu", "tanh"):
        case(f"unary {name} wide", functions[name], {"x": torch.linspace(-95, 95, 39, dtype=torch.float64) + 0.03})


def binary_and_reduce_cases():
    a, b = random("a", 2, 1, 3, 5), random("b", 4, 1, 5)
    for name, f in {"add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b,
                    "div": lambda a, b: a / b}.items():
        case(f"binary {name}", f, {"a": a, "b": b.sign() * (b.abs() + 0.5)})
    x = random("reduce", 3, 4, 5)
    for name, f in {"sum": torch.sum, "mean": torch.mean}.items():
        case(f"reduce {name}", lambda x, axes, f=f: f(x, dim=axes, keepdim=True), {"x": x}, options={"axes": [0, 2]})


def matmul_cases():
    for name, a, b in (("plain", (17, 13), (13, 9)), ("both broadcast", (2, 1, 3, 4), (3, 4, 5)),
                       ("weights", (2, 5, 6), (6, 7)), ("row", (1, 6), (2, 6, 3))):
        case(f"matmul {name}", lambda a, b: a @ b, {"a": random(name + " a", *a), "b": random(name + " b", *b)})


def row_cases():
    case("softmax", primitives.softmax, {"x": random("softmax", 2, 3, 19, scale=2)})
    # Multiples of 2^-10, exact in f32: the rounding of an input near 1000 would be the whole error.
    case("softmax far from zero", primitives.softmax,
         {"x": torch.round((random("softmax far", 3, 9) + 1000) * 1024) / 1024})
    for name, scale, epsilon in (("", 1.0, 1e-5), (" of small rows", 1e-3, 1e-6), (" without epsilon", 1.0, 0.0)):
        case(f"rms_norm{name}", primitives.rms_norm,
             {"x": random("norm x", 2, 5, 21, scale=scale), "weight": random("norm weight", 21, shift=1)},
             options={"epsilon": epsilon})
    case("swiglu", lambda gate, up: primitives.silu(gate) * up,
         {"gate": random("gate", 2, 5, 19, scale=3), "up": random("up", 2, 5, 19)})
    case("embedding", primitives.embedding, {"table": random("table", 9, 5)},
         {"ids": torch.tensor([[3, 0, 3, 8, 1], [8, 3, 2, 2, 7]])})  # repeated, and rows never used


def cross_entropy_cases():
    logits = random("logits", 2, 6, 13, scale=3)
    targets = torch.tensor([[0, 12, -1, 4, 4, 7], [-1, 5, 11, 2, -1, 9]])
    case("cross_entropy_by_row", primitives.cross_entropy_by_row, {"logits": logits}, {"targets": targets},
         {"ignore": -1})
    case("cross_entropy mean", primitives.cross_entropy, {"logits": logits}, {"targets": targets}, {"ignore": -1})
    # A class may be the one that is ignored.
    case("cross_entropy mean ignoring a class", primitives.cross_entropy, {"logits": logits},
         {"targets": targets.clamp(min=0)}, {"ignore": 4})
    far = torch.round((logits + 1000) * 1024) / 1024
    case("cross_entropy mean far from zero", primitives.cross_entropy, {"logits": far},
         {"targets": targets.clamp(min=0)}, {"ignore": -1})


def rotary_cases():
    # Tables of random numbers: the rule must also hold where c^2 + s^2 is not 1.
    for layout in ("interleaved", "half_split"):
        for name, head_dim, table in (("shared table", 8, (1, 1, 5, 4)), ("table by batch", 6, (2, 1, 5, 3)),
                                      ("table by head", 6, (1, 3, 5, 3)), ("full table", 6, (2, 3, 5, 3)),
                                      ("one position for all", 6, (1, 3, 1, 3)), ("partial", 10, (1, 1, 5, 3))):
            name = f"rotary {layout} {name}"
            case(name, primitives.rotary, {"x": random(name + " x", 2, 3, 5, head_dim),
                                           "cos": random(name + " cos", *table), "sin": random(name + " sin", *table)},
                 options={"layout": layout})


def attention_case(name, batch, heads, kv_heads, q_length, k_length, qk_dim, v_dim, biases={}, ids={}, options={},
                   key_growth=1.0):
    inputs = {"q": random(name + " q", batch, heads, q_length, qk_dim, scale=1.5),
              "k": random(name + " k", batch, kv_heads, k_length, qk_dim, scale=1.5),
              "v": random(name + " v", batch, kv_heads, k_length, v_dim)}
    inputs["k"] *= torch.linspace(1, key_growth, k_length, dtype=torch.float64)[:, None]
    inputs.update({key: random(f"{name} {key}", *shape) for key, shape in biases.items()})

    def f(**arguments):
        out, log_sum_exp = primitives.attention(**arguments)
        return out, {"log_sum_exp": log_sum_exp}

    case(f"attention {name}", f, inputs, ids, options)


def attention_cases():
    attention_case("causal", 2, 2, 2, 7, 7, 8, 8)
    attention_case("not causal", 1, 2, 2, 6, 6, 4, 4, options={"causal": False, "scale": 0.3})
    attention_case("grouped, widths differ", 2, 6, 2, 5, 5, 6, 10)
    attention_case("one kv head, narrow values", 1, 3, 1, 5, 5, 10, 3)
    attention_case("decoding", 2, 4, 2, 3, 9, 6, 5)
    attention_case("one query", 2, 2, 2, 1, 7, 4, 4)
    attention_case("segments", 2, 2, 1, 8, 8, 4, 6,
                   ids={"segments": torch.tensor([[0, 0, 0, 1, 1, 2, 2, 2], [5, 5, 5, 5, 5, 5, 5, 9]])})
    attention_case("segments shared by the batch, decoding", 2, 2, 2, 4, 8, 4, 4,
                   ids={"segments": torch.tensor([[0, 0, 0, 0, 0, 3, 3, 3]])})
    attention_case("segments not causal", 1, 2, 2, 7, 7, 4, 4, options={"causal": False},
                   ids={"segments": torch.tensor([[1, 1, 0, 0, 0, 4, 1]])})
    # Several tiles of queries and of keys. Keys grow, so that a later tile often holds the largest score so far.
    attention_case("long", 1, 1, 1, 70, 560, 2, 2, key_growth=3.0)
    attention_case("bias by distance", 2, 4, 2, 6, 6, 4, 5, biases={"bias_by_distance": (4, 6)})
    attention_case("bias by distance, shared, longer than needed", 1, 2, 2, 3, 7, 4, 4,
                   biases={"bias_by_distance": (1, 9)})
    attention_case("bias for all batches", 2, 2, 2, 4, 6, 4, 4, biases={"bias": (1, 2, 4, 6)})
    attention_case("bias for all heads", 2, 4, 2, 5, 5, 4, 3, biases={"bias": (2, 1, 5, 5)}, options={"causal": False})
    attention_case("both biases and segments", 2, 2, 1, 6, 6, 4, 4,
                   biases={"bias_by_distance": (2, 6), "bias": (2, 2, 6, 6)},
                   ids={"segments": torch.tensor([[0, 0, 1, 1, 1, 1]])})
    attention_case("bias by key", 2, 2, 1, 4, 6, 4, 4, biases={"bias": (1, 6)})
    attention_case("capped scores", 1, 2, 2, 6, 6, 4, 4, options={"cap": 1.5})
    attention_case("far scores", 2, 2, 2, 7, 7, 4, 4, biases={"far_q": (2, 2, 7, 4), "far_k": (2, 2, 7, 4)},
                   options={"far_from": 3})
    attention_case("far scores, grouped, decoding, biased", 1, 4, 2, 3, 7, 4, 3,
                   biases={"far_q": (1, 4, 3, 4), "far_k": (1, 2, 7, 4), "bias_by_distance": (4, 7)},
                   options={"far_from": 2, "scale": 0.7})
    attention_case("far scores and segments", 2, 2, 2, 6, 6, 4, 4,
                   biases={"far_q": (2, 2, 6, 4), "far_k": (2, 2, 6, 4)}, options={"far_from": 2},
                   ids={"segments": torch.tensor([[0, 0, 0, 0, 1, 1], [7, 3, 3, 3, 3, 3]])})


settings = {"width": 16, "layers": 2, "heads": 2, "hidden": 24, "vocab": 11, "length": 12, "batch": 2,
            "norm_epsilon": 1e-5, "rope_base": 10000.0, "train_length": 12}


def model_parameters():
    width, hidden, vocab = settings["width"], settings["hidden"], settings["vocab"]
    shapes = {"embedding.weight": (vocab, width)}
    for layer in range(settings["layers"]):
        block = f"block.{layer}."
        shapes[block + "attention_norm.weight"] = (width,)
        shapes.update({f"{block}attention.{name}.weight": (width, width) for name in ("q", "k", "v", "out")})
        shapes[block + "mlp_norm.weight"] = (width,)
        shapes.update({f"{block}mlp.{name}.weight": (width, hidden) for name in ("gate", "up")})
        shapes[block + "mlp.down.weight"] = (hidden, width)
    shapes.update({"final_norm.weight": (width,), "head.weight": (width, vocab)})
    # Large enough that queries, keys and gates do not stay near zero, where wrong formulas look right.
    return {name: random(name, *shape, scale=0.3, shift=1.0 if "norm" in name else 0.0)
            for name, shape in shapes.items()}


def model_loss(parameters, encoding, ids, targets):
    logits = primitives.transformer(parameters, settings, encoding, ids)
    return primitives.cross_entropy(logits, targets, ignore=-1), logits


def learning_rate(step, peak, final, warmup, steps):
    if step < warmup:
        return peak * (step + 1) / warmup
    return final + (peak - final) * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))


def adamw_steps(initial, ids, targets):
    options = {"encoding": "rope", "steps": 10, "warmup": 3, "peak": 0.02, "final": 0.002, "beta1": 0.9, "beta2": 0.95,
               "epsilon": 1e-8, "weight_decay": 0.1, "clip_norm": 1.0}
    parameters = {name: value.clone().requires_grad_() for name, value in initial.items()}
    linear = [p for name, p in parameters.items() if p.dim() == 2 and name != "embedding.weight"]
    others = [p for name, p in parameters.items() if p.dim() == 1 or name == "embedding.weight"]
    optimizer = torch.optim.AdamW([{"params": linear, "weight_decay": options["weight_decay"]},
                                   {"params": others, "weight_decay": 0.0}],
                                  betas=(options["beta1"], options["beta2"]), eps=options["epsilon"])
    losses, norms, rates = [], [], []
    for step in range(options["steps"]):
        rate = learning_rate(step, options["peak"], options["final"], options["warmup"], options["steps"])
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        loss, _ = model_loss(parameters, options["encoding"], ids, targets)
        loss.backward()
        norm = torch.sqrt(sum((p.grad ** 2).sum() for p in parameters.values()))
        # Not torch.nn.utils.clip_grad_norm_, which divides by norm + 1e-6.
        factor = min(1.0, options["clip_norm"] / norm.item())
        for p in parameters.values():
            p.grad *= factor
        optimizer.step()
        losses.append(loss.item())
        norms.append(norm.item())
        rates.append(rate)
    assert min(norms) < options["clip_norm"] < max(norms), "clipping must act in some steps and not in others"
    final = ("embedding.weight", "block.0.attention_norm.weight", "block.0.attention.q.weight",
             "block.1.mlp.down.weight", "head.weight")
    return {"options": options, "losses": losses, "gradient_norms": norms, "learning_rates": rates,
            "final": {name: parameters[name] for name in final}}


def write_model():
    generator = torch.Generator().manual_seed(11)
    tokens = torch.randint(settings["vocab"], (settings["batch"], settings["length"] + 1), generator=generator)
    ids, targets = tokens[:, :-1], tokens[:, 1:]
    initial = model_parameters()
    encodings = {}
    for encoding in ("rope", "hope", "nope"):
        parameters = {name: value.clone().requires_grad_() for name, value in initial.items()}
        loss, logits = model_loss(parameters, encoding, ids, targets)
        loss.backward()
        encodings[encoding] = {"loss": loss.item(), "logits": logits,
                               "gradients": {name: p.grad for name, p in parameters.items()}}
    write("model.json", {"settings": settings, "ids": ids, "targets": targets, "parameters": initial,
                         "encodings": encodings, "adamw": adamw_steps(initial, ids, targets)})


def write_hope():
    lengths = [64, 128, 256, 512, 1024, 2048, 4096]
    rows = {}
    for base, head_dim in ((1e4, 16), (1e4, 32), (1e4, 64), (1e4, 128), (5e5, 64), (5e5, 128)):
        rows[f"base {base:g}, head_dim {head_dim}"] = {
            "base": base, "head_dim": head_dim,
            "kept": [primitives.kept_components(base, head_dim, length) for length in lengths],
            "frequencies": primitives.frequencies(base, head_dim)}
    write("hope.json", {"train_lengths": lengths, "rows": rows})


unary_cases()
binary_and_reduce_cases()
matmul_cases()
row_cases()
cross_entropy_cases()
rotary_cases()
attention_cases()
for add in (torch_cases.unary_cases, torch_cases.binary_cases, torch_cases.reduce_cases, torch_cases.axis_cases,
            torch_cases.choice_cases, torch_cases.arrangement_cases, torch_cases.product_and_norm_cases,
            torch_cases.attention_cases):
    add(case, random)
write("ops.json", {"cases": cases})
write_model()
write("gpt2.json", gpt2.content(random))
write_hope()
