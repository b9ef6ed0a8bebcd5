// Making, locking and recognising the folder of a run.
#include "experiments/run_folder.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include "core/error.hpp"
#include "nn/files.hpp"

namespace phasor {
namespace fs = std::filesystem;

// flock, not a file that exists: the kernel drops it when the process dies, however it dies.
struct RunFolder::Lock {
  int descriptor;
  explicit Lock(const fs::path& path) : descriptor(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644)) {
    require<ResourceError>(descriptor >= 0, "run", "cannot open ", path, ": ", std::strerror(errno));
    if (flock(descriptor, LOCK_EX | LOCK_NB) == 0) {
      const std::string mine = std::to_string(getpid()) + "\n";
      if (ftruncate(descriptor, 0) != 0 || pwrite(descriptor, mine.data(), mine.size(), 0) < 0) {
        // The number only helps a person who reads the error below; the lock itself is held.
      }
      return;
    }
    std::string holder;
    std::ifstream(path) >> holder;
    close(descriptor);
    fail<BusyError>("run", "another run holds ", path.parent_path(), holder.empty() ? "" : " (process " + holder + ")",
                    "; wait until it has ended");
  }
  ~Lock() { close(descriptor); }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;
};

// Whether a folder holds more than the files that a run begins with. From snapshots no run goes on.
static bool has_progress(const fs::path& folder) {
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (name != "settings.toml" && name != "machine.json" && name != "run.lock" && name != "metrics.jsonl" &&
        name != "timing.jsonl" && !name.starts_with("weights-"))
      return true;
  }
  return false;
}

RunFolder::RunFolder(const fs::path& path, const Settings& settings, Resume resume) : path_(path), resume_(resume) {
  validate(settings);  // what is written here is read again; a question has added its name since the last time
  std::error_code error;
  const bool existed = fs::exists(path, error);
  require<UsageError>(!existed || fs::is_directory(path, error), "run", path, " is a file; --out needs a folder");
  const bool ours = fs::exists(file("settings.toml"), error);
  if (existed && !ours) {
    for (const fs::directory_entry& entry : fs::directory_iterator(path, error))
      // A run that was killed before its first file leaves the lock, and perhaps a temporary file beside it.
      require<UsageError>(entry.path().filename().string().rfind("run.lock", 0) == 0 ||
                              entry.path().filename().string().rfind("settings.toml", 0) == 0,
                          "run", path, " is not empty and holds no run; choose another folder with --out");
  }
  fs::create_directories(path, error);
  require<ResourceError>(!error, "run", "cannot create ", path, ": ", error.message());
  lock_ = std::make_shared<Lock>(file("run.lock"));
  remove_unfinished_files(path);
  // A run that stopped before it had anything to lose makes room for another try, also one with other settings.
  if (fs::exists(file("settings.toml"), error) && has_progress(path)) {
    const std::string keys = differing_keys(settings_of_run(path), settings);
    require<UsageError>(keys.empty(), "run", path, " was made with other settings: ", keys,
                        "; choose another folder with --out, or go on as it was made with --config ",
                        (path / "settings.toml").string());
    require<UsageError>(finished() || resume == Resume::yes, "run", path,
                        " holds an unfinished run; continue it with --resume, or remove the folder");
  } else {
    write_file_atomically(file("settings.toml"), to_toml(settings));
  }
}

bool RunFolder::finished() const {
  std::error_code error;
  return fs::exists(file("results.csv"), error);
}

fs::path default_run_path(const std::string& name, const Settings& settings) {
  const std::string text = to_toml(settings);
  return fs::path("runs") / (name + "-" + sha256_hex(std::as_bytes(std::span(text.data(), text.size()))).substr(0, 10));
}

Settings settings_of_run(const fs::path& folder) {
  std::error_code error;
  require<FileError>(fs::is_directory(folder, error), "run", folder, " is not a folder");
  require<FileError>(fs::exists(folder / "settings.toml", error), "run", folder,
                     " has no settings.toml; it is not a run folder");
  const std::vector<std::byte> bytes = read_file(folder / "settings.toml");
  Settings settings;
  try {
    read_toml(settings, std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()),
              (folder / "settings.toml").string());
    validate(settings);
  } catch (const UsageError& error) {
    fail<FileError>("run", folder, " was made by another version of phasor, or changed by hand: ", error.what());
  }
  return settings;
}

}  // namespace phasor
