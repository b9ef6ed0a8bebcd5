// Learned absolute positions: a row of a table is added to the embedding of each token (GPT-2's encoding).
//
// It knows no position beyond its table: one row for each of the train_length positions of a training window.
#include <cmath>

#include "nn/positional/encoding.hpp"

namespace phasor::encoding {

static Tensor rows_of(const Tensor& positions, int64_t limit) {
  const std::vector<double> values = positions.to_vector<double>();
  const Tensor rows = Tensor::empty(positions.shape(), Dtype::i64);
  for (size_t i = 0; i < values.size(); ++i) {
    require<ValueError>(values[i] >= 0 && values[i] < static_cast<double>(limit) && values[i] == std::floor(values[i]),
                        "learned", "position ", values[i], " has no row; needs whole positions from 0 to ", limit - 1,
                        " (train.length = ", limit, ")");
    rows.data<int64_t>()[i] = static_cast<int64_t>(values[i]);
  }
  return rows;
}

static PositionalEncoding make(const AttentionShape& s, ParameterList& parameters) {
  Random random = parameter_random(s);
  const Var table = parameters.add("weight", normal({s.train_length, s.width}, 0, s.init_deviation, s.dtype, random));
  PositionalEncoding encoding;
  encoding.position_limit = s.train_length;
  encoding.embed = [=, limit = s.train_length](const Var& embedded, const PositionalContext& c) {
    return embedded + embedding(table, rows_of(c.q_positions, limit));
  };
  return encoding;
}

EncodingEntry learned() {
  return {.summary = "a learned vector per position, added to the embedding (GPT-2)",
          .paper = "Gehring et al., arXiv:1705.03122",
          .claims = {Claim::preserves_norm},
          .make = make};
}

}  // namespace phasor::encoding
