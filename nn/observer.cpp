// Calls an observer, and holds it to its contract.
#include "nn/observer.hpp"

namespace phasor {

const char* name_of(Site site) {
  constexpr const char* names[] = {
      "embedded", "residual",     "q",       "k",        "v",       "q_rotated", "k_rotated",
      "score",    "score_biased", "pattern", "head_out", "mlp_out", "logits"};
  return names[static_cast<int>(site)];
}

Var observed(const Observer* observer, Place place, const Var& value) {
  if (!observer || !observer->wants(place.site)) return value;
  if (observer->read) observer->read(place, value.value());
  if (!observer->replace) return value;
  const Var replaced = observer->replace(place, value);
  require(replaced.shape() == value.shape(), name_of(place.site), "layer ", place.layer, ": the observer returned ",
          replaced.shape(), " in place of ", value.shape());
  require<DtypeError>(replaced.dtype() == value.dtype(), name_of(place.site), "layer ", place.layer,
                      ": the observer returned ", replaced.dtype(), " in place of ", value.dtype());
  return replaced;
}

}  // namespace phasor
