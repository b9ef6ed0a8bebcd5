#include "tests/support/property.hpp"

#include <doctest/doctest.h>
#include <rapidcheck/detail/TestListenerAdapter.h>

#include <algorithm>
#include <numeric>
#include <sstream>

#include "core/dispatch.hpp"
#include "core/random.hpp"

namespace phasor {
namespace {

namespace gen = rc::gen;

using Reproductions = std::unordered_map<std::string, rc::detail::Reproduce>;

constexpr uint64_t seed = 20170612;

// Where an axis lies in memory.
struct AxisLayout {
  int place;              // axes stand in memory by ascending place
  int64_t before, after;  // elements of the block that the view leaves out
  bool repeats;           // one element for the whole axis
};

rc::Gen<AxisLayout> any_axis_layout() {
  return gen::map(gen::tuple(from_to(0, max_rank), from_to<int64_t>(0, 2), from_to<int64_t>(0, 2), from_to(0, 7)),
                  [](const std::tuple<int, int64_t, int64_t, int>& drawn) {
                    const auto [place, before, after, repeats] = drawn;
                    return AxisLayout{place, before, after, repeats == 7};
                  });
}

Tensor laid_out(const Shape& shape, Dtype dtype, const std::vector<AxisLayout>& layouts, uint64_t stream) {
  std::vector<int> order(layouts.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return layouts[a].place < layouts[b].place; });
  std::vector<int64_t> extents;
  for (const int axis : order)
    extents.push_back((layouts[axis].repeats ? 1 : shape[axis]) + layouts[axis].before + layouts[axis].after);
  Random random{.seed = seed, .stream = stream};
  Tensor t = normal(Shape(extents), 0, 1, dtype, random);
  for (int place = 0; place < t.rank(); ++place) {
    const AxisLayout& layout = layouts[order[place]];
    t = t.slice(place, layout.before, t.extent(place) - layout.after);
  }
  std::vector<int> place_of(order.size());
  for (size_t place = 0; place < order.size(); ++place) place_of[order[place]] = static_cast<int>(place);
  return permuted(t, place_of).broadcast_to(shape);
}

}  // namespace

std::string falsified(const std::function<void()>& property, int examples) {
  rc::detail::TestParams parameters;
  parameters.seed = seed;
  parameters.maxSuccess = examples;
  // With a listener and a list of examples of our own nothing is read from the environment, whose seed is the time's.
  rc::detail::TestListenerAdapter listener;
  const rc::detail::TestResult result =
      rc::detail::checkTestable(property, rc::detail::TestMetadata(), parameters, listener, Reproductions());
  if (result.is<rc::detail::SuccessResult>()) return "";
  std::ostringstream out;
  rc::detail::printResultMessage(result, out);
  return out.str();
}

void check_property(const std::function<void()>& property, int examples) {
  const std::string message = falsified(property, examples);
  CHECK_MESSAGE(message.empty(), message);
}

void must_be_empty(const std::string& wrong) {
  if (!wrong.empty()) RC_FAIL(wrong);
}

rc::Gen<int64_t> any_extent() {
  return gen::map(from_to(0, 15), [](int drawn) {
    constexpr int64_t extents[] = {1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 5, 0};
    return extents[drawn];
  });
}

rc::Gen<Shape> any_shape(int smallest_rank, int largest_rank) {
  return gen::map(gen::mapcat(from_to(smallest_rank, largest_rank),
                              [](int rank) { return gen::container<std::vector<int64_t>>(rank, any_extent()); }),
                  [](const std::vector<int64_t>& extents) { return Shape(extents); });
}

rc::Gen<Shape> any_shape_broadcasting_to(const Shape& whole) {
  const size_t rank = static_cast<size_t>(whole.rank());
  return gen::map(gen::pair(from_to(0, whole.rank()), gen::container<std::vector<bool>>(rank, gen::arbitrary<bool>())),
                  [whole](const std::pair<int, std::vector<bool>>& drawn) {
                    std::vector<int64_t> extents;
                    for (int axis = drawn.first; axis < whole.rank(); ++axis)
                      extents.push_back(drawn.second[axis] ? 1 : whole[axis]);
                    return Shape(extents);
                  });
}

rc::Gen<Tensor> any_tensor(const Shape& shape, Dtype dtype) {
  const size_t rank = static_cast<size_t>(shape.rank());
  return gen::map(
      gen::pair(gen::container<std::vector<AxisLayout>>(rank, any_axis_layout()), from_to<uint64_t>(0, 1 << 16)),
      [=](const std::pair<std::vector<AxisLayout>, uint64_t>& drawn) {
        return laid_out(shape, dtype, drawn.first, drawn.second);
      });
}

rc::Gen<Dtype> any_float() { return gen::element(Dtype::f64, Dtype::f32); }

rc::Gen<std::vector<int>> any_order(int rank) {
  return gen::map(gen::container<std::vector<int>>(static_cast<size_t>(rank), from_to(0, max_rank)),
                  [](const std::vector<int>& places) {
                    std::vector<int> order(places.size());
                    std::iota(order.begin(), order.end(), 0);
                    std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return places[a] < places[b]; });
                    return order;
                  });
}

rc::Gen<std::vector<int>> any_axes(int rank) {
  return gen::map(gen::container<std::vector<bool>>(static_cast<size_t>(rank), gen::arbitrary<bool>()),
                  [](const std::vector<bool>& taken) {
                    std::vector<int> axes;
                    for (size_t axis = 0; axis < taken.size(); ++axis)
                      if (taken[axis]) axes.push_back(static_cast<int>(axis));
                    return axes;
                  });
}

void showValue(const Tensor& tensor, std::ostream& out) {
  constexpr int64_t shown_at_most = 64;
  out << tensor.dtype() << ' ' << tensor.shape() << ", strides [";
  for (int axis = 0; axis < tensor.rank(); ++axis) out << (axis ? ", " : "") << tensor.stride(axis);
  out << "], elements";
  const std::vector<double> values = tensor.to(Dtype::f64).to_vector<double>();
  for (int64_t i = 0; i < std::min(tensor.size(), shown_at_most); ++i) out << ' ' << values[i];
  if (tensor.size() > shown_at_most) out << " ...";
}

void for_each_index(const Shape& shape, const std::function<void(const std::vector<int64_t>& index)>& f) {
  std::vector<int64_t> index(static_cast<size_t>(shape.rank()));
  for (int64_t flat = 0; flat < shape.size(); ++flat) {
    int64_t rest = flat;
    for (int axis = shape.rank() - 1; axis >= 0; --axis) {
      index[axis] = rest % shape[axis];
      rest /= shape[axis];
    }
    f(index);
  }
}

double element(const Tensor& tensor, const std::vector<int64_t>& index) {
  RC_ASSERT(static_cast<int>(index.size()) == tensor.rank());
  return with_any(tensor.dtype(), [&]<class T>() {
    const View<T> view = tensor.view<T>();
    const auto at = [&]<size_t... axis>(std::index_sequence<axis...>) {
      return static_cast<double>(view(index[axis]...));
    };
    switch (tensor.rank()) {
      case 0:
        return at(std::make_index_sequence<0>());
      case 1:
        return at(std::make_index_sequence<1>());
      case 2:
        return at(std::make_index_sequence<2>());
      case 3:
        return at(std::make_index_sequence<3>());
      case 4:
        return at(std::make_index_sequence<4>());
      case 5:
        return at(std::make_index_sequence<5>());
      default:
        return at(std::make_index_sequence<6>());
    }
  });
}

Tensor permuted(const Tensor& tensor, const std::vector<int>& order) {
  // place[i]: which axis of the tensor stands at i so far.
  std::vector<int> place(order.size());
  std::iota(place.begin(), place.end(), 0);
  Tensor result = tensor;
  for (int axis = 0; axis < tensor.rank(); ++axis) {
    const int from = static_cast<int>(std::find(place.begin(), place.end(), order[axis]) - place.begin());
    result = result.transpose(axis, from);
    std::swap(place[axis], place[from]);
  }
  return result;
}

}  // namespace phasor
