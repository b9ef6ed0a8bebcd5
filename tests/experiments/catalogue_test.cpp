// What is said about each encoding: by which mechanism it acts and which settings it reads, both found by asking it.
#include "experiments/catalogue.hpp"

#include <doctest/doctest.h>

#include <sstream>

#include "experiments/report/text.hpp"
#include "tests/support/command.hpp"

using namespace phasor;
using Strings = std::vector<std::string>;

TEST_CASE("catalogue: the mechanism is the parts that an encoding fills, and which of them are learned") {
  for (const auto& [name, expected] : {std::pair{"rope", "rotation"},
                                       {"hope", "rotation"},
                                       {"lerope", "learned rotation"},
                                       {"fope", "learned rotation"},
                                       {"darope", "learned rotation"},
                                       {"irope", "rotation"},
                                       {"rerope", "rotation, far rotation"},
                                       {"pope", "learned features, rotation"},
                                       {"alibi", "bias of distances"},
                                       {"t5", "learned bias of distances"},
                                       {"fox", "learned bias of positions"},
                                       {"cope", "learned transform of scores"},
                                       {"sinusoidal", "embedding"},
                                       {"learned", "learned embedding"},
                                       {"randomized", "rotation, training positions"},
                                       {"nope", "none"}})
    CHECK_MESSAGE(mechanism(encoding_named(name)) == expected, name);

  // Of one without a file, which has no bias in its first layer.
  const EncodingEntry entry = {
      .summary = "", .paper = "", .claims = {}, .make = [](const AttentionShape&, ParameterList& parameters) {
        const Var slope = parameters.add("slope", Tensor::scalar(1, Dtype::f32));
        PositionalEncoding encoding =
            PositionalEncoding::bias([=](const Var& distance) { return -(slope * distance); });
        encoding.bias_of_positions = [](const PositionalContext&) { return Var(); };
        return encoding;
      }};
  CHECK(mechanism(entry) == "learned bias of distances, bias of positions");
  CHECK(settings_read(entry).empty());
}

TEST_CASE("catalogue: the settings that an encoding reads are those that change what it gives") {
  for (const auto& [name, expected] :
       {std::pair<const char*, Strings>{"rope", {"encoding.base"}},
        {"p_rope", {"encoding.base", "encoding.fraction"}},
        {"partial", {"encoding.base", "encoding.fraction"}},
        {"interpolation", {"encoding.base", "encoding.factor"}},
        {"dynamic_ntk", {"encoding.base", "encoding.factor"}},
        {"longrope", {"encoding.base", "encoding.factor", "encoding.short_factors", "encoding.long_factors"}},
        {"darope", {"encoding.base"}},
        {"sinusoidal", {"encoding.base"}},
        {"alibi", {}},
        {"sandwich", {}},
        {"dape", {}},
        {"expression", {"encoding.base", "encoding.frequency", "encoding.bias", "encoding.learned", "encoding.starts"}},
        {"nope", {}}})
    CHECK_MESSAGE(settings_read(encoding_named(name)) == expected, name);
}

TEST_CASE("catalogue: phasor list --why tells everything about one encoding within 80 columns") {
  for (const auto& [name, entry] : encodings()) {
    CAPTURE(name);
    const std::string sheet = encoding_sheet(name);
    CHECK(sheet.starts_with(name + ": " + entry.summary + "\n\npaper      "));
    CHECK(sheet.find("nn/positional/encodings/" + name + ".cpp") != std::string::npos);
    std::istringstream lines(sheet);
    for (std::string line; std::getline(lines, line);) {
      CHECK(character_count(line) <= 80);
      CHECK_FALSE(line.ends_with(' '));
    }
    std::istringstream words(entry.unsure);  // all of it, wherever the lines break
    for (std::string word; words >> word;) CHECK(sheet.find(word) != std::string::npos);
  }
  CHECK(testing::run_phasor({"list", "--why", "longrope"}).out ==
        "longrope: rotary slowed by a list of factors, by length short or long\n"
        "\n"
        "paper      Ding et al., LongRoPE, arXiv:2402.13753\n"
        "file       nn/positional/encodings/longrope.cpp\n"
        "mechanism  rotation\n"
        "holds      scores depend on differences of positions only\n"
        "           nothing is learned\n"
        "limits     its tables change with the length of the text: a cache of keys serves\n"
        "           until then\n"
        "unsure     Second-hand: that the paper's search starts from ntk's factors, among\n"
        "           others, and that some first tokens keep their frequencies there,\n"
        "           which is left out.\n"
        "settings   encoding.base: ratio of the rotary frequencies\n"
        "           encoding.factor: tables are made for this times L\n"
        "           encoding.short_factors: longrope's up to L; []: ones\n"
        "           encoding.long_factors: longrope's beyond; []: as ntk\n"
        "use        phasor eval RUN --encoding longrope, of a model trained with rope\n");
  CHECK(encoding_sheet("learned").find("limits     positions stay below train.length\n") != std::string::npos);
  CHECK(encoding_sheet("xpos").find("limits     positions stay below 27195\n") != std::string::npos);
  CHECK(encoding_sheet("cope").find("limits     attention stores its scores: the encoding transforms scores\n") !=
        std::string::npos);
  for (const char* name : {"fire", "fox"})
    CHECK(encoding_sheet(name).find("limits     attention stores its biases: memory grows as the length squared\n") !=
          std::string::npos);
  CHECK(encoding_sheet("alibi").find("limits") == std::string::npos);
  CHECK(encoding_sheet("rope").find("unsure     nothing that we know of\n") != std::string::npos);
  CHECK(encoding_sheet("fope").find("holds      none\n") != std::string::npos);
}

TEST_CASE("catalogue: the sheet of expression tells its settings, and what its formulas may read and call") {
  const std::string sheet = encoding_sheet("expression");
  for (const char* part : {"settings   encoding.base: ratio of the rotary frequencies\n",
                           "           encoding.frequency: of expression; \"\": none\n",
                           "           encoding.bias: of expression: added to the scores\n",
                           "           encoding.learned: names that the formulas learn\n",
                           "           encoding.starts: a formula for each of them\n",
                           "frequency  component: 0 for the fastest, to components - 1\n",
                           "           base_wavelength: RoPE's, 2 pi / base_frequency, tokens\n",
                           "bias       distance: position of the query minus that of the key, from 0\n",
                           "functions  where: where(condition, a, b) is a where that holds, else b\n",
                           "           uniform: uniform(low, high) is drawn; in encoding.starts only\n"})
    CHECK_MESSAGE(sheet.find(part) != std::string::npos, part, sheet);
  CHECK(encoding_sheet("rope").find("frequency  ") == std::string::npos);
}
