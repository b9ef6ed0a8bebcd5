// Properties of attention, fused and unfused: what may be permuted, repeated or shifted without changing it.
#include "core/ops/attention.hpp"

#include <doctest/doctest.h>

#include <algorithm>

#include "autograd/ops.hpp"
#include "core/ops/binary.hpp"
#include "tests/support/comparison.hpp"
#include "tests/support/property.hpp"
#include "tests/support/tolerance.hpp"

using namespace phasor;

namespace {

struct Inputs {
  Tensor q, k, v;
  AttentionOptions options;
};

// Up to several of the fused path's blocks. More keys than queries where the attention is causal, any number of each
// where it is not.
Inputs any_inputs(Causal causal) {
  const int64_t batch = *from_to<int64_t>(1, 3), kv_heads = *from_to<int64_t>(1, 3), group = *from_to<int64_t>(1, 3);
  const int64_t longest = *rc::gen::element<int64_t>(5, 20, 80, 300), k_length = *from_to<int64_t>(1, longest);
  const int64_t q_length = *from_to<int64_t>(1, causal == Causal::yes ? k_length : longest);
  const int64_t qk_dim = *from_to<int64_t>(1, 9), v_dim = *from_to<int64_t>(1, 9);
  return {*any_tensor({batch, kv_heads * group, q_length, qk_dim}, Dtype::f64),
          *any_tensor({batch, kv_heads, k_length, qk_dim}, Dtype::f64),
          *any_tensor({batch, kv_heads, k_length, v_dim}, Dtype::f64),
          {.causal = causal}};
}

Inputs any_inputs() { return any_inputs(*rc::gen::element(Causal::yes, Causal::no)); }

Tensor fused(const Inputs& x) { return attention(x.q, x.k, x.v, x.options).out; }
Tensor unfused(const Inputs& x) { return attention_unfused(x.q, x.k, x.v, x.options).value(); }
constexpr int examples = 100;  // the long ones take their time
constexpr Tensor (*paths[])(const Inputs&) = {fused, unfused};

// Slice `order[i]` of x becomes slice i.
Tensor taken(const Tensor& x, int axis, const std::vector<int64_t>& order) {
  const Tensor y = Tensor::empty(x.shape().with(axis, static_cast<int64_t>(order.size())), x.dtype());
  for (size_t i = 0; i < order.size(); ++i) {
    const int64_t to = static_cast<int64_t>(i);
    copy_into(y.slice(axis, to, to + 1), x.slice(axis, order[i], order[i] + 1));
  }
  return y;
}

std::vector<int64_t> any_permutation(int64_t count) {
  std::vector<int64_t> order;
  for (int64_t i = 0; i < count; ++i) order.push_back(i);
  for (int64_t i = count - 1; i > 0; --i) std::swap(order[i], order[*from_to<int64_t>(0, i)]);
  return order;
}

// Each element `times` times: 0 0 1 1 2 2.
std::vector<int64_t> with_groups(const std::vector<int64_t>& heads, int64_t group) {
  std::vector<int64_t> result;
  for (const int64_t head : heads)
    for (int64_t member = 0; member < group; ++member) result.push_back(head * group + member);
  return result;
}

int64_t group_of(const Inputs& x) { return x.q.extent(1) / x.k.extent(1); }

}  // namespace

TEST_CASE("properties of attention: permuted heads and permuted batches permute the result") {
  check_property(
      [] {
        const Inputs x = any_inputs();
        const std::vector<int64_t> heads = any_permutation(x.k.extent(1)), batch = any_permutation(x.q.extent(0));
        const std::vector<int64_t> q_heads = with_groups(heads, group_of(x));
        const auto moved = [&](const Tensor& t, const std::vector<int64_t>& of_heads) {
          return taken(taken(t, 1, of_heads), 0, batch);
        };
        const Inputs y = {moved(x.q, q_heads), moved(x.k, heads), moved(x.v, heads), x.options};
        for (const auto path : paths)
          must_be_empty(mismatch(path(y), Dtype::f64, moved(path(x), q_heads), tolerance::f64(x.k.extent(2))));
      },
      examples);
}

TEST_CASE("properties of attention: grouped heads are repeated keys and values") {
  check_property(
      [] {
        const Inputs x = any_inputs();
        std::vector<int64_t> repeated;
        for (int64_t head = 0; head < x.q.extent(1); ++head) repeated.push_back(head / group_of(x));
        const Inputs y = {x.q, taken(x.k, 1, repeated), taken(x.v, 1, repeated), x.options};
        for (const auto path : paths)
          must_be_empty(mismatch(path(y), Dtype::f64, path(x), tolerance::f64(x.k.extent(2))));
      },
      examples);
}

TEST_CASE("properties of attention: the same number added to all scores of a row changes nothing") {
  check_property(
      [] {
        const Inputs x = any_inputs();
        // q . (k + u) = q . k + q . u
        const Tensor u = *any_tensor({x.k.extent(0), x.k.extent(1), 1, x.k.extent(3)}, Dtype::f64);
        const Inputs y = {x.q, add(x.k, u), x.v, x.options};
        for (const auto path : paths)
          must_be_empty(mismatch(path(y), Dtype::f64, path(x), 4 * tolerance::f64(x.k.extent(2))));
      },
      examples);
}

TEST_CASE("properties of attention: what comes later changes no bit of what comes before") {
  check_property(
      [] {
        const Inputs x = any_inputs(Causal::yes);
        const int64_t ahead = x.k.extent(2) - x.q.extent(2), from = *from_to<int64_t>(0, x.k.extent(2) - 1);
        const auto changed = [](const Tensor& t, int64_t start, double value) {
          const Tensor y = t.clone();
          if (start < t.extent(2)) fill(y.slice(2, std::max<int64_t>(start, 0), t.extent(2)), value);
          return y;
        };
        const double value = *rc::gen::element(0.0, -3.0, 1e6);
        const Inputs y = {changed(x.q, from - ahead, value), changed(x.k, from, value), changed(x.v, from, value),
                          x.options};
        const int64_t before = std::max<int64_t>(0, from - ahead);
        for (const auto path : paths)
          must_be_empty(bit_mismatch(path(y).slice(2, 0, before), path(x).slice(2, 0, before)));
      },
      examples);
}

TEST_CASE("properties of attention: the pattern of a row sums to 1") {
  check_property(
      [] {
        Inputs x = any_inputs();
        x.v = Tensor::full(x.v.shape(), 1, Dtype::f64);
        for (const auto path : paths) {
          const Tensor y = path(x);
          must_be_empty(mismatch(y, Dtype::f64, Tensor::full(y.shape(), 1, Dtype::f64), tolerance::f64(x.k.extent(2))));
        }
      },
      examples);
}

TEST_CASE("properties of attention: without causality the order of the keys does not matter") {
  check_property(
      [] {
        const Inputs x = any_inputs(Causal::no);
        const std::vector<int64_t> order = any_permutation(x.k.extent(2));
        const Inputs y = {x.q, taken(x.k, 2, order), taken(x.v, 2, order), x.options};
        for (const auto path : paths)
          must_be_empty(mismatch(path(y), Dtype::f64, path(x), 4 * tolerance::f64(x.k.extent(2))));
      },
      examples);
}

TEST_CASE("properties of attention: fused and unfused agree") {
  check_property(
      [] {
        const Inputs x = any_inputs();
        must_be_empty(mismatch(fused(x), Dtype::f64, unfused(x), 4 * tolerance::f64(x.k.extent(2))));
      },
      examples);
}
