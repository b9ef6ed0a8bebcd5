// Properties of views: whatever the shape and the strides, a view shows the elements that its index says, and what one
// view does another undoes.
#include <doctest/doctest.h>

#include "core/ops/binary.hpp"
#include "core/ops/reduce.hpp"
#include "tests/support/comparison.hpp"
#include "tests/support/property.hpp"
#include "tests/support/tolerance.hpp"

using namespace phasor;

namespace {

using Index = std::vector<int64_t>;

// The same view; without elements there is no memory to compare.
bool is_same(const Tensor& a, const Tensor& b) {
  return a.size() == 0 ? a.shape() == b.shape() && a.strides() == b.strides() : a.is_same_view(b);
}

// y[index] = x[place(index)] for every index of y.
void must_show(const Tensor& y, const Tensor& x, const std::function<Index(Index)>& place) {
  for_each_index(y.shape(), [&](const Index& index) { RC_ASSERT(element(y, index) == element(x, place(index))); });
}

// Another shape of the same size: cut anew into factors.
Shape any_shape_of_size(int64_t size) {
  std::vector<int64_t> extents;
  const int rank = *from_to(1, max_rank - 1);
  for (int axis = 0; axis < rank && size > 1; ++axis) {
    std::vector<int64_t> divisors;
    for (int64_t d = 1; d <= size; ++d)
      if (size % d == 0) divisors.push_back(d);
    extents.push_back(*rc::gen::elementOf(divisors));
    size /= extents.back();
  }
  extents.push_back(size);
  return Shape(extents);
}

}  // namespace

TEST_CASE("properties of views: to_vector, contiguous and clone are the elements by index, in row-major order") {
  check_property([] {
    const Tensor x = *any_tensor(*any_shape(), *any_float());
    std::vector<double> by_index;
    for_each_index(x.shape(), [&](const Index& index) { by_index.push_back(element(x, index)); });
    RC_ASSERT(x.to(Dtype::f64).to_vector<double>() == by_index);
    RC_ASSERT(x.contiguous().is_contiguous());
    must_be_empty(bit_mismatch(x.contiguous(), x));
    must_be_empty(bit_mismatch(x.clone(), x));
    RC_ASSERT(!x.clone().shares_storage(x));
  });
}

TEST_CASE("properties of views: transpose swaps two indices, and undoes itself") {
  check_property([] {
    const Tensor x = *any_tensor(*any_shape(1), *any_float());
    const int a = *from_to(0, x.rank() - 1), b = *from_to(0, x.rank() - 1);
    const Tensor y = x.transpose(a, b);
    must_show(y, x, [&](Index index) {
      std::swap(index[a], index[b]);
      return index;
    });
    RC_ASSERT(is_same(y.transpose(b, a), x));
    RC_ASSERT(is_same(x.transpose(a - x.rank(), b - x.rank()), y));
  });
}

TEST_CASE("properties of views: a permutation and its inverse") {
  check_property([] {
    const Tensor x = *any_tensor(*any_shape(), *any_float());
    const std::vector<int> order = *any_order(x.rank());
    std::vector<int> inverse(order.size());
    for (size_t axis = 0; axis < order.size(); ++axis) inverse[order[axis]] = static_cast<int>(axis);
    const Tensor y = permuted(x, order);
    must_show(y, x, [&](const Index& index) {
      Index place(index.size());
      for (size_t axis = 0; axis < index.size(); ++axis) place[order[axis]] = index[axis];
      return place;
    });
    RC_ASSERT(is_same(permuted(y, inverse), x));
  });
}

TEST_CASE("properties of views: reshape keeps the row-major order, there and back") {
  check_property([] {
    const Tensor x = *any_tensor(*any_shape(), *any_float());
    const Shape shape = x.size() == 0 ? x.shape() : any_shape_of_size(x.size());
    const Tensor y = x.reshape(shape);
    RC_ASSERT(y.shape() == shape);
    RC_ASSERT(y.to(Dtype::f64).to_vector<double>() == x.to(Dtype::f64).to_vector<double>());
    must_be_empty(bit_mismatch(y.reshape(x.shape()), x));
    if (x.is_contiguous() && x.size() > 0) RC_ASSERT(y.shares_storage(x));
    if (y.shares_storage(x) && x.size() > 0) RC_ASSERT(y.reshape(x.shape()).shares_storage(x));
  });
}

TEST_CASE("properties of views: slices show their part and together are the whole") {
  check_property([] {
    const Tensor x = *any_tensor(*any_shape(1), *any_float());
    const int axis = *from_to(0, x.rank() - 1);
    const int64_t first = *from_to<int64_t>(0, x.extent(axis)), second = *from_to<int64_t>(first, x.extent(axis));
    must_show(x.slice(axis, first, second), x, [&](Index index) {
      index[axis] += first;
      return index;
    });
    const Tensor together = Tensor::zeros(x.shape(), x.dtype());
    for (const auto& [start, stop] : {std::pair(int64_t{0}, first), {first, second}, {second, x.extent(axis)}})
      copy_into(together.slice(axis, start, stop), x.slice(axis, start, stop));
    must_be_empty(bit_mismatch(together, x));
  });
}

TEST_CASE("properties of views: broadcasting repeats, and sum_to counts the repetitions") {
  check_property([] {
    const Shape whole = *any_shape();
    const Tensor x = *any_tensor(*any_shape_broadcasting_to(whole), Dtype::f64);
    const Tensor y = x.broadcast_to(whole);
    must_show(y, x, [&](const Index& index) {
      Index place(index.end() - x.rank(), index.end());
      for (int axis = 0; axis < x.rank(); ++axis)
        if (x.extent(axis) == 1) place[axis] = 0;
      return place;
    });
    if (x.size() == 0) return;
    const double times = static_cast<double>(whole.size()) / static_cast<double>(x.size());
    must_be_empty(mismatch(sum_to(y, x.shape()), Dtype::f64, mul(x, Tensor::scalar(times, Dtype::f64)),
                           tolerance::f64(whole.size())));
  });
}
