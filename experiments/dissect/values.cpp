// Collects the sites of all layers and hands them to the writer.
#include "experiments/dissect/values.hpp"

#include "experiments/report/npz.hpp"

namespace phasor {

void require_sites(const PositionalEncoding& encoding, const std::string& name, const std::vector<Site>& sites) {
  for (const Site site : sites)
    require<UsageError>((site != Site::q_far && site != Site::k_far) || encoding.far_rotation, "dissect", "site ",
                        name_of(site), " is of encodings with a far rotation, such as rerope; the model's is ", name);
}

void write_values(const std::filesystem::path& path, const Transformer& model, const Tensor& ids,
                  const std::vector<Site>& sites) {
  require_sites(model.encoding(), model.shape().encoding, sites);
  std::vector<NamedTensor> arrays = {{"ids", ids}};
  Observer observer{.sites = sites};
  observer.read = [&](Place place, const Tensor& value) {
    const std::string layer = place.layer < 0 ? "" : "layer" + std::to_string(place.layer) + ".";
    arrays.push_back({layer + name_of(place.site), value});
  };
  const NoGradient scope;
  model.logits(ids, {.observer = &observer});
  write_npz(path, arrays);
}

}  // namespace phasor
