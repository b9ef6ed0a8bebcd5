// RunFolder: the folder of one run, held by a lock while the run works in it.
//
//   settings.toml, metrics.jsonl, checkpoint-* and weights-*.safetensors,
//   results.csv, report.html                                             repeat byte for byte
//   timing.jsonl, machine.json, run.lock, and results.txt where it tells speeds         do not
//
// results.csv is written last: a folder that has it is finished.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "experiments/settings.hpp"

namespace phasor {

enum class Resume { no, yes };

class RunFolder {
 public:
  // Creates the folder, or takes it up again. Errors:
  //   BusyError      another process holds it
  //   UsageError     it holds progress and was made with other settings (names the keys that differ) or is unfinished
  //                  and resume is no,
  //                  or is not empty and no run folder, or the settings are not valid
  //   ResourceError  it cannot be created or written
  RunFolder(const std::filesystem::path& path, const Settings& settings, Resume resume);

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path file(const std::string& name) const { return path_ / name; }
  Resume resume() const { return resume_; }
  bool finished() const;

 private:
  struct Lock;
  std::filesystem::path path_;
  Resume resume_;
  std::shared_ptr<Lock> lock_;
};

// runs/NAME-HASH, HASH from the settings: the same settings find the same folder.
std::filesystem::path default_run_path(const std::string& name, const Settings& settings);

// The settings a run was made with. FileError if the folder has none.
Settings settings_of_run(const std::filesystem::path& folder);

}  // namespace phasor
