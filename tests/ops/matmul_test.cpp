// Matrix products: batches, transposed operands, no copies.
#include "core/ops/matmul.hpp"

#include <doctest/doctest.h>

#include "autograd/ops.hpp"
#include "core/allocator.hpp"
#include "core/parallel.hpp"
#include "tests/support/comparison.hpp"
#include "tests/support/op_case.hpp"

using namespace phasor;

namespace {

Sample sample(std::function<Shape(Extents)> a, std::function<Shape(Extents)> b, std::vector<ArgumentAxis> free_axes) {
  return {[=](Extents e, Random& random) {
            return Tensors{random_tensor(a(e), random), random_tensor(b(e), random)};
          },
          std::move(free_axes)};
}

}  // namespace

TEST_CASE("matmul: op case") {
  check_op({.op = "matmul",
            .run = [](const Tensors& x) { return matmul(x[0], x[1]); },
            .reference = [](const Tensors& x) { return reference::matmul(x[0], x[1]); },
            .differentiable = [](const std::vector<Var>& x) { return matmul(x[0], x[1]); },
            .samples =
                {
                    sample(
                        [](Extents e) {
                          return Shape{e.rows, e.width};
                        },
                        [](Extents e) {
                          return Shape{e.width, e.rows + 1};
                        },
                        {{0, 0}, {1, 1}}),
                    // One matrix for a batch, and few columns.
                    sample(
                        [](Extents e) {
                          return Shape{2, e.rows, e.width};
                        },
                        [](Extents e) {
                          return Shape{e.width, 5};
                        },
                        {{0, 0}, {0, 1}, {1, 1}}),
                    // Leading axes broadcast from both sides.
                    sample(
                        [](Extents e) {
                          return Shape{2, 1, e.rows, 3};
                        },
                        [](Extents e) {
                          return Shape{3, 3, e.width};
                        },
                        {{0, 0}, {0, 2}, {1, 0}, {1, 2}}),
                },
            .refuses = {{[] {
                           matmul(Tensor::zeros({3}, Dtype::f32), Tensor::zeros({3, 3}, Dtype::f32));
                         },
                         "rank"},
                        {[] {
                           matmul(Tensor::zeros({8, 64}, Dtype::f32), Tensor::zeros({32, 16}, Dtype::f32));
                         },
                         "64 != 32"}},
            .empty = {{0, 5}, {3, 0}, {0, 0}}});
}

TEST_CASE("matmul: shapes on both sides of every way to cut into tiles") {
  Random random{.seed = 3};
  // Tall, wide, a long inner axis whose sum is cut, one row, one column, just too few rows for panels, panels shared
  // by many rows, several blocks of the inner axis.
  for (const auto& [m, n, k] : std::vector<std::array<int64_t, 3>>{{1030, 40, 33},
                                                                   {40, 1030, 33},
                                                                   {24, 20, 5000},
                                                                   {1, 700, 900},
                                                                   {900, 1, 700},
                                                                   {7, 100, 60},
                                                                   {8, 17, 400},
                                                                   {300, 300, 300},
                                                                   {1700, 257, 65},
                                                                   {1537, 70, 770},
                                                                   {260, 135, 2100},
                                                                   {13, 65, 1030}}) {
    CAPTURE(m);
    CAPTURE(n);
    CAPTURE(k);
    const Tensor a = random_tensor({m, k}, random), b = random_tensor({k, n}, random);
    const Tensor expected = reference::matmul(a, b);
    CHECK(mismatch(matmul(a, b), Dtype::f64, expected, tolerance::f64(k)) == "");
    const Tensor a_stored_transposed = a.transpose(0, 1).clone().transpose(0, 1);
    const Tensor b_stored_transposed = b.transpose(0, 1).clone().transpose(0, 1);
    CHECK(mismatch(matmul(a_stored_transposed, b_stored_transposed), Dtype::f64, expected, tolerance::f64(k)) == "");
    CHECK(mismatch(matmul(a.to(Dtype::f32), b_stored_transposed.to(Dtype::f32)), Dtype::f32,
                   reference::matmul(a.to(Dtype::f32).to(Dtype::f64), b.to(Dtype::f32).to(Dtype::f64)),
                   tolerance::f32(k, 0)) == "");
  }
}

TEST_CASE("matmul: a transposed operand is read where it lies") {
  Random random{.seed = 3};
  const Tensor a = random_tensor({256, 128}, random), b = random_tensor({256, 128}, random);
  const auto peak_of = [](const Tensor& x, const Tensor& y) {
    reset_peak_memory();
    const int64_t before = memory_counts().bytes_in_use;
    with_threads(1, [&] { matmul(x, y); });  // each thread packs tiles of its own
    return memory_counts().peak_bytes - before;
  };
  // Tiles pack what they read block by block, but no operand is copied as a whole.
  const int64_t result_bytes = 256 * 256 * 8, operand_bytes = 256 * 128 * 8;
  CHECK(peak_of(a, b.transpose(0, 1)) < result_bytes + operand_bytes);
  CHECK(peak_of(a.transpose(0, 1), b) < result_bytes + operand_bytes);
  CHECK(peak_of(a.slice(1, 0, 64), b.slice(1, 64, 128).transpose(0, 1)) < result_bytes + operand_bytes);
  // Many rows share one packed b: that is copied, a is not.
  const Tensor tall = random_tensor({4096, 128}, random);
  CHECK(peak_of(tall, b.transpose(0, 1)) < 4096 * 256 * 8 + 2 * operand_bytes);
}

TEST_CASE("matmul: NaN and infinity in one row stay in that row") {
  const Tensor a = Tensor::full({3, 4}, 1, Dtype::f32), b = Tensor::full({4, 5}, 1, Dtype::f32);
  a.view<float>()(1, 2) = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> y = matmul(a, b).to_vector<float>();
  for (int i = 0; i < 15; ++i) CHECK((i / 5 == 1 ? y[i] != y[i] : y[i] == 4));
}
