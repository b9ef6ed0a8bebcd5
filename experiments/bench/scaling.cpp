// phasor bench scaling: one thing at a time is halved and doubled, the rest stays.
#include <fmt/format.h>

#include <cmath>
#include <functional>

#include "core/parallel.hpp"
#include "experiments/bench/bench.hpp"
#include "experiments/report/html.hpp"
#include "experiments/report/text.hpp"

namespace phasor {
namespace {

// What varies, and how a model of that size comes about.
struct ScaledSetting {
  std::string name;
  std::vector<int64_t> values;
  int64_t base;
  std::function<void(Settings& settings, int64_t value)> set;
};

struct Point {
  int64_t value;
  int threads;
  BenchStep step;
  BenchStep::Trial trial;
};

Settings base_settings(bool quick) {
  Settings s = bench_size_named("small").settings;
  s.model.layers = 2;
  s.train.batch = 8;
  if (quick) {
    s.model.width = 32;
    s.model.heads = 1;
    s.model.hidden = 88;
    s.train.length = 16;
    s.train.batch = 2;
  }
  return s;
}

std::vector<ScaledSetting> dimensions(const Settings& base, const BenchOptions& options) {
  const auto around = [&](int64_t value) {
    if (options.quick) return std::vector<int64_t>{value, 2 * value};
    return std::vector<int64_t>{value / 2, value, 2 * value, 4 * value};
  };
  std::vector<int64_t> lengths = around(base.train.length), threads;
  if (!options.quick) lengths.push_back(8 * base.train.length);
  for (int64_t count = 1; count < options.threads; count *= 2) threads.push_back(count);
  threads.push_back(options.threads);
  // Heads stay 64 wide and the MLP 2.75 times as wide as the model.
  const auto set_width = [base](Settings& s, int64_t width) {
    s.model.width = width;
    s.model.heads = std::max<int64_t>(1, width * base.model.heads / base.model.width);
    s.model.hidden = width * 11 / 4;
  };
  return {
      {"length", lengths, base.train.length, [](Settings& s, int64_t value) { s.train.length = value; }},
      {"width", around(base.model.width), base.model.width, set_width},
      {"layers", around(base.model.layers), base.model.layers,
       [](Settings& s, int64_t value) { s.model.layers = value; }},
      {"batch", around(base.train.batch), base.train.batch, [](Settings& s, int64_t value) { s.train.batch = value; }},
      {"threads", threads, options.threads, [](Settings&, int64_t) {}}};
}

std::vector<Point> points_of(const ScaledSetting& dimension, const Settings& base, const BenchOptions& options) {
  std::vector<Point> points;
  for (const int64_t value : dimension.values) {
    Settings settings = base;
    dimension.set(settings, value);
    const BenchStep step(settings);
    const int threads = dimension.name == "threads" ? static_cast<int>(value) : options.threads;
    points.push_back({value, threads, step, step.check()});
  }
  return points;
}

// The exponent p of y = c x^p that fits best: the slope of the least-squares line through the logarithms.
double exponent(const std::vector<double>& x, const std::vector<double>& y) {
  const double n = static_cast<double>(x.size());
  double mean_x = 0, mean_y = 0, xy = 0, xx = 0;
  for (size_t i = 0; i < x.size(); ++i) mean_x += std::log(x[i]) / n, mean_y += std::log(y[i]) / n;
  for (size_t i = 0; i < x.size(); ++i) {
    xy += (std::log(x[i]) - mean_x) * (std::log(y[i]) - mean_y);
    xx += (std::log(x[i]) - mean_x) * (std::log(x[i]) - mean_x);
  }
  return xy / xx;
}

// The curves of one dimension: against its size relative to the base.
struct Curves {
  Series time, memory;
};

Curves add_exponents(BenchGroup& group, const ScaledSetting& dimension, const std::vector<Point>& points) {
  Curves curves{{.name = dimension.name}, {.name = dimension.name}};
  for (size_t i = 0; i < points.size(); ++i) {
    const double relative = static_cast<double>(points[i].value) / static_cast<double>(dimension.base);
    curves.time.x.push_back(relative);
    curves.time.y.push_back(group.rows[i].timing->seconds * 1e3);
    curves.memory.x.push_back(relative);
    curves.memory.y.push_back(static_cast<double>(points[i].trial.peak_bytes) * 1e-6);
  }
  if (points.size() < 2) return curves;
  const double time = exponent(curves.time.x, curves.time.y), memory = exponent(curves.memory.x, curves.memory.y);
  if (dimension.name == "threads") {
    group.remarks.push_back(fmt::format("time grows as threads^{:.2f}", time));
    group.numbers.emplace_back("exponent of time", time);
    return curves;
  }
  group.remarks.push_back(
      fmt::format("time grows as {}^{:.2f}, memory as {}^{:.2f}", dimension.name, time, dimension.name, memory));
  group.numbers.insert(group.numbers.end(), {{"exponent of time", time}, {"exponent of memory", memory}});
  return curves;
}

std::string page_of(const BenchResult& result, const std::vector<Curves>& curves, const BenchSize& base) {
  Chart time{.title = "Time of a training step",
             .x_label = "times the base",
             .y_label = "milliseconds",
             .log_x = true,
             .log_y = true};
  Chart memory = time;
  memory.title = "Memory of a training step";
  memory.y_label = "MB of tensors at the peak";
  for (const Curves& of : curves) {
    time.series.push_back(of.time);
    if (of.memory.name != "threads") memory.series.push_back(of.memory);
  }
  return html({.title = "How a training step grows",
               .verdict = title_of(base) + ". One thing at a time is changed.",
               .sections = {{.charts = {time, memory}}, {.heading = "Numbers", .listing = to_text(result)}}});
}

}  // namespace

Scaling bench_scaling(const BenchOptions& options) {
  const BenchSize base{"base", base_settings(options.quick)};
  const std::vector<ScaledSetting> all = dimensions(base.settings, options);
  std::vector<std::vector<Point>> points;
  std::vector<Subject> subjects;
  for (const ScaledSetting& dimension : all) {
    points.push_back(points_of(dimension, base.settings, options));
    for (const Point& point : points.back())
      subjects.push_back({.name = fmt::format("{} {}", dimension.name, point.value),
                          .run = [point] { with_threads(point.threads, [&] { point.step.run(); }); },
                          .work = point.step.operations()});
  }
  const BenchGroup timed = time_operations("", subjects, options);

  Scaling scaling{{.name = "scaling", .threads = options.threads}, ""};
  scaling.result.notes = {title_of(base) +
                          "; one thing at a time is changed. Width takes the number of heads and the "
                          "hidden channels along. The exponents are slopes of a line through the "
                          "logarithms."};
  std::vector<Curves> curves;
  size_t row = 0;
  for (size_t i = 0; i < all.size(); ++i) {
    BenchGroup group;
    for (const Point& point : points[i]) {
      group.rows.push_back(timed.rows[row++]);
      group.rows.back().numbers.emplace_back("peak MB", static_cast<double>(point.trial.peak_bytes) * 1e-6);
    }
    curves.push_back(add_exponents(group, all[i], points[i]));
    scaling.result.groups.push_back(group);
  }
  scaling.result.groups.push_back({.rows = {timed.rows.begin() + static_cast<int64_t>(row), timed.rows.end()}});
  scaling.page = page_of(scaling.result, curves, base);
  return scaling;
}

}  // namespace phasor
