// Properties: what must hold for whatever the generators draw. RapidCheck draws, and where a property fails it looks
// for a smaller example. The draws follow from a fixed seed: every run sees the same.
//
//   check_property([] {
//     const Shape shape = *any_shape();
//     const Tensor a = *any_tensor(shape, Dtype::f64), b = *any_tensor(shape, Dtype::f64);
//     must_be_empty(bit_mismatch(add(a, b), add(b, a)));
//   });
#pragma once

#include <rapidcheck.h>

#include <functional>
#include <string>
#include <vector>

#include "core/tensor.hpp"

namespace phasor {

// Fails the running test with the smallest example found for which `property` throws: by RC_ASSERT, RC_FAIL or an
// exception.
void check_property(const std::function<void()>& property, int examples = 300);

// The message of that failure; empty if there is none.
std::string falsified(const std::function<void()>& property, int examples = 300);

// For mismatch() and bit_mismatch(): fails the property with the sentence, if there is one.
void must_be_empty(const std::string& wrong);

// Each number as likely as the other, from the first example on: left alone, RapidCheck begins with small ranges.
template <class T>
rc::Gen<T> from_to(T smallest, T largest) {
  return rc::gen::resize(rc::kNominalSize, rc::gen::inRange<T>(smallest, largest + 1));
}

// Extents from 1 to 5, seldom 0.
rc::Gen<int64_t> any_extent();
rc::Gen<Shape> any_shape(int smallest_rank = 0, int largest_rank = max_rank);
// Shapes of at most `largest_rank` axes that broadcast together: each is `whole` with leading axes dropped and axes of
// extent 1.
rc::Gen<Shape> any_shape_broadcasting_to(const Shape& whole);

// Normal numbers in any layout: axes in any order in memory, gaps on every side, axes that repeat one element (stride
// 0). Not to be written to.
rc::Gen<Tensor> any_tensor(const Shape& shape, Dtype dtype);
rc::Gen<Dtype> any_float();
rc::Gen<std::vector<int>> any_order(int rank);  // a permutation of 0 .. rank-1
rc::Gen<std::vector<int>> any_axes(int rank);   // some of 0 .. rank-1, ascending

// How RapidCheck prints them.
void showValue(const Tensor& tensor, std::ostream& out);

// f(index) for every index of the shape, in row-major order; index is a std::vector<int64_t>.
void for_each_index(const Shape& shape, const std::function<void(const std::vector<int64_t>& index)>& f);
// The element at an index, as a double.
double element(const Tensor& tensor, const std::vector<int64_t>& index);

Tensor permuted(const Tensor& tensor, const std::vector<int>& order);  // axis i of the result is axis order[i]

}  // namespace phasor
