// What holds for all rotations: precision at large positions, each another function than rope, gradients of what they
// learn, a factor of 1.
#include <doctest/doctest.h>

#include <cmath>
#include <set>

#include "autograd/gradcheck.hpp"
#include "nn/model.hpp"
#include "tests/positional/rotation_tables.hpp"
#include "tests/support/encoding_scores.hpp"
#include "tests/support/op_case.hpp"
#include "tests/support/small_model.hpp"

using namespace phasor;

namespace {

const std::vector<std::string> extensions = {"interpolation", "ntk",        "dynamic_ntk", "ntk_by_parts",
                                             "yarn",          "yarn_paper", "llama3",      "longrope"};

const std::vector<std::string> others = {"clipped", "clipped_hard", "partial", "harpe", "lerope",
                                         "irope",   "xpos",         "fope",    "darope"};

}  // namespace

TEST_CASE("rotations: a model in f32 has the tables of one in f64, rounded once, up to position one million") {
  for (const auto& [name, entry] : encodings()) {
    CAPTURE(name);
    AttentionShape single_shape = shape_of(64, 128), double_shape = single_shape;
    single_shape.dtype = Dtype::f32;
    ParameterList single_learned, double_learned;
    const PositionalEncoding single = make_encoding(entry, single_shape, single_learned),
                             exact = make_encoding(entry, double_shape, double_learned);
    if (!single.rotation) continue;
    // The same numbers in both: a learned one that enters an angle in f32 would be off by its rounding.
    stir(single_learned, 2);
    for (const Parameter& p : single_learned.all()) double_learned[p.name].assign(p.var.value().to(Dtype::f64));
    const auto last = static_cast<double>(std::min<int64_t>(1000000, single.position_limit - 1));
    const Tensor positions = Tensor::of<double>({1, 5}, {0, 1, 4095, last - 0.5, last});
    Random random{.seed = 4};
    const Tensor input = normal({1, 5, single_shape.width}, 0, 1, Dtype::f32, random);
    for (const bool far : {false, true}) {
      if (far && !single.far_rotation) continue;
      const auto tables = [&](PositionalEncoding encoding, Dtype dtype) {
        if (far) encoding.rotation = encoding.far_rotation;
        return tables_at(encoding, positions, 5, dtype, 0, input.to(dtype));
      };
      const RotaryTables got = tables(single, Dtype::f32), want = tables(exact, Dtype::f64);
      for (const auto& [table, reference] : {std::pair{got.q_cos, want.q_cos},
                                             {got.q_sin, want.q_sin},
                                             {got.k_cos, want.k_cos},
                                             {got.k_sin, want.k_sin}})
        for (int64_t row = 0; row < 5; ++row)
          CHECK(mismatch(table.value().slice(2, row, row + 1), Dtype::f32, reference.value().slice(2, row, row + 1),
                         1e-7) == "");
      if (far || !exact.rotation->spectrum) continue;
      for (const Component& c : *exact.rotation->spectrum) {
        const auto number = [&](const Var& table) { return table.value().view<double>()(0, 0, 4, c.index); };
        const long double angle = static_cast<long double>(c.frequency) * static_cast<long double>(last);
        const double gain = std::hypot(number(want.q_cos), number(want.q_sin));  // xpos scales by position
        CHECK(std::abs(number(want.q_cos) / gain - static_cast<double>(std::cos(angle))) <= 1e-9);
        CHECK(std::abs(number(want.q_sin) / gain - static_cast<double>(std::sin(angle))) <= 1e-9);
      }
    }
  }
}

TEST_CASE("rotations: queries and keys turn by their own positions") {
  for (const auto& [name, entry] : encodings()) {
    CAPTURE(name);
    const AttentionShape shape = shape_of(16, 128);
    const PositionalEncoding encoding = made(name, shape);
    if (!encoding.rotation) continue;
    Random random{.seed = 4};
    const Tensor input = normal({1, 9, shape.width}, 0, 1, Dtype::f64, random);
    const RotaryTables all = tables_at(encoding, consecutive_positions(9), 9, Dtype::f64, 0, input);
    PositionalContext context;
    context.layer_input = input.slice(1, 7, 9);
    context.key_input = input;
    context.q = Tensor::empty({0, 0, 0, 0}, Dtype::f64);
    context.current_length = 9;
    context.q_positions = consecutive_positions(2, 7);
    context.k_positions = consecutive_positions(9);
    const RotaryTables last = encoding.rotation->tables(context);
    CHECK(bit_mismatch(last.q_cos.value(), all.q_cos.value().slice(2, 7, 9)) == "");
    CHECK(bit_mismatch(last.q_sin.value(), all.q_sin.value().slice(2, 7, 9)) == "");
    CHECK(bit_mismatch(last.k_cos.value(), all.k_cos.value()) == "");
    CHECK(bit_mismatch(last.k_sin.value(), all.k_sin.value()) == "");
  }
}

TEST_CASE("rotations: each is another function than rope, dynamic_ntk beyond the training length") {
  const NoGradient scope;
  Random random{.seed = 6};
  const Tensor ids = random_ids({2, 24}, small_vocabulary, random);
  const Tensor rope = Transformer(small_model("rope", 16), 1).logits(ids).value();
  for (const auto& names : {extensions, others})
    for (const std::string& name : names) {
      CAPTURE(name);
      const Transformer model(small_model(name, 16), 1);
      // Learned frequencies begin as RoPE's.
      CHECK((relative_error(model.logits(ids).value(), rope) > 1e-6) == (name != "lerope"));
      const Tensor within = model.logits(ids.slice(1, 0, 16)).value();
      CHECK((relative_error(within, rope.slice(1, 0, 16)) > 1e-6) == (name != "lerope" && name != "dynamic_ntk"));
    }
}

TEST_CASE("rotations: tables change with the length where table_length says so, and nowhere else") {
  constexpr int64_t train_length = 16;
  const Tensor position = at_position(5), input = Tensor::full({1, 1, 64}, 0.3, Dtype::f64);
  std::set<std::string> changing;
  for (const auto& [name, entry] : encodings()) {
    CAPTURE(name);
    const PositionalEncoding encoding = made(name, shape_of(16, train_length));
    if (!encoding.rotation) continue;
    const auto same = [&](int64_t length, int64_t other) {
      const auto at = [&](int64_t current) { return tables_at(encoding, position, current, Dtype::f64, 0, input); };
      const RotaryTables a = at(length), b = at(other);
      return bit_mismatch(a.q_cos.value(), b.q_cos.value()) == "" &&
             bit_mismatch(a.k_sin.value(), b.k_sin.value()) == "";
    };
    for (int64_t length = 1; length < 4 * train_length; ++length) {
      CAPTURE(length);
      CHECK(same(length, length + 1) == encoding.same_tables(length, length + 1));
      CHECK(same(1, length) == encoding.same_tables(1, length));
      if (encoding.rotation->table_length) CHECK(same(length, encoding.rotation->table_length(length)));
    }
    if (!encoding.same_tables(1, 4 * train_length)) changing.insert(name);
  }
  CHECK(changing == std::set<std::string>{"dynamic_ntk", "longrope"});
}

TEST_CASE("rotations: what the encodings learn reaches the model's gradients") {
  Random random{.seed = 6};
  const Tensor ids = random_ids({2, 12}, small_vocabulary, random);
  for (const char* name : {"lerope", "fope", "darope"}) {
    CAPTURE(name);
    const Transformer model(small_model(name, 16), 1);
    for (const Parameter& parameter : model.parameters().all()) {
      if (!parameter.name.starts_with("encoding.")) continue;
      CAPTURE(parameter.name);
      const GradcheckResult result = gradcheck([&] { return sum(tanh(model.logits(ids))); }, {parameter.var},
                                               {.cotangents = 1, .elementwise_up_to = 16, .directions = 2});
      CHECK_MESSAGE(result.worst <= 1e-6, result.message);
    }
  }
}

TEST_CASE("encodings that read a model trained with rope: they turn its components and learn nothing") {
  for (const std::string& name : extensions) CHECK_MESSAGE(encoding_named(name).reads_rope, name);
  for (const char* name : {"rerope", "self_extend"}) CHECK_MESSAGE(encoding_named(name).reads_rope, name);
  for (const char* name : {"rope", "hope", "nope", "alibi", "lerope", "randomized"})
    CHECK_MESSAGE(!encoding_named(name).reads_rope, name);
  for (const auto& [name, entry] : encodings()) {
    if (!entry.reads_rope) continue;
    CAPTURE(name);
    ParameterList learned;
    const PositionalEncoding encoding = entry.make(shape_of(16, 128), learned);
    CHECK(learned.all().empty());
    REQUIRE(encoding.rotation);
    CHECK_FALSE((encoding.features || encoding.bias_of_distance || encoding.bias_of_positions || encoding.transform ||
                 encoding.embed || encoding.training_positions));
  }
}

TEST_CASE("a factor of 1 extends nothing: rope") {
  for (const std::string& name : extensions) {
    CAPTURE(name);
    check_frequencies(waves_of(made(name, shape_of(64, 128, 1))), rope_frequencies(64));
  }
}
