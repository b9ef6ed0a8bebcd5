// Properties of rotary turns: they are a group (inverse, composition), they keep lengths, and a score of two turned
// vectors sees only the distance.
#include "core/ops/rotary.hpp"

#include <doctest/doctest.h>

#include <cmath>

#include "core/ops/binary.hpp"
#include "core/ops/matmul.hpp"
#include "core/ops/reduce.hpp"
#include "core/ops/unary.hpp"
#include "tests/support/comparison.hpp"
#include "tests/support/property.hpp"
#include "tests/support/tolerance.hpp"

using namespace phasor;

namespace {

// A turn by angles [..., components].
Tensor turned(const Tensor& x, const Tensor& angles, RotaryLayout layout) {
  return rotary(x, cos(angles), sin(angles), layout);
}

rc::Gen<RotaryLayout> any_layout() { return rc::gen::element(RotaryLayout::interleaved, RotaryLayout::half_split); }

struct Turn {
  Tensor x, angles;
  RotaryLayout layout;
};

// Angles of a few radians for each token, or for some axes of x alone.
Turn any_turn() {
  const Shape outer{*from_to<int64_t>(1, 3), *from_to<int64_t>(1, 3), *from_to<int64_t>(1, 9)};
  const int64_t components = *from_to<int64_t>(1, 20), passed = 2 * *from_to<int64_t>(0, 2);
  const Shape table = *any_shape_broadcasting_to(outer);
  return {*any_tensor(outer.insert(-1, 2 * components + passed), Dtype::f64),
          *any_tensor(table.insert(-1, components), Dtype::f64), *any_layout()};
}

Tensor squared_lengths(const Tensor& x) { return sum(mul(x, x), {-1}); }

// Where half_split keeps the channels of interleaved: [0 2 4 .. 1 3 5 ..]; channels beyond the components stay.
Tensor half_split_order(const Tensor& x, int64_t components) {
  const Tensor y = x.clone();
  for (int64_t p = 0; p < components; ++p) {
    copy_into(y.select(-1, p), x.select(-1, 2 * p));
    copy_into(y.select(-1, p + components), x.select(-1, 2 * p + 1));
  }
  return y;
}

Tensor scores(const Tensor& q, const Tensor& k) { return matmul(q, k.transpose(-1, -2)); }

// frequency [components] times position, [length, components], from `first` on.
Tensor angles_from(int64_t first, int64_t length, const Tensor& frequency) {
  std::vector<double> positions(static_cast<size_t>(length));
  for (int64_t i = 0; i < length; ++i) positions[i] = static_cast<double>(first + i);
  return mul(Tensor::of<double>({length, 1}, positions), frequency);
}

}  // namespace

TEST_CASE("properties of rotary: the transposed turn undoes the turn, in either order, and lengths stay") {
  check_property([] {
    const auto [x, angles, layout] = any_turn();
    const Tensor c = cos(angles), s = sin(angles), y = rotary(x, c, s, layout);
    must_be_empty(mismatch(rotary_transposed(y, c, s, layout), Dtype::f64, x, tolerance::f64(2)));
    must_be_empty(mismatch(rotary(rotary_transposed(x, c, s, layout), c, s, layout), Dtype::f64, x, tolerance::f64(2)));
    must_be_empty(mismatch(squared_lengths(y), Dtype::f64, squared_lengths(x), tolerance::f64(x.extent(-1))));
    // The inverse is the turn by the opposite angle.
    must_be_empty(
        mismatch(rotary_transposed(x, c, s, layout), Dtype::f64, turned(x, neg(angles), layout), tolerance::f64(2)));
  });
}

TEST_CASE("properties of rotary: one turn after another is the turn by the sum of the angles") {
  check_property([] {
    const auto [x, first, layout] = any_turn();
    const Tensor second = *any_tensor(first.shape(), Dtype::f64);
    must_be_empty(mismatch(turned(turned(x, first, layout), second, layout), Dtype::f64,
                           turned(x, add(first, second), layout), tolerance::f64(4)));
  });
}

TEST_CASE("properties of rotary: scores depend on the distance of positions alone") {
  check_property([] {
    const int64_t length = *from_to<int64_t>(1, 6), components = *from_to<int64_t>(1, 8), head_dim = 2 * components;
    const Tensor q = *any_tensor({1, 2, length, head_dim}, Dtype::f64), k = *any_tensor(q.shape(), Dtype::f64);
    const Tensor frequency = *any_tensor({components}, Dtype::f64);
    const RotaryLayout layout = *any_layout();
    const int64_t first = *from_to<int64_t>(0, 100), shift = *from_to<int64_t>(0, 1000);
    const auto scores_from = [&](int64_t start) {
      return scores(turned(q, angles_from(start, length, frequency), layout),
                    turned(k, angles_from(start, length, frequency), layout));
    };
    // An angle of up to 4 x 1100 radians is rounded by 2^-41, and a sum of products of unit size takes it over.
    const double largest = max(mul(squared_lengths(q), squared_lengths(k))).item<double>();
    const Tensor error = sub(scores_from(first + shift), scores_from(first));
    RC_ASSERT(max(mul(error, error)).item<double>() <= std::pow(0x1p-40, 2) * (1 + largest) * 8);
  });
}

TEST_CASE("properties of rotary: the two layouts agree after the permutation of channels, values and scores") {
  check_property([] {
    const auto [x, angles, layout] = any_turn();
    const int64_t components = angles.extent(-1);
    const Tensor interleaved = turned(x, angles, RotaryLayout::interleaved);
    const Tensor half_split = turned(half_split_order(x, components), angles, RotaryLayout::half_split);
    must_be_empty(bit_mismatch(half_split, half_split_order(interleaved, components)));
    must_be_empty(mismatch(scores(half_split, half_split), Dtype::f64, scores(interleaved, interleaved),
                           tolerance::f64(x.extent(-1))));
  });
}
