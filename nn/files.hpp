// Whole files in, whole files out: reading, atomic writing, a file that only grows, and SHA-256.
//
// A file that is written here is the old one or the new one at every moment, also after a crash or a power cut.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace phasor {

// All bytes of a regular file. FileError names the path and the reason (missing, a folder, no permission, ...).
std::vector<std::byte> read_file(const std::filesystem::path& path);

// Replaces `path`: temporary file next to it, fsync, rename, fsync of the folder. On failure the temporary file is
// removed and ResourceError names the path, the bytes needed and the system's reason; the old file is intact unless
// only the last step failed, when the new one is in place but may not survive a power cut. A symbolic link is replaced.
void write_file_atomically(const std::filesystem::path& path, std::span<const std::byte> bytes);
void write_file_atomically(const std::filesystem::path& path, std::string_view text);

// Removes the temporary files that writers killed in the middle left in `folder`. Only for who holds the folder's lock:
// the temporary file of a writer at work looks the same.
void remove_unfinished_files(const std::filesystem::path& folder);

// 64 lower-case hexadecimal digits.
std::string sha256_hex(std::span<const std::byte> bytes);
std::string sha256_hex(std::string_view text);

// A text file that grows by whole lines, such as metrics.jsonl. A line is handed to the system at once, so it survives
// the death of the process; sync() makes it survive a power cut.
// Bytes of the whole lines of a text file: where to go on after a torn last line. 0 if there is no file.
int64_t whole_line_bytes(const std::filesystem::path& path);

class AppendFile {
 public:
  // Opens or creates `path` and cuts it to its first `keep_bytes`: 0 starts anew; a resumed run passes the bytes() of
  // its checkpoint, which drops whole and torn lines written after it. FileError if the file is shorter than that or
  // the cut is not at the end of a line.
  explicit AppendFile(const std::filesystem::path& path, int64_t keep_bytes = 0);
  AppendFile(AppendFile&& other) noexcept;
  AppendFile& operator=(AppendFile&& other) noexcept;
  ~AppendFile();

  void append(std::string_view line);  // adds the newline; ResourceError leaves the file at its last whole line
  void sync();                         // all lines so far are on the disk, or ResourceError
  int64_t bytes() const { return bytes_; }

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
  int64_t bytes_ = 0;
};

namespace files_testing {
// For fault tests only. Called before each system call that changes files, with its name (open, write, fsync, close,
// rename, ftruncate); a result other than 0 makes that call fail with this errno.
extern std::function<int(const char* call)> before_system_call;
}  // namespace files_testing

}  // namespace phasor
