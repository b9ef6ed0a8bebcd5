// Errors about one argument name it, also where it was never given.
#include "core/arguments.hpp"

#include <doctest/doctest.h>

#include <functional>
#include <string>

#include "autograd/ops.hpp"
#include "core/axis.hpp"
#include "core/ops/binary.hpp"
#include "core/ops/concat.hpp"
#include "core/ops/conv_keys.hpp"
#include "core/ops/cumsum.hpp"
#include "core/ops/dropout.hpp"
#include "core/ops/embedding.hpp"
#include "core/ops/flip.hpp"
#include "core/ops/gather.hpp"
#include "core/ops/layer_norm.hpp"
#include "core/ops/linear.hpp"
#include "core/ops/matmul.hpp"
#include "core/ops/pad.hpp"
#include "core/ops/reduce.hpp"
#include "core/ops/rms_norm.hpp"
#include "core/ops/softmax.hpp"
#include "core/ops/swiglu.hpp"
#include "core/ops/top_k.hpp"
#include "core/ops/unary.hpp"
#include "core/ops/where.hpp"

using namespace phasor;

namespace {

struct Refused {
  std::function<void()> call;
  std::string begins;
};

template <class E>
void check_refused(const std::vector<Refused>& all) {
  for (const Refused& refused : all) {
    std::string message = "nothing was thrown";
    try {
      refused.call();
    } catch (const E& error) {
      message = error.what();
    }
    CHECK_MESSAGE(message.starts_with(refused.begins), message, " -- should begin with ", refused.begins);
  }
}

const Tensor none, matrix = Tensor::full({2, 2}, 1, Dtype::f32), row = Tensor::full({2}, 1, Dtype::f32),
                   integers = Tensor::zeros({2, 2}, Dtype::i64), four = Tensor::full({1, 1, 2, 2}, 1, Dtype::f32),
                   whole_four = Tensor::zeros({1, 1, 2, 2}, Dtype::i64);

}  // namespace

TEST_CASE("arguments: what is not defined is reported as that, not as a scalar") {
  check_refused<ShapeError>({
      {[] { add(none, matrix); }, "add: a is not defined"},
      {[] { mul(matrix, none); }, "mul: b is not defined"},
      {[] { pow(none, none); }, "pow: a is not defined"},
      {[] { outer(row, none); }, "outer: b is not defined"},
      {[] { exp(none); }, "exp: x is not defined"},
      {[] { where(none, matrix, matrix); }, "where: condition is not defined"},
      {[] {
         where(Tensor::zeros({2, 2}, Dtype::boolean), matrix, none);
       },
       "where: b is not defined"},
      {[] {
         concat({none, matrix}, 0);
       },
       "concat: part 0 is not defined"},
      {[] {
         concat({matrix, none}, 0);
       },
       "concat: part 1 is not defined"},
      {[] { sum(none); }, "sum: x is not defined"},
      {[] { variance(none, {0}); }, "variance: x is not defined"},
      {[] { softmax(none); }, "softmax: x is not defined"},
      {[] { cumsum(none, 0); }, "cumsum: x is not defined"},
      {[] { flip(none, 0); }, "flip: x is not defined"},
      {[] { pad(none, 0, 1, 1); }, "pad: x is not defined"},
      {[] { top_k(none, 1); }, "top_k: x is not defined"},
      {[] { argmax(none); }, "argmax: x is not defined"},
      {[] { dropout(none, 0.5, Random{.seed = 1}); }, "dropout: x is not defined"},
      {[] { matmul(matrix, none); }, "matmul: b is not defined"},
      {[] { linear(matrix, none, row); }, "linear: weight is not defined"},
      {[] { linear(matrix, matrix, none); }, "linear: bias is not defined"},
      {[] { swiglu(matrix, none); }, "swiglu: up is not defined"},
      {[] { rms_norm(matrix, none, 0); }, "rms_norm: weight is not defined"},
      {[] { layer_norm(matrix, row, none, 0); }, "layer_norm: bias is not defined"},
      {[] { gather(matrix, 0, none); }, "gather: ids is not defined"},
      {[] { index_select(matrix, 0, none); }, "index_select: ids is not defined"},
      {[] { scatter_add(matrix, 0, integers, none); }, "scatter_add: source is not defined"},
      {[] { one_hot(none, 3, Dtype::f32); }, "one_hot: ids is not defined"},
      {[] { embedding(none, integers); }, "embedding: table is not defined"},
      {[] { embedding(matrix, none); }, "embedding: ids is not defined"},
      {[] { cross_entropy(matrix, none); }, "cross_entropy: targets is not defined"},
      {[] { conv_keys(four, none); }, "conv_keys: weight is not defined"},
      {[] { rotary(four, none, row, RotaryLayout::interleaved); }, "rotary: cos is not defined"},
      {[] { attention(Var(), Var(four), Var(four)); }, "attention: q is not defined"},
      {[] { attention(Var(four), Var(four), Var()); }, "attention: v is not defined"},
      {[] { softmax(Var()); }, "softmax: x is not defined"},
      {[] { checked_axis("op", "x", none, 0); }, "op: x is not defined"},
      {[] { copy_into(matrix, none); }, "copy: x is not defined"},
  });
  CHECK_THROWS_WITH_AS(none.data<float>(), doctest::Contains("is not defined"), DtypeError);
}

TEST_CASE("arguments: a wrong dtype is reported with the argument, the dtype and the shape") {
  check_refused<DtypeError>({
      {[] { require_float("op", "x", integers); }, "op: x needs f32 or f64, got i64 [2, 2]"},
      {[] { exp(integers); }, "exp: x needs f32 or f64, got i64 [2, 2]"},
      {[] { pow(integers, integers); }, "pow: a needs f32 or f64, got i64 [2, 2]"},
      {[] { sum(integers); }, "sum: x needs f32 or f64, got i64 [2, 2]"},
      {[] { log_softmax(integers); }, "log_softmax: x needs f32 or f64, got i64 [2, 2]"},
      {[] { cumsum(integers, 0); }, "cumsum: x needs f32 or f64, got i64 [2, 2]"},
      {[] { top_k(integers, 1); }, "top_k: x needs f32 or f64, got i64 [2, 2]"},
      {[] { argmax(integers); }, "argmax: x needs f32 or f64, got i64 [2, 2]"},
      {[] { dropout(integers, 0, Random{.seed = 1}); }, "dropout: x needs f32 or f64, got i64 [2, 2]"},
      {[] { matmul(integers, integers); }, "matmul: a needs f32 or f64, got i64 [2, 2]"},
      {[] { linear(integers, matrix, row); }, "linear: x needs f32 or f64, got i64 [2, 2]"},
      {[] { swiglu(integers, integers); }, "swiglu: gate needs f32 or f64, got i64 [2, 2]"},
      {[] { rms_norm(integers, row, 0); }, "rms_norm: x needs f32 or f64, got i64 [2, 2]"},
      {[] { layer_norm(integers, row, row, 0); }, "layer_norm: x needs f32 or f64, got i64 [2, 2]"},
      {[] { gather(integers, 0, integers); }, "gather: x needs f32 or f64, got i64 [2, 2]"},
      {[] { gather(matrix, 0, matrix); }, "gather: ids needs i32 or i64, got f32 [2, 2]"},
      {[] { index_select(matrix, 0, row); }, "index_select: ids needs i32 or i64, got f32 [2]"},
      {[] { embedding(integers, integers); }, "embedding: table needs f32 or f64, got i64 [2, 2]"},
      {[] { embedding(matrix, row); }, "embedding: ids needs i32 or i64, got f32 [2]"},
      {[] { cross_entropy(integers, row); }, "cross_entropy: logits needs f32 or f64, got i64 [2, 2]"},
      {[] { cross_entropy(matrix, row); }, "cross_entropy: targets needs i32 or i64, got f32 [2]"},
      {[] { conv_keys(whole_four, four); }, "conv_keys: x needs f32 or f64, got i64 [1, 1, 2, 2]"},
      {[] { rotary(whole_four, row, row, RotaryLayout::interleaved); },
       "rotary: x needs f32 or f64, got i64 [1, 1, 2, 2]"},
      {[] { attention(Var(whole_four), Var(four), Var(four)); }, "attention: q needs f32 or f64, got i64 [1, 1, 2, 2]"},
  });
}
