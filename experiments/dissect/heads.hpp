// What the attention of a trained model reads and computes, layer by layer.
#pragma once

#include <functional>
#include <vector>

#include "nn/model.hpp"

namespace phasor {

// Values of one layer while the model reads; f32, as the model has them. Those not asked for are undefined.
struct LayerValues {
  int64_t layer = 0;
  std::vector<Tensor> of_site;  // by static_cast<size_t>(Site)
  const Tensor& operator[](Site site) const { return of_site[static_cast<size_t>(site)]; }
};

// The model reads ids [batch, length] without recording; `visit` gets the sites of each layer, one layer at a time, so
// that memory holds one layer's. Sites embedded and logits belong to no layer: UsageError. Interrupted after the layer
// at which a signal came.
void visit_layers(const Transformer& model, const Tensor& ids, const std::vector<Site>& sites,
                  const std::function<void(const LayerValues&)>& visit);

}  // namespace phasor
