// A sweep that goes on from a file ends with the bits of one that was never stopped, whatever became of the file.
#include "experiments/dissect/ablation_log.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/error.hpp"
#include "experiments/dissect/ablation_sweep.hpp"
#include "tests/support/command.hpp"
#include "tests/support/small_model.hpp"

using namespace phasor;
using namespace phasor::testing;
namespace fs = std::filesystem;

namespace {

const std::vector<std::string> settings = {"dissect.edge=0.04", "dissect.lengths=[16,40]"};

const std::vector<uint8_t> bytes = [] {
  std::vector<uint8_t> drawn;
  Random random{.seed = 5};
  for (int i = 0; i < 300; ++i) drawn.push_back(static_cast<uint8_t>('a' + random.below(5)));
  return drawn;
}();

AblationSweep swept(AblationLog* log) {
  ModelShape shape = small_model("rope", 16);
  shape.vocabulary = byte_vocabulary;
  shape.init_deviation = 0.3;
  DissectSettings how;
  how.lengths = {16, 40};
  how.bytes = 40;  // one window of 40 tokens: its errors are NaN
  how.sequences = 4;
  return ablation_sweep(Transformer(shape, 3), {bytes, bytes}, how, "", true, log);
}

AblationSweep swept(const fs::path& file) {
  AblationLog log(file, 7, settings);
  return swept(&log);
}

void check_same_bits(const AblationSweep& a, const AblationSweep& b) {
  for (const auto part : {&AblationSweep::loss, &AblationSweep::loss_half_width, &AblationSweep::of_head,
                          &AblationSweep::of_head_half_width, &AblationSweep::u_depth, &AblationSweep::head_score}) {
    CAPTURE((a.*part).name);
    const std::vector<double>&x = (a.*part).values, &y = (b.*part).values;
    REQUIRE(x.size() == y.size());
    for (size_t i = 0; i < x.size(); ++i) {
      CAPTURE(i);
      CHECK(((std::isnan(x[i]) && std::isnan(y[i])) || std::memcmp(&x[i], &y[i], sizeof(double)) == 0));
    }
  }
}

// The first lines of a text.
std::string head_of(const std::string& text, int64_t lines) {
  size_t end = 0;
  for (int64_t line = 0; line < lines; ++line) end = text.find('\n', end) + 1;
  return text.substr(0, end);
}

// A whole sweep, and its file.
struct Whole {
  TemporaryFolder folder;
  fs::path file = folder / "ablations.jsonl";
  AblationSweep sweep = swept(file);
  std::string text = text_of(file);
  int64_t lines = std::count(text.begin(), text.end(), '\n');
};

}  // namespace

TEST_CASE("ablation log: a sweep that goes on has the bits and the file of one that was not stopped") {
  const Whole whole;
  // Three kinds of 4 components alone and 5 ranges; 4 components in each of 2 key heads of 2 layers.
  REQUIRE(whole.lines == 1 + 3 * 9 + 16);
  CHECK(std::isnan(whole.sweep.loss_half_width.at({0, 0, 0, 1})));
  check_same_bits(whole.sweep, swept(nullptr));
  for (const int64_t lines : {int64_t{0}, int64_t{1}, int64_t{2}, whole.lines / 2, whole.lines}) {
    CAPTURE(lines);
    // Whole lines, and a last one that was torn.
    for (const size_t torn : {0, 1, 30}) {
      const std::string left = whole.text.substr(0, head_of(whole.text, lines).size() + torn);
      write_text(whole.file, left);
      check_same_bits(whole.sweep, swept(whole.file));
      CHECK((text_of(whole.file) == whole.text));
    }
  }
}

TEST_CASE("ablation log: what the file holds is taken from there, not run again") {
  const Whole whole;
  std::string text = whole.text;
  const size_t at = text.find("\"loss\":[") + 8;
  text.replace(at, text.find(',', at) - at, "1234.5");
  write_text(whole.file, text);
  const AblationSweep sweep = swept(whole.file);
  CHECK(std::count(sweep.loss.values.begin(), sweep.loss.values.end(), 1234.5) >= 1);
  CHECK((text_of(whole.file) == text));
}

TEST_CASE("ablation log: of other weights or settings, the file begins anew") {
  const Whole whole;
  const std::vector<std::string> other = {"dissect.edge=0.05", "dissect.lengths=[16,40]"};
  const Ablated which = {.first = 0, .last = 0};
  REQUIRE(AblationLog(whole.file, 7, settings).find(Ablation::remove, which));
  CHECK(!AblationLog(whole.file, 8, settings).find(Ablation::remove, which));
  CHECK((text_of(whole.file) ==
         R"({"format":"phasor ablations 1","step":8,"settings":["dissect.edge=0.04","dissect.lengths=[16,40]"]})"
         "\n"));
  write_text(whole.file, whole.text);
  CHECK(!AblationLog(whole.file, 7, other).find(Ablation::remove, which));
  check_same_bits(whole.sweep, swept(whole.file));
  CHECK((text_of(whole.file) == whole.text));
}

TEST_CASE("ablation log: what follows a damaged line is run again") {
  const Whole whole;
  const size_t start = head_of(whole.text, 11).size(), end = head_of(whole.text, 12).size();
  const std::string line = whole.text.substr(start, end - start);
  const auto with = [&](const std::string& what, const std::string& instead) {
    std::string changed = line;
    REQUIRE(changed.find(what) != std::string::npos);
    return changed.replace(changed.find(what), what.size(), instead);
  };
  for (const std::string& damaged : {std::string("\n"), std::string(20, '\0') + "\n", line.substr(0, 40) + "\n",
                                     with("loss", "lost"), with("[", "[\"x\",")}) {
    CAPTURE(damaged);
    write_text(whole.file, whole.text.substr(0, start) + damaged + whole.text.substr(end));
    check_same_bits(whole.sweep, swept(whole.file));
    CHECK((text_of(whole.file) == whole.text));
  }
  // Numbers too many: the line can be read, and is not used.
  write_text(whole.file, whole.text.substr(0, start) + with("[", "[0.5,") + whole.text.substr(end));
  check_same_bits(whole.sweep, swept(whole.file));
  CHECK((text_of(whole.file) == whole.text.substr(0, start) + with("[", "[0.5,") + whole.text.substr(end) + line));
}

TEST_CASE("ablation log: numbers come back to the last bit; an infinity is refused and leaves the file") {
  const TemporaryFolder folder;
  const fs::path file = folder / "ablations.jsonl";
  const Ablated which = {.first = 1, .last = 2, .layer = 3, .head = 4};
  const std::vector<double> numbers = {0.1, 1.0 / 3, -0.0, 5e-324, -1.7976931348623157e308, 1e22, 3};
  AblationLog log(file, 7, settings);
  log.add(Ablation::mean, which, {.loss = numbers, .loss_half_width = {std::nan("")}, .head_score = {-2.5}});
  const std::string before = text_of(file);
  const double infinity = std::numeric_limits<double>::infinity();
  CHECK_THROWS_WITH_AS(log.add(Ablation::stop, which, {.loss = {infinity}}), doctest::Contains("an infinity"),
                       ValueError);
  CHECK(text_of(file) == before);
  const AblationLog again(file, 7, settings);
  const AblationEffect* const effect = again.find(Ablation::mean, which);
  REQUIRE(effect);
  REQUIRE(effect->loss.size() == numbers.size());
  CHECK(std::memcmp(effect->loss.data(), numbers.data(), sizeof(double) * numbers.size()) == 0);
  REQUIRE(effect->loss_half_width.size() == 1);
  CHECK(std::isnan(effect->loss_half_width[0]));
  CHECK(effect->u_depth.empty());
  CHECK(effect->head_score == std::vector<double>{-2.5});
  CHECK(!again.find(Ablation::stop, which));
  CHECK(!again.find(Ablation::mean, {.first = 1, .last = 2, .layer = 3, .head = -1}));
}
