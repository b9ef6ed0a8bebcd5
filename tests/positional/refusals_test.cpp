// What encodings refuse, and in which words: settings that leave them nothing to do, positions beyond their tables, and
// parts that contradict each other.
#include <doctest/doctest.h>

#include <cmath>
#include <functional>

#include "experiments/catalogue.hpp"
#include "nn/model.hpp"
#include "tests/positional/rotation_tables.hpp"
#include "tests/support/small_model.hpp"

using namespace phasor;

namespace {

// The message without the line of the source at its end; "accepted" if there is none.
std::string refusal(const std::function<void()>& act) {
  try {
    act();
  } catch (const Error& error) {
    const std::string message = error.what();
    return message.substr(0, message.rfind(" ("));
  }
  return "accepted";
}

std::string refusal(const EncodingEntry& entry, const AttentionShape& shape) {
  ParameterList learned;
  return refusal([&] { make_encoding(entry, shape, learned); });
}

using Change = std::function<void(AttentionShape&)>;

AttentionShape changed(const Change& change) {
  AttentionShape shape = shape_of(16, 128);
  change(shape);
  return shape;
}

Change with_head_dim(int64_t head_dim) {
  return [=](AttentionShape& s) { s.head_dim = head_dim; };
}
Change with_train_length(int64_t length) {
  return [=](AttentionShape& s) { s.train_length = length; };
}
Change with_fraction(double fraction) {
  return [=](AttentionShape& s) { s.fraction = fraction; };
}
Change with_lists(const std::vector<double>& short_factors, const std::vector<double>& long_factors) {
  return [=](AttentionShape& s) { s.short_factors = short_factors, s.long_factors = long_factors; };
}

bool reads(const EncodingEntry& entry, const std::string& setting) {
  const std::vector<std::string> settings = settings_read(entry);
  return std::find(settings.begin(), settings.end(), setting) != settings.end();
}

}  // namespace

TEST_CASE("encodings refuse settings that leave them nothing to do") {
  const std::vector<double> eight(8, 2.0);
  struct Case {
    const char* encoding;
    Change change;
    const char* message;
  };
  const std::vector<Case> cases = {
      {"hope", with_train_length(6),
       "hope: nothing is left to rotate: the fastest wavelength is 6.28319 tokens, train.length is 6; train longer, or "
       "use nope"},
      {"hope", with_train_length(7), "accepted"},
      {"fope", with_train_length(6),
       "fope: nothing is left to rotate: the fastest wavelength is 6.28319 tokens, train.length is 6; train longer"},
      {"fope", with_train_length(7), "accepted"},
      {"darope", with_train_length(20000),
       "darope: no component is slow: the slowest wavelength is 19869.2 tokens, train.length is 20000; train shorter, "
       "or with a larger encoding.base"},
      {"darope", with_train_length(19869), "accepted"},
      {"rerope", with_train_length(3),
       "rerope: the window, a quarter of train.length = 3, holds no token; needs train.length 4 or more"},
      {"rerope", with_train_length(4), "accepted"},
      {"self_extend", with_train_length(3),
       "self_extend: the window, a quarter of train.length = 3, holds no token; needs train.length 4 or more"},
      {"self_extend", with_train_length(4), "accepted"},
      {"randomized", with_train_length(2048),
       "randomized: train.length is 2048; positions are drawn below 2048, which must be more"},
      {"randomized", with_train_length(2047), "accepted"},
      {"longrope", with_train_length(1), "longrope: train.length is 1; needs at least 2"},
      {"longrope", with_train_length(2), "accepted"},
      {"clipped", with_head_dim(6),
       "clipped: a taper needs 2 components, got 1 of 3 (20 of 64): head_dim is 6; needs at least 8"},
      {"clipped", with_head_dim(8), "accepted"},
      {"clipped_hard", with_head_dim(2), "clipped_hard: nothing is left to rotate: head_dim is 2; needs at least 4"},
      {"clipped_hard", with_head_dim(4), "accepted"},
      {"ntk", with_head_dim(2), "ntk: a fastest and a slowest component are needed: head_dim is 2; needs at least 4"},
      {"ntk", with_head_dim(4), "accepted"},
      {"dynamic_ntk", with_head_dim(2),
       "dynamic_ntk: a fastest and a slowest component are needed: head_dim is 2; needs at least 4"},
      {"dynamic_ntk", with_head_dim(4), "accepted"},
      {"harpe", [](AttentionShape& s) { s.kv_heads = 1; },
       "harpe: different bases need different keys: there is 1 key head; needs at least 2 (model.heads, "
       "model.kv_heads)"},
      {"irope", [](AttentionShape& s) { s.layers = 1; },
       "irope: layers with and without positions take turns: model.layers is 1; needs at least 2"},
      {"irope", [](AttentionShape& s) { s.layers = 2; }, "accepted"},
      {"longrope", with_lists({1, 2, 3}, {}),
       "longrope: encoding.short_factors has 3 numbers; needs one for each of the 8 components (model.width / "
       "model.heads / 2), or none"},
      {"longrope", with_lists({}, {1, 2, 0.5, 3, 4, 5, 6, 7}),
       "longrope: encoding.long_factors has 0.5; needs finite numbers >= 1"},
      {"longrope", with_lists({1, 2, 3, 4, 5, 6, 7, NAN}, {}),
       "longrope: encoding.short_factors has nan; needs finite numbers >= 1"},
      {"longrope", with_lists(eight, eight), "accepted"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.encoding);
    CHECK(refusal(encoding_named(c.encoding), changed(c.change)) == c.message);
  }
}

TEST_CASE("encodings refuse a fraction that is none, or leaves no component") {
  for (const std::string name : {"p_rope", "partial"}) {
    CAPTURE(name);
    for (const auto& [fraction, message] :
         {std::pair{0.0,
                    ": nothing is left to rotate: encoding.fraction = 0 of 8 components is less than 1; needs "
                    "more, or use nope"},
          {0.12,
           ": nothing is left to rotate: encoding.fraction = 0.12 of 8 components is less than 1; needs more, or "
           "use nope"},
          {-0.5, ": encoding.fraction is -0.5; needs a number from 0 to 1"},
          {1.01, ": encoding.fraction is 1.01; needs a number from 0 to 1"},
          {std::nan(""), ": encoding.fraction is nan; needs a number from 0 to 1"}})
      CHECK(refusal(encoding_named(name), changed(with_fraction(fraction))) == name + message);
    for (const double fraction : {0.125, 0.3, 1.0})
      CHECK(refusal(encoding_named(name), changed(with_fraction(fraction))) == "accepted");
  }
}

TEST_CASE("encodings refuse a base, a factor, a length or a head that no formula can take") {
  for (const auto& [name, entry] : encodings()) {
    CAPTURE(name);
    CHECK(refusal(entry, changed(with_train_length(0))) == "encoding: train_length is 0; needs at least 1");
    const PositionalEncoding encoding = made(name, shape_of(16, 128));
    if (encoding.rotation && !encoding.features)
      CHECK(refusal(entry, changed(with_head_dim(15))) ==
            "encoding: head_dim = width / heads = 15 is odd; components are pairs of channels");
    if (encoding.rotation) CHECK(refusal(entry, changed(with_head_dim(0))) != "accepted");
    if (reads(entry, "encoding.base"))
      for (const auto& [base, shown] :
           {std::pair{1.0, "1"}, {0.0, "0"}, {-2.0, "-2"}, {double{INFINITY}, "inf"}, {std::nan(""), "nan"}}) {
        const std::string message = refusal(entry, changed([&](AttentionShape& s) { s.rope_base = base; }));
        CHECK(message.ends_with(std::string(": needs a finite base above 1, got ") + shown));
      }
    if (reads(entry, "encoding.factor"))
      for (const auto& [factor, shown] :
           {std::pair{0.5, "0.5"}, {0.0, "0"}, {double{INFINITY}, "inf"}, {std::nan(""), "nan"}})
        CHECK(refusal(entry, changed([&](AttentionShape& s) { s.factor = factor; })) ==
              name + ": the extension factor is " + shown + "; needs a finite number >= 1 (encoding.factor)");
  }
}

TEST_CASE("encodings with a table refuse positions beyond it") {
  ParameterList learned;
  const PositionalEncoding xpos = made("xpos", shape_of(16, 128)),
                           table = encoding_named("learned").make(shape_of(16, 128), learned);
  for (const auto& [position, shown] : {std::pair{27195.0, "27195"}, {-27195.0, "-27195"}, {std::nan(""), "nan"}})
    CHECK(refusal([&] { tables_at(xpos, at_position(position)); }) ==
          std::string("xpos: position ") + shown +
              " is beyond the range of its scales; needs positions between -27195 and 27195");
  CHECK(refusal([&] { tables_at(xpos, at_position(27194)); }) == "accepted");
  PositionalContext context;
  const auto embed = [&](double position) {
    context.q_positions = at_position(position);
    return refusal([&] { table.embed(Tensor::zeros({1, 1, 64}, Dtype::f64), context); });
  };
  for (const auto& [position, shown] : {std::pair{128.0, "128"}, {-1.0, "-1"}, {0.5, "0.5"}, {std::nan(""), "nan"}})
    CHECK(embed(position) == std::string("learned: position ") + shown +
                                 " has no row; needs whole positions from 0 to 127 (train.length = 128)");
  CHECK(embed(127) == "accepted");
  Random random{.seed = 1};
  CHECK(refusal([&] { made("randomized", shape_of(16, 128)).training_positions(1, 2049, random); }) ==
        "randomized: a window of 2049 tokens; there are 2048 positions to draw from");
}

TEST_CASE("parts that contradict each other or the shape are refused when a model is made") {
  const Spectrum rope = Spectrum::geometric(8, 10000);
  using Fill = std::function<void(PositionalEncoding&)>;
  const std::vector<std::pair<Fill, std::string>> cases = {
      {[](PositionalEncoding&) {}, "accepted"},
      {[](PositionalEncoding& e) { e.rotation.emplace(); }, "encoding: a rotation has no tables"},
      {[](PositionalEncoding& e) { e.rotation->tables = nullptr; }, "encoding: a rotation has no tables"},
      {[](PositionalEncoding& e) { e.far_rotation.emplace(), e.far_from = 4; }, "encoding: a rotation has no tables"},
      {[](PositionalEncoding& e) { e.far_rotation = e.rotation, e.far_from = 4; }, "accepted"},
      {[](PositionalEncoding& e) {
         e.far_rotation = e.rotation, e.far_from = 4;
         e.far_rotation->spectrum = Spectrum::geometric(9, 10000);
       },
       "encoding: the spectrum has 9 components, head_dim = 16 has 8; needs no more, or features of more channels"},
      {[](PositionalEncoding& e) { e.far_rotation = e.rotation; },
       "encoding: far_from is 0; a far rotation needs a distance of at least 1 to begin at"},
      {[](PositionalEncoding& e) { e.far_rotation = e.rotation, e.far_from = 4, e.rotation.reset(); },
       "encoding: there is a far rotation but no rotation; near pairs need one too"},
      {[](PositionalEncoding& e) { e.far_from = 4; },
       "encoding: far_from is 4, but there is no far rotation to begin there"},
      {[](PositionalEncoding& e) { e.position_limit = 0; },
       "encoding: position_limit is 0: no position is below it; needs at least 1"},
      {[](PositionalEncoding& e) { e = PositionalEncoding::rotary(Spectrum::geometric(9, 10000)); },
       "encoding: the spectrum has 9 components, head_dim = 16 has 8; needs no more, or features of more channels"},
  };
  for (const auto& [fill, message] : cases) {
    const EncodingEntry entry = {
        .summary = "", .paper = "", .claims = {}, .make = [&](const AttentionShape&, ParameterList&) {
          PositionalEncoding encoding = PositionalEncoding::rotary(rope);
          fill(encoding);
          return encoding;
        }};
    CHECK(refusal(entry, shape_of(16, 128)) == message);
    ModelShape model = small_model("rope", 16);
    model.width = 16 * model.heads;
    CHECK(refusal([&] { Transformer(model, 1, entry); }) == message);
  }
  CHECK(refusal(EncodingEntry(), shape_of(16, 128)) == "encoding: there is no make");
  for (const auto& [frequency, gain, shown] : {std::tuple{std::nan(""), 1.0, "nan and gain 1"},
                                               {1.0, std::nan(""), "1 and gain nan"},
                                               {double{INFINITY}, 1.0, "inf and gain 1"}})
    CHECK(refusal([&] {
            rope.map([&](Component c) { return c.index == 3 ? Component{c.index, frequency, gain} : c; });
          }) == std::string("spectrum: component 3 has frequency ") + shown + "; needs finite numbers");
}
