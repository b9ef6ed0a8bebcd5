// Calls an observer, and holds it to its contract.
#include "nn/observer.hpp"

#include "autograd/device.hpp"
#include "core/nearest_name.hpp"

namespace phasor {

const char* name_of(Site site) {
  switch (site) {  // no default: the compiler warns of a site without a name
    case Site::embedded:
      return "embedded";
    case Site::residual:
      return "residual";
    case Site::q:
      return "q";
    case Site::k:
      return "k";
    case Site::v:
      return "v";
    case Site::q_rotated:
      return "q_rotated";
    case Site::k_rotated:
      return "k_rotated";
    case Site::q_far:
      return "q_far";
    case Site::k_far:
      return "k_far";
    case Site::score:
      return "score";
    case Site::score_biased:
      return "score_biased";
    case Site::pattern:
      return "pattern";
    case Site::head_out:
      return "head_out";
    case Site::mlp_out:
      return "mlp_out";
    case Site::logits:
      return "logits";
  }
  return "unknown";
}

Site site_named(const std::string& name) {
  std::vector<std::string> names;
  for (int i = 0; i <= static_cast<int>(Site::logits); ++i) {
    if (name == name_of(static_cast<Site>(i))) return static_cast<Site>(i);
    names.emplace_back(name_of(static_cast<Site>(i)));
  }
  throw UsageError(unknown_name("site", name, names));
}

Var observed(const Observer* observer, Place place, const Var& value) {
  if (!observer || !observer->wants(place.site)) return value;
  if (observer->read) observer->read(place, value.value().to(Device::cpu));
  if (!observer->replace) return value;
  const Var replaced = on(value.device(), observer->replace(place, value));
  const auto require_same = [&]<class E>(bool same, const auto& got, const auto& needed) {
    require<E>(same, "observer", "site ", name_of(place.site), ", layer ", place.layer, ": returned ", got,
               " in place of ", needed);
  };
  require_same.template operator()<ShapeError>(replaced.shape() == value.shape(), replaced.shape(), value.shape());
  require_same.template operator()<DtypeError>(replaced.dtype() == value.dtype(), replaced.dtype(), value.dtype());
  return replaced;
}

}  // namespace phasor
