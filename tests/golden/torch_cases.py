"""Cases of the ops that PyTorch has too: its own function gives the value, its own rule the gradient.

`case` and `random` are those of generate.py.
"""

import torch
from torch.nn import functional

import primitives


def exact(x):
    """The nearest multiple of 2^-10, exact in f32: far from zero the rounding of an input would be the whole error."""
    return torch.round(x * 1024) / 1024


def unary_cases(case, random):
    functions = {"abs": torch.abs, "log1p": torch.log1p, "rsqrt": torch.rsqrt, "gelu": functional.gelu,
                 "gelu_tanh": lambda x: functional.gelu(x, approximate="tanh"), "relu": torch.relu,
                 # Above the threshold PyTorch returns x.
                 "softplus": lambda x: functional.softplus(x, threshold=1000)}
    lowest = {"log1p": -0.9, "rsqrt": 0.1}
    for name, f in functions.items():
        x = random(name, 3, 11, scale=2)
        case(f"unary {name}", f, {"x": x.abs() + lowest[name] if name in lowest else x})
    for name in ("log1p", "gelu", "gelu_tanh"):
        case(f"unary {name} near zero", functions[name], {"x": random(name + " zero", 9, scale=1e-6)})
    for name in ("gelu", "gelu_tanh", "softplus"):
        case(f"unary {name} wide", functions[name], {"x": torch.linspace(-95, 95, 39, dtype=torch.float64) + 0.03})
    case("unary softplus far left", functions["softplus"], {"x": random("softplus left", 9, scale=0.5, shift=-30)})
    # PyTorch's gelus lose their digits here, 1 + erf and 1 + tanh: the same functions without the difference.
    case("unary gelu far left", lambda x: x * torch.erfc(-x / 2 ** 0.5) / 2,
         {"x": random("gelu left", 9, scale=0.5, shift=-6)})
    case("unary gelu_tanh far left",
         lambda x: x / (1 + torch.exp(-2 * (2 / torch.pi) ** 0.5 * (x + 0.044715 * x ** 3))),
         {"x": random("gelu_tanh left", 9, scale=0.2, shift=-4)})
    # PyTorch's choice where there is no derivative.
    at_kinks = torch.tensor([-1.5, 0.0, -0.0, 2.0, 0.0], dtype=torch.float64)
    for name in ("abs", "relu"):
        case(f"unary {name} at zero", functions[name], {"x": at_kinks})
    at_bounds = torch.tensor([-2, -0.5, 0.25, 1.25, 3.0]).double()
    for name, x in (("", random("clamp", 4, 7)), (" at the bounds", at_bounds)):
        case(f"clamp{name}", lambda x, low, high: torch.clamp(x, low, high), {"x": x},
             options={"low": -0.5, "high": 1.25})


def binary_cases(case, random):
    a, b = random("a", 2, 1, 3, 5), random("b", 4, 1, 5)
    ties = torch.tensor([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]], dtype=torch.float64)
    for name, f in {"minimum": lambda a, b: torch.minimum(a, b), "maximum": lambda a, b: torch.maximum(a, b)}.items():
        case(f"binary {name}", f, {"a": a, "b": b})
        case(f"binary {name} of equal numbers", f, {"a": ties, "b": ties[:1].clone()})
    case("binary pow", lambda a, b: a ** b, {"a": a.abs() + 0.3, "b": b})
    case("binary pow of zero", lambda a, b: a ** b, {"a": torch.tensor([0, 0, 2, 2, 1.5]).double(),
                                                     "b": torch.tensor([2, 0, 0, 3, -1]).double()})
    for exponent, x in ((2, a), (3, a), (-1.5, a.abs() + 0.3), (0.5, a.abs() + 0.3), (-2, a.sign() * (a.abs() + 0.3))):
        case(f"pow_number {exponent}", lambda a, exponent: a ** exponent, {"a": x}, options={"exponent": exponent})
    case("binary outer", lambda a, b: torch.einsum("...m,...n->...mn", a, b),
         {"a": random("outer a", 2, 1, 3), "b": random("outer b", 4, 5)})


def reduce_cases(case, random):
    def dimensions(x, axes):
        return axes or list(range(x.dim()))

    functions = {"max": lambda x, axes: torch.amax(x, dimensions(x, axes), keepdim=True),
                 "logsumexp": lambda x, axes: torch.logsumexp(x, dimensions(x, axes), keepdim=True),
                 "variance": lambda x, axes: torch.var(x, dimensions(x, axes), unbiased=False, keepdim=True)}
    for name, f in functions.items():
        for axes in ([0, 2], [-1], [-2], []):
            case(f"reduce {name} over {axes}", f, {"x": random(name, 3, 4, 5)}, options={"axes": axes})
    case("reduce max of equal numbers", functions["max"], options={"axes": [1]},
         inputs={"x": torch.tensor([[1.0, 2.0, 2.0], [3.0, 3.0, 3.0]], dtype=torch.float64)})
    # The gradient of logsumexp is e^(x - y): the rounding of y, in f32 up to 2^-15 at 1000, is its relative error
    # (PyTorch's too), so 1000 is too far for the limit of f32.
    for name, distance in (("logsumexp", 100), ("variance", 1000)):
        case(f"reduce {name} far from zero", functions[name], {"x": exact(random("far", 5, 7) + distance)},
             options={"axes": [-1]})


def axis_cases(case, random):
    functions = {"cumsum": torch.cumsum, "softmax": torch.softmax, "log_softmax": torch.log_softmax}
    for name, f in functions.items():
        for axis in (-1, -2, 0):
            case(f"{name} along {axis}", lambda x, axis: f(x, axis), {"x": random(name, 3, 7, 4, scale=2)},
                 options={"axis": axis})
    case("log_softmax far from zero", lambda x, axis: torch.log_softmax(x, axis),
         {"x": exact(random("log_softmax far", 9, 3) - 1000)}, options={"axis": 0})


def choice_cases(case, random):
    condition = torch.tensor([[1, 0, 0, 1, 1], [0, 1, 0, 1, 0], [1, 1, 0, 0, 1]])
    case("where", lambda condition, a, b: torch.where(condition != 0, a, b),
         {"a": random("where a", 2, 3, 5), "b": random("where b", 3, 1)}, {"condition": condition})
    case("where broadcast condition", lambda condition, a, b: torch.where(condition != 0, a, b),
         {"a": random("where c", 1, 5), "b": random("where d", 3, 5)}, {"condition": condition[:, :1]})
    ids = torch.tensor([[[3, 0, 0, 1], [2, 2, 2, 2]], [[1, 3, 0, 3], [0, 0, 1, 3]]])  # repeated
    for axis, chosen in ((-1, ids), (1, ids.transpose(1, 2)), (-3, ids.permute(2, 0, 1))):
        # The extent at the axis differs from that of the ids.
        shape = list(chosen.shape)
        shape[axis] = 5
        x = random(f"gather {axis}", *shape)
        case(f"gather along {axis}", lambda x, ids, axis: torch.gather(x, axis, ids), {"x": x},
             {"ids": chosen.contiguous()}, {"axis": axis})
        case(f"scatter_add along {axis}", lambda x, source, ids, axis: torch.scatter_add(x, axis, ids, source),
             {"x": x, "source": random(f"source {axis}", *chosen.shape)}, {"ids": chosen.contiguous()}, {"axis": axis})
    for axis in (0, -2):
        case(f"index_select along {axis}", lambda x, ids, axis: torch.index_select(x, axis, ids),
             {"x": random("index_select", 4, 5, 3)}, {"ids": torch.tensor([3, 0, 3, 3, 1, 2])}, {"axis": axis})


def arrangement_cases(case, random):
    def pad(x, axis, before, after, value):
        return functional.pad(x, [0, 0] * (x.dim() - 1 - axis % x.dim()) + [before, after], value=value)

    parts = {"a": random("part a", 2, 3, 4), "b": random("part b", 2, 1, 4), "c": random("part c", 2, 2, 4)}
    case("concat along -2", lambda a, b, c, axis: torch.cat([a, b, c], axis), parts, options={"axis": -2})
    case("concat along 0", lambda a, b, axis: torch.cat([a, b], axis),
         {"a": random("part d", 1, 3), "b": random("part e", 4, 3)}, options={"axis": 0})
    equal = {name: random(f"stacked {name}", 2, 3) for name in "abc"}
    for axis in (0, 1, -1):
        case(f"stack along {axis}", lambda a, b, c, axis: torch.stack([a, b, c], axis), equal, options={"axis": axis})
        case(f"flip along {axis}", lambda x, axis: torch.flip(x, [axis]), {"x": random("flip", 4, 3)},
             options={"axis": axis})
    for axis, before, after, value in ((-1, 1, 2, 0.0), (0, 3, 0, -1.5), (-2, 0, 2, 0.5)):
        case(f"pad along {axis}", pad, {"x": random("pad", 2, 3, 4)},
             options={"axis": axis, "before": before, "after": after, "value": value})


def product_and_norm_cases(case, random):
    for name, rows in (("rows", (2, 7)), ("one row", ())):
        case(f"linear {name}", lambda x, weight, bias: functional.linear(x, weight.T, bias),
             {"x": random(f"linear x {name}", *rows, 13), "weight": random("linear weight", 13, 9),
              "bias": random("linear bias", 9)})

    def conv_keys(x, weight):
        return functional.conv2d(x, weight[:, :, None, :], padding=(0, (weight.shape[-1] - 1) // 2))

    for name, x, weight in (("", (2, 3, 4, 9), (2, 3, 5)), (" of one key", (1, 2, 3, 5), (4, 2, 1)),
                            (" wider than the keys", (1, 2, 3, 3), (2, 2, 7))):
        case(f"conv_keys{name}", conv_keys,
             {"x": random(f"conv x{name}", *x), "weight": random(f"conv weight{name}", *weight)})
    for name, scale, shift, epsilon in (("", 1.0, 0.0, 1e-5), (" of small rows", 1e-3, 0.0, 1e-6),
                                        (" without epsilon", 1.0, 0.5, 0.0), (" far from zero", 1.0, 1000.0, 1e-5)):
        x = random("layer_norm x" + name, 2, 5, 21, scale=scale, shift=shift)
        case(f"layer_norm{name}",
             lambda x, weight, bias, epsilon: functional.layer_norm(x, weight.shape, weight, bias, epsilon),
             {"x": exact(x) if shift == 1000 else x, "weight": random("layer_norm weight", 21, shift=1),
              "bias": random("layer_norm bias", 21)}, options={"epsilon": epsilon})


def attention_cases(case, random):
    """Attention with its log-sum-exp: [out, log_sum_exp] side by side, so that one cotangent reaches both."""
    def both(**arguments):
        out, log_sum_exp = primitives.dense_attention(**arguments)
        return torch.cat([out, log_sum_exp[..., None]], -1)

    def operands(name, batch, heads, kv_heads, q_length, k_length, qk_dim, v_dim):
        return {"q": random(name + " q", batch, heads, q_length, qk_dim, scale=1.5),
                "k": random(name + " k", batch, kv_heads, k_length, qk_dim, scale=1.5),
                "v": random(name + " v", batch, kv_heads, k_length, v_dim)}

    prefix = "attention_with_log_sum_exp "
    case(prefix + "causal", both, operands("lse", 2, 2, 2, 6, 6, 4, 4))
    case(prefix + "grouped, decoding", both, operands("lse grouped", 2, 4, 2, 3, 7, 4, 3))
    case(prefix + "not causal, scaled", both, operands("lse scaled", 1, 2, 2, 4, 6, 4, 4),
         options={"causal": False, "scale": 0.3})
    case(prefix + "both biases and segments", both,
         operands("lse biased", 2, 2, 1, 5, 5, 4, 4) | {"bias_by_distance": random("lse by distance", 2, 6),
                                                      "bias": random("lse bias", 2, 1, 5, 5)},
         {"segments": torch.tensor([[0, 0, 1, 1, 1]])})

    # Nothing flows back from out, and v has no part in it: k stands for it.
    def alone(q, k):
        return primitives.dense_attention(q, k, k)[1]

    narrow = operands("lse alone", 1, 2, 2, 5, 5, 4, 4)
    case("log_sum_exp alone", alone, {"q": narrow["q"], "k": narrow["k"]})
