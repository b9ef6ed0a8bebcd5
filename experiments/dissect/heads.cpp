// Collects the sites of a layer and hands them over when the layer is done.
#include "experiments/dissect/heads.hpp"

#include "experiments/signals.hpp"

namespace phasor {

void visit_layers(const Transformer& model, const Tensor& ids, const std::vector<Site>& sites,
                  const std::function<void(const LayerValues&)>& visit) {
  for (const Site site : sites)
    require<UsageError>(site != Site::embedded && site != Site::logits, "visit_layers", "site ", name_of(site),
                        " belongs to no layer");
  const auto fresh = [] {
    LayerValues values;
    values.of_site.resize(static_cast<size_t>(Site::logits) + 1);
    return values;
  };
  LayerValues layer = fresh();
  Observer observer{.sites = sites};
  const bool residual_wanted = observer.wants(Site::residual);
  if (!residual_wanted) observer.sites.push_back(Site::residual);  // a layer's last
  observer.read = [&](Place place, const Tensor& value) {
    if (place.site != Site::residual || residual_wanted) layer.of_site[static_cast<size_t>(place.site)] = value;
    if (place.site != Site::residual) return;
    layer.layer = place.layer;
    visit(layer);
    if (const int signal = remembered_signal()) throw Interrupted(signal, "stopped before the dissection was done");
    layer = fresh();
  };
  const NoGradient scope;
  model.logits(ids, {.observer = &observer});
}

}  // namespace phasor
