// Reads the golden values of this folder (see generate.py) and measures the distance from them.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>

#include "core/tensor.hpp"

namespace phasor::golden {

using Json = nlohmann::json;

inline Json load(const std::string& file) {
  const std::string path = std::string(PHASOR_SOURCE_DIR) + "/tests/golden/" + file;
  std::ifstream in(path);
  REQUIRE_MESSAGE(in, "cannot open ", path);
  return Json::parse(in);
}

// {"shape", "values"} as a tensor: floats rounded once to `dtype`, or ids.
inline Tensor tensor(const Json& json, Dtype dtype) {
  const auto extents = json.at("shape").get<std::vector<int64_t>>();
  if (is_float(dtype)) return Tensor::of<double>(Shape(extents), json.at("values")).to(dtype);
  return Tensor::of<int64_t>(Shape(extents), json.at("values")).to(dtype);
}

// Relative error max|got - expected| / max|expected|. A tensor of softmax gradients has elements near 0 beside large
// ones, whose own relative error says nothing. f64: sums here have at most a few hundred terms, each off by 2^-53.
// f32: the inputs are rounded too; 1e-5 is about 80 roundings of 2^-23, and a wrong formula is off by far more.
constexpr double limit(Dtype dtype) { return dtype == Dtype::f64 ? 1e-12 : 1e-5; }

// Infinity for a wrong shape or dtype and for NaN.
inline double relative_error(const Tensor& got, const Json& expected, Dtype dtype) {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  const Tensor want = tensor(expected, Dtype::f64);
  if (got.dtype() != dtype || !(got.shape() == want.shape())) return infinity;
  const std::vector<double> a = got.to(Dtype::f64).to_vector<double>(), b = want.to_vector<double>();
  double difference = 0, largest = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    if (!std::isfinite(a[i])) return infinity;
    difference = std::max(difference, std::abs(a[i] - b[i]));
    largest = std::max(largest, std::abs(b[i]));
  }
  return difference / largest;
}

inline void check(const std::string& what, const Tensor& got, const Json& expected, Dtype dtype) {
  const double error = relative_error(got, expected, dtype);
  CHECK_MESSAGE(error <= limit(dtype), what, dtype == Dtype::f64 ? " in f64" : " in f32", ": relative error ", error,
                ", limit ", limit(dtype));
}

}  // namespace phasor::golden
