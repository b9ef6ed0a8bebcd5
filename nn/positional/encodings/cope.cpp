// CoPE: positions are counted by content - a key is as far away as the gates between it and the query are open.
//
//   gate[m, j] = sigmoid(score[m, j]),   p[m, n] = min(63, sum over j = n .. m of gate[m, j])
//   score[m, n] += q[m] . e(p[m, n]),    e linear between the learned vectors e[0], e[1], .. e[63]
//
// As in the paper's listing the gates see scaled scores, q in q . e is unscaled, and e starts at zero, one table for
// the heads of a layer: until it learns, the model is one without positions. (The DAPE authors' code does the same.)
#include "core/ops/binary.hpp"
#include "core/ops/compare.hpp"
#include "core/ops/where.hpp"
#include "nn/positional/encoding.hpp"

namespace phasor::encoding {

constexpr int64_t rows = 64;

// The row below a position; its upper neighbour is the next one, or itself at the end.
static Tensor row_below(const Tensor& positions) {
  const auto number = [&](double value) { return Tensor::scalar(value, positions.dtype(), positions.device()); };
  // NaN takes row 0 and stays NaN through p - r.
  const Tensor counted = where(greater_equal(positions, number(0)), positions, number(0));
  return minimum(counted, number(rows - 2)).to(Dtype::i32);
}

static PositionalEncoding make(const AttentionShape& s, ParameterList& parameters) {
  std::vector<Var> tables;
  for (int64_t i = 0; i < s.layers; ++i)
    tables.push_back(
        parameters.add("layer." + std::to_string(i) + ".weight", Tensor::zeros({s.head_dim, rows}, s.dtype)));
  PositionalEncoding encoding;
  encoding.transform = [=](const Var& scores, const PositionalContext& c) {
    const Var zero = Tensor::scalar(0, scores.dtype());
    const Var gates = where(c.visible, sigmoid(scores), zero);
    const Var counted = clamp(flip(cumsum(flip(gates, -1), -1), -1), 0, rows - 1);
    const Var of_rows = matmul(c.q, tables[static_cast<size_t>(c.layer)]);  // [batch, heads, q_length, rows]
    // e(p) = e[r] + (p - r) (e[r + 1] - e[r]) with r = floor(p), but 62 at p = 63.
    const Tensor below = row_below(counted.value());
    const Var upper = slice(of_rows, 3, 1, rows), lower = slice(of_rows, 3, 0, rows - 1);
    return scores + gather(lower, 3, below) + (counted - below.to(scores.dtype())) * gather(upper - lower, 3, below);
  };
  return encoding;
}

EncodingEntry cope() {
  return {.summary = "positions counted by content: open gates between key and query",
          .paper = "Golovneva et al., CoPE, arXiv:2405.18719",
          .claims = {Claim::relative, Claim::preserves_norm},
          .make = make};
}

}  // namespace phasor::encoding
