// Sums over patterns, one head at a time.
#include "experiments/dissect/patterns.hpp"

#include <algorithm>
#include <cmath>

#include "core/ops/concat.hpp"
#include "core/parallel.hpp"
#include "experiments/corpora/corpus.hpp"
#include "experiments/dissect/u_shape.hpp"
#include "experiments/evaluation.hpp"

namespace phasor {
namespace {

// What one query attends to: a[n] to key n <= m, together 1.
struct Query {
  const double* a;
  int64_t m;

  double distance() const {
    double sum = 0;
    for (int64_t n = 0; n <= m; ++n) sum += a[n] * static_cast<double>(m - n);
    return sum;
  }
  double peak_distance() const {
    int64_t peak = m;
    for (int64_t n = m - 1; n >= 0; --n)
      if (a[n] > a[peak]) peak = n;
    return static_cast<double>(m - peak);
  }
  double entropy() const {
    double sum = 0;
    for (int64_t n = 0; n <= m; ++n)
      if (a[n] > 0) sum -= a[n] * std::log(a[n]);
    return sum;
  }
};

// f(head, query) for all queries after [bos] of all windows, those of a head in order and by one thread.
template <class F>
void for_each_query(const Tensor& pattern, const F& f) {
  const Tensor rows = pattern.to(Dtype::f64).contiguous();
  const int64_t windows = rows.extent(0), heads = rows.extent(1), length = rows.extent(2);
  parallel_for(heads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t head = begin; head < end; ++head)
      for (int64_t window = 0; window < windows; ++window)
        for (int64_t m = 1; m < length; ++m) f(head, Query{&rows.view<double>()(window, head, m, 0), m});
  });
}

void require_pattern(const char* op, const Tensor& pattern, int64_t shortest) {
  require(pattern.rank() == 4 && pattern.extent(0) >= 1 && pattern.extent(2) >= shortest &&
              pattern.extent(2) == pattern.extent(3),
          op, "the pattern is ", pattern.shape(), "; needs [windows, heads, length, length], at least ", shortest,
          " tokens");
}

// To m at `index` and an index of each value adds values[i] * weight.
void add_to(Measurement& m, std::vector<int64_t> index, const std::vector<double>& values, double weight) {
  index.push_back(0);
  for (size_t i = 0; i < values.size(); ++i) {
    index.back() = static_cast<int64_t>(i);
    m.at(index) += weight * values[i];
  }
}

}  // namespace

PatternMeasures measure_pattern(const Tensor& pattern) {
  require_pattern("measure_pattern", pattern, 2);
  const auto heads = static_cast<size_t>(pattern.extent(1)), length = static_cast<size_t>(pattern.extent(2));
  PatternMeasures of{.sink = std::vector<double>(heads),
                     .distance = std::vector<double>(heads),
                     .peak_distance = std::vector<double>(heads),
                     .entropy = std::vector<double>(heads * length)};
  const auto windows = static_cast<double>(pattern.extent(0)), queries = windows * static_cast<double>(length - 1);
  for_each_query(pattern, [&](int64_t at, const Query& query) {
    const auto head = static_cast<size_t>(at);
    of.sink[head] += query.a[0] / queries;
    of.distance[head] += query.distance() / queries;
    of.peak_distance[head] += query.peak_distance() / queries;
    of.entropy[head * length + static_cast<size_t>(query.m)] += query.entropy() / windows;
  });
  return of;
}

Patterns attention_patterns(const Transformer& model, std::span<const uint8_t> text,
                            const std::vector<int64_t>& lengths, int64_t windows) {
  const int64_t layers = model.shape().layers, heads = model.shape().heads;
  require<ValueError>(!lengths.empty() && windows >= 1, "attention_patterns", lengths.size(), " lengths, ", windows,
                      " windows; each must be at least 1");
  const auto longest_at = std::max_element(lengths.begin(), lengths.end());
  const int64_t longest = *longest_at;
  const Dimension layer_axis = indices("layer", layers), head_axis = indices("head", heads);
  Dimension length_axis{.name = "length"};
  for (const int64_t length : lengths) length_axis.numbers.push_back(static_cast<double>(length));
  const std::vector<Dimension> by_length = {length_axis, layer_axis, head_axis},
                               by_query = {layer_axis, head_axis, indices("query", longest)};
  Patterns patterns{.sink = {"sink", by_length},
                    .distance = {"attended_distance", by_length},
                    .peak_distance = {"peak_distance", by_length},
                    .entropy = {"entropy", by_query},
                    .normalised_entropy = {"normalised_entropy", by_query}};
  for (Measurement* const m : {&patterns.sink, &patterns.distance, &patterns.peak_distance, &patterns.entropy})
    std::fill(m->values.begin(), m->values.end(), 0);
  for (int64_t i = 0; i < std::ssize(lengths); ++i) {
    const int64_t length = lengths[static_cast<size_t>(i)];
    const Tensor ids = evaluation_windows(text, length, windows * length).inputs;
    const int64_t count = ids.extent(0), at_once = windows_at_once(length);
    for (int64_t first = 0; first < count; first += at_once) {
      const Tensor some = ids.slice(0, first, std::min(first + at_once, count));
      const double weight = static_cast<double>(some.extent(0)) / static_cast<double>(count);
      visit_layers(model, some, {Site::pattern}, [&](const LayerValues& layer) {
        const PatternMeasures of = measure_pattern(layer[Site::pattern]);
        add_to(patterns.sink, {i, layer.layer}, of.sink, weight);
        add_to(patterns.distance, {i, layer.layer}, of.distance, weight);
        add_to(patterns.peak_distance, {i, layer.layer}, of.peak_distance, weight);
        if (i != longest_at - lengths.begin()) return;
        for (int64_t head = 0; head < heads; ++head) {
          const auto begin = of.entropy.begin() + head * length;
          add_to(patterns.entropy, {layer.layer, head}, {begin, begin + length}, weight);
        }
      });
    }
  }
  for (int64_t layer = 0; layer < layers; ++layer)
    for (int64_t head = 0; head < heads; ++head)
      for (int64_t query = 1; query < longest; ++query)
        patterns.normalised_entropy.at({layer, head, query}) =
            patterns.entropy.at({layer, head, query}) / std::log(static_cast<double>(query + 1));
  return patterns;
}

Tensor repeated_windows(std::span<const uint8_t> text, int64_t windows, int64_t length) {
  require<ValueError>(length >= shortest_repeated, "repeated_windows", "length is ", length, "; needs at least ",
                      shortest_repeated, ": [bos] and two tokens twice");
  const Tensor once = random_windows(text, windows, 1 + (length - 1) / 2);
  return concat({once, once.slice(1, 1, once.extent(1))}, 1);
}

std::vector<double> measure_heads(const Tensor& pattern) {
  require_pattern("measure_heads", pattern, shortest_repeated);
  const int64_t windows = pattern.extent(0), heads = pattern.extent(1), length = pattern.extent(2),
                half = (length - 1) / 2;
  require(length == 1 + 2 * half, "measure_heads", "the pattern is ", pattern.shape(),
          "; needs an odd length: [bos] and two equal halves");
  enum Kind { previous, duplicate, induction };
  std::vector<double> scores(static_cast<size_t>(3 * heads));
  for_each_query(pattern, [&](int64_t head, const Query& query) {
    const auto add = [&](Kind kind, int64_t key, int64_t queries) {
      scores[static_cast<size_t>(kind * heads + head)] += query.a[key] / static_cast<double>(windows * queries);
    };
    if (query.m > 1) add(previous, query.m - 1, length - 2);
    if (query.m <= half) return;
    add(duplicate, query.m - half, half);
    add(induction, query.m - half + 1, half);
  });
  return scores;
}

Measurement head_scores(const Transformer& model, const Tensor& ids) {
  const int64_t layers = model.shape().layers, heads = model.shape().heads, count = ids.extent(0),
                at_once = windows_at_once(ids.extent(1));
  const Dimension score{.name = "score", .words = {"previous token", "duplicate token", "induction"}};
  Measurement scores("head_score", {score, indices("layer", layers), indices("head", heads)});
  std::fill(scores.values.begin(), scores.values.end(), 0);
  for (int64_t first = 0; first < count; first += at_once) {
    const Tensor some = ids.slice(0, first, std::min(first + at_once, count));
    const double weight = static_cast<double>(some.extent(0)) / static_cast<double>(count);
    visit_layers(model, some, {Site::pattern}, [&](const LayerValues& layer) {
      const std::vector<double> of = measure_heads(layer[Site::pattern]);
      for (int64_t kind = 0; kind < 3; ++kind) {
        const auto begin = of.begin() + kind * heads;
        add_to(scores, {kind, layer.layer}, {begin, begin + heads}, weight);
      }
    });
  }
  return scores;
}

}  // namespace phasor
