// 5. Attention: who looks at whom. Composed of products and a softmax, then as one op that never stores the scores.
#include "core/ops/attention.hpp"

#include <cmath>
#include <iostream>

#include "autograd/ops.hpp"
#include "core/allocator.hpp"

using namespace phasor;

int main() {
  constexpr int64_t length = 4, dim = 8;
  Random random{.seed = 1};
  const auto draw = [&](int64_t tokens) { return Var(normal({1, 1, tokens, dim}, 0, 1, Dtype::f64, random)); };
  const Var q = draw(length), k = draw(length), v = draw(length);

  // score = q.k / sqrt(dim): how much a query likes a key. Later keys are hidden: -inf becomes probability 0.
  const Var scores = matmul(q, transpose(k, -1, -2)) / std::sqrt(double{dim});
  const Var hidden = Tensor::scalar(-INFINITY, Dtype::f64);
  const Var pattern = softmax(where(visible_pairs(length, length, {}), scores, hidden));
  std::cout << "pattern\n" << reshape(pattern, {length, length}).value() << '\n';
  const Var by_hand = matmul(pattern, v), one_op = attention(q, k, v);
  std::cout << "the op agrees to 14 digits: " << std::boolalpha
            << (max(abs(by_hand - one_op), {}).value().to_vector<double>()[0] < 1e-14) << '\n';

  // A bias by distance: the smaller it is far away, the shorter the sight (ALiBi: minus the distance times a slope).
  constexpr double slope = 2;
  const Var distance = Tensor::of<double>({1, length}, {0, 1, 2, 3});
  const Var near =
      attention_unfused(q, k, v, {}, {.by_distance = distance * -slope}, {.at = [](ScoreStage s, const Var& x) {
                          if (s == ScoreStage::pattern)
                            std::cout << "pattern with a slope\n" << reshape(x, {length, length}).value() << '\n';
                          return x;
                        }});

  // The op's memory grows with the length, that of the scores with its square.
  for (const int64_t tokens : {1024, 2048}) {
    const Var x = draw(tokens);
    reset_peak_memory();
    const int64_t before = memory_counts().bytes_in_use;
    attention(x, x, x);
    const int64_t scores_need = tokens * tokens * 8, op_took = memory_counts().peak_bytes - before;
    std::cout << tokens << " tokens: the scores would need " << scores_need / 1024
              << " KiB; the op less than a tenth: " << (op_took < scores_need / 10) << '\n';
  }
  // Question: which slope makes every token look at itself alone (to four digits)? Change `slope`.
}
