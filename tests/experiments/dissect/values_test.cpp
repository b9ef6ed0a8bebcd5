// What a model's sites hold, written for other programs and read back.
#include "experiments/dissect/values.hpp"

#include <doctest/doctest.h>

#include "tests/support/command.hpp"
#include "tests/support/npz_reader.hpp"
#include "tests/support/op_case.hpp"
#include "tests/support/refusal.hpp"
#include "tests/support/small_model.hpp"

using namespace phasor;
using namespace phasor::testing;

TEST_CASE("write_values: ids, sites of each layer and of none") {
  const Transformer model(small_model("self_extend", 32), 3);
  Random random{.seed = 8};
  const Tensor ids = random_ids({2, 12}, small_vocabulary, random);
  const TemporaryFolder folder;
  write_values(folder / "values.npz", model, ids, {Site::logits, Site::k, Site::k_far});
  const Npz npz = read_npz(text_of(folder / "values.npz"));
  CHECK(npz.names == std::vector<std::string>{"ids", "layer0.k", "layer0.k_far", "layer1.k", "layer1.k_far", "logits"});
  CHECK(npz.arrays.at("ids").values<int64_t>() == ids.to_vector<int64_t>());
  CHECK(npz.arrays.at("ids").shape == "(2, 12, )");
  CHECK(npz.arrays.at("layer1.k_far").shape == "(2, 2, 12, 8, )");

  const NoGradient scope;
  std::vector<double> keys;
  const Observer observer{.sites = {Site::k}, .read = [&](Place place, const Tensor& k) {
                            if (place.layer == 1) keys = k.to_vector<double>();
                          }};
  const std::vector<double> logits = model.logits(ids, {.observer = &observer}).value().to_vector<double>();
  CHECK(npz.arrays.at("layer1.k").values<double>() == keys);
  CHECK(npz.arrays.at("logits").values<double>() == logits);
}

TEST_CASE("write_values: a site that the model does not have is refused") {
  const TemporaryFolder folder;
  const Transformer model(small_model("rope", 32), 3);
  const std::string message = refusal([&] {
    write_values(folder / "v.npz", model, Tensor::zeros({1, 4}, Dtype::i32), {Site::k, Site::q_far});
  });
  CHECK(message.starts_with("dissect: site q_far is of encodings with a far rotation"));
  CHECK_FALSE(std::filesystem::exists(folder / "v.npz"));
}
