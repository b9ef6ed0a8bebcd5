// dissection.json: what is written is read, to the last bit; what is damaged is refused.
#include "experiments/dissect/dissection.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "core/error.hpp"
#include "tests/support/command.hpp"
#include "tests/support/text.hpp"

using namespace phasor;
using namespace phasor::testing;

namespace {

Dissection some_dissection() {
  Measurement share("share", {{.name = "layer", .words = {"0", "all \"of\" them"}}, indices("component", 2)});
  share.values = {0.1, std::nan(""), -1e-300, 12345678.9};
  Measurement number("number", {});
  number.values = {1.0 / 3};
  return {.step = int64_t{1} << 40, .settings = {"dissect.edge=0.04"}, .measurements = {share, number}};
}

std::string refusal_of(const std::filesystem::path& file) {
  try {
    load_dissection(file);
  } catch (const FileError& error) {
    return error.what();
  }
  return "accepted";
}

}  // namespace

TEST_CASE("dissection: read as it was written, and the same bytes again") {
  const TemporaryFolder folder;
  const Dissection written = some_dissection();
  save_dissection(folder / "a.json", written);
  const Dissection read = load_dissection(folder / "a.json");
  CHECK(read.step == written.step);
  CHECK(read.settings == written.settings);
  REQUIRE(read.measurements.size() == 2);
  for (size_t i = 0; i < 2; ++i) {
    const Measurement &a = written.measurements[i], &b = read.measurements[i];
    CHECK(a.name == b.name);
    CHECK(a.dimensions == b.dimensions);
    REQUIRE(a.values.size() == b.values.size());
    for (size_t j = 0; j < a.values.size(); ++j)
      CHECK((a.values[j] == b.values[j] || (std::isnan(a.values[j]) && std::isnan(b.values[j]))));
  }
  save_dissection(folder / "b.json", read);
  CHECK(text_of(folder / "a.json") == text_of(folder / "b.json"));
  REQUIRE(read.find("number"));
  CHECK(read.find("number")->values[0] == 1.0 / 3);
  CHECK(!read.find("nothing"));
}

TEST_CASE("dissection: an infinity cannot be written, and leaves the old file") {
  const TemporaryFolder folder;
  Dissection dissection = some_dissection();
  save_dissection(folder / "a.json", dissection);
  const std::string before = text_of(folder / "a.json");
  dissection.measurements[1].values[0] = std::numeric_limits<double>::infinity();
  CHECK_THROWS_WITH_AS(save_dissection(folder / "a.json", dissection), doctest::Contains("number holds an infinity"),
                       ValueError);
  CHECK(text_of(folder / "a.json") == before);
}

TEST_CASE("dissection: files that are damaged or of another version are refused") {
  const TemporaryFolder folder;
  save_dissection(folder / "a.json", some_dissection());
  const std::string good = text_of(folder / "a.json");
  const auto refused = [&](const std::string& text, const std::string& reason) {
    CAPTURE(text);
    write_text(folder / "b.json", text);
    const std::string message = refusal_of(folder / "b.json");
    CAPTURE(message);
    CHECK(holds(message, reason));
    CHECK(holds(message, "b.json"));
  };
  const auto with = [&](const std::string& what, const std::string& instead) {
    std::string text = good;
    REQUIRE(holds(text, what));
    return text.replace(text.find(what), what.size(), instead);
  };
  CHECK(refusal_of(folder / "a.json") == "accepted");
  CHECK(holds(refusal_of(folder / "none.json"), "none.json"));
  refused("", "is damaged");
  refused(good.substr(0, good.size() / 2), "is damaged");
  refused(with("phasor dissection 1", "phasor dissection 2"), "is of another version: 'phasor dissection 2'");
  refused(with("\"step\"", "\"stop\""), "is damaged");
  refused(with("0.1,", "0.1,0.2,"), "5 values for 4");
  refused(with("0.1,", ""), "3 values for 4");
  refused(with("0.1,", "\"x\","), "is damaged");
  refused(with("[0.0,1.0]", "[0.0,1.0,2.0]"), "4 values for 6");
  refused(with("\"name\":\"share\"", "\"name\":7"), "is damaged");
  refused(std::string(100000, '['), "is damaged");
}
