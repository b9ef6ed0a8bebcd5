// AblationLog: what the ablations of a sweep found, in a file that grows by one line for each, so that a sweep that was
// stopped goes on where it was.
//
//   {"format":"phasor ablations 1","step":900,"settings":["dissect.edge=0.04",...]}
//   {"which":{"ablation":"stop","first":0,"last":0,"layer":-1,"head":-1},"loss":[0.25,...],"loss_half_width":[0.01,...],
//    "u_depth":[],"head_score":[]}
//   ...
//
// Numbers are in their shortest exact form, NaN as null: what is read is what was measured, to the last bit.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "experiments/dissect/ablation.hpp"
#include "nn/files.hpp"

namespace phasor {

// Differences from the intact model.
struct AblationEffect {
  std::vector<double> loss = {}, loss_half_width = {};  // by length of the windows
  std::vector<double> u_depth = {},
                      head_score = {};  // in the order of u_shape() and head_scores(); empty where not measured
};

class AblationLog {
 public:
  // Opens or creates the file of a sweep of the weights of `step`, made with `settings` (dissect.*, as --set takes
  // them). What it holds of other weights or settings is dropped, as is what follows a damaged line; a warning on
  // stderr says so, but not of a last line that was torn when the process died. FileError or ResourceError if it cannot
  // be read or written.
  AblationLog(const std::filesystem::path& path, int64_t step, const std::vector<std::string>& settings);

  const AblationEffect* find(Ablation ablation, const Ablated& which) const;  // null if it has not been run

  // ValueError for infinities, which the file cannot hold; ResourceError leaves the file as it was.
  void add(Ablation ablation, const Ablated& which, const AblationEffect& effect);

 private:
  std::map<std::string, AblationEffect> effects_;  // by the text of "which"
  std::optional<AppendFile> file_;
};

}  // namespace phasor
