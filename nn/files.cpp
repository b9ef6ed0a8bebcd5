// System calls for whole files, each with its error.
#include "nn/files.hpp"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <new>
#include <stdexcept>
#include <utility>

#include "core/error.hpp"

namespace phasor {

namespace files_testing {
std::function<int(const char* call)> before_system_call;
}

namespace {

// One system call: the test's fault, or the call itself, again while a signal interrupts it.
template <class F>
auto call(const char* name, F&& system_call) -> decltype(system_call()) {
  for (;;) {
    const int fault = files_testing::before_system_call ? files_testing::before_system_call(name) : 0;
    if (fault) errno = fault;
    const auto result = fault ? -1 : system_call();
    if (result != -1 || errno != EINTR) return result;
  }
}

// Closes on every path out of a function. close() is not repeated after EINTR: on Linux the descriptor is gone.
struct Descriptor {
  int number;
  explicit Descriptor(int number_) : number(number_) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (number >= 0) ::close(number);
  }
  bool close() {
    const int result = call("close", [&] {
      const int outcome = ::close(std::exchange(number, -1));
      return outcome == -1 && errno == EINTR ? 0 : outcome;
    });
    return result == 0;
  }
};

bool write_all(int descriptor, std::span<const std::byte> bytes) {
  constexpr size_t largest_write = size_t{1} << 20;  // so that a fault can strike in the middle of a file
  while (!bytes.empty()) {
    const ssize_t written =
        call("write", [&] { return ::write(descriptor, bytes.data(), std::min(bytes.size(), largest_write)); });
    if (written < 0) return false;
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return true;
}

bool sync_folder(const std::filesystem::path& folder) {
  Descriptor descriptor(call("open", [&] { return ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); }));
  if (descriptor.number < 0) return false;
  // Some file systems cannot sync a folder and say EINVAL; nothing more can be done there.
  return call("fsync", [&] { return ::fsync(descriptor.number); }) == 0 || errno == EINVAL;
}

constexpr const char* temporary_suffix = ".tmp-";

std::filesystem::path folder_of(const std::filesystem::path& path) {
  return path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
}

[[noreturn]] void fail_to_write(At at, const std::filesystem::path& path, size_t bytes, int reason) {
  fail<ResourceError>(at, "cannot write '", path.string(), "' (", bytes, " bytes): ", std::strerror(reason));
}

}  // namespace

std::vector<std::byte> read_file(const std::filesystem::path& path) {
  const auto refuse = [&](const auto& reason) {
    fail<FileError>("read_file", "cannot read '", path.string(), "': ", reason);
  };
  // O_NONBLOCK: opening a named pipe must not wait for its writer.
  const Descriptor descriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (descriptor.number < 0) refuse(std::strerror(errno));
  struct stat status;
  if (::fstat(descriptor.number, &status) != 0) refuse(std::strerror(errno));
  if (S_ISDIR(status.st_mode)) refuse("it is a folder; a file is needed");
  if (!S_ISREG(status.st_mode)) refuse("it is not a regular file");

  std::vector<std::byte> bytes;
  try {
    bytes.resize(static_cast<size_t>(status.st_size));
  } catch (const std::exception&) {
    fail<ResourceError>("read_file", "no memory for the ", status.st_size, " bytes of '", path.string(), "'");
  }
  for (size_t done = 0; done < bytes.size();) {
    const ssize_t got = ::read(descriptor.number, bytes.data() + done, bytes.size() - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) refuse(std::strerror(errno));
    if (got == 0) refuse("it became shorter while it was read");
    done += static_cast<size_t>(got);
  }
  return bytes;
}

void write_file_atomically(const std::filesystem::path& path, std::span<const std::byte> bytes) {
  // Process and counter make the name unique; O_EXCL and the next number settle what a crash left behind.
  static std::atomic<uint64_t> counter = 0;
  std::filesystem::path temporary;
  int number = -1;
  do {
    temporary = path;
    temporary += temporary_suffix + std::to_string(::getpid()) + '-' + std::to_string(counter++);
    number = call("open", [&] { return ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666); });
  } while (number < 0 && errno == EEXIST);
  if (number < 0) fail_to_write("write_file", path, bytes.size(), errno);

  Descriptor descriptor(number);
  const bool replaced = write_all(descriptor.number, bytes) &&
                        call("fsync", [&] { return ::fsync(descriptor.number); }) == 0 && descriptor.close() &&
                        call("rename", [&] { return ::rename(temporary.c_str(), path.c_str()); }) == 0;
  if (!replaced) {
    const int reason = errno;
    ::unlink(temporary.c_str());
    fail_to_write("write_file", path, bytes.size(), reason);
  }
  if (!sync_folder(folder_of(path))) fail_to_write("write_file", path, bytes.size(), errno);
}

void write_file_atomically(const std::filesystem::path& path, std::string_view text) {
  write_file_atomically(path, std::as_bytes(std::span(text)));
}

void remove_unfinished_files(const std::filesystem::path& folder) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    const size_t suffix = name.rfind(temporary_suffix);
    if (suffix == std::string::npos) continue;
    // NAME.tmp-PROCESS-COUNTER
    if (name.find_first_not_of("0123456789-", suffix + std::strlen(temporary_suffix)) != std::string::npos) continue;
    if (!std::filesystem::remove(entry.path(), error)) break;
  }
  require<ResourceError>(!error, "remove_unfinished_files", "'", folder.string(), "': ", error.message());
}

std::string sha256_hex(std::span<const std::byte> bytes) {
  std::array<unsigned char, 32> digest;
  const int done = EVP_Digest(bytes.data(), bytes.size(), digest.data(), nullptr, EVP_sha256(), nullptr);
  require<ResourceError>(done == 1, "sha256", "libcrypto could not hash ", bytes.size(), " bytes");
  constexpr const char* digits = "0123456789abcdef";
  std::string hex;
  for (const unsigned char byte : digest) hex += {digits[byte >> 4], digits[byte & 15]};
  return hex;
}

std::string sha256_hex(std::string_view text) { return sha256_hex(std::as_bytes(std::span(text))); }

int64_t whole_line_bytes(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return 0;
  const std::vector<std::byte> bytes = read_file(path);
  const auto last = std::find(bytes.rbegin(), bytes.rend(), std::byte{'\n'});
  return bytes.rend() - last;
}

AppendFile::AppendFile(const std::filesystem::path& path, int64_t keep_bytes) : path_(path), bytes_(keep_bytes) {
  const int flags = O_RDWR | O_APPEND | O_CLOEXEC | (keep_bytes == 0 ? O_CREAT : 0);
  Descriptor descriptor(call("open", [&] { return ::open(path.c_str(), flags, 0666); }));
  require<FileError>(descriptor.number >= 0 || errno != ENOENT || keep_bytes == 0, "append_file", "'", path.string(),
                     "' is missing; its first ", keep_bytes, " bytes are to be kept");
  struct stat status;
  if (descriptor.number < 0 || ::fstat(descriptor.number, &status) != 0) fail_to_write("append_file", path, 0, errno);
  require<FileError>(0 <= keep_bytes && keep_bytes <= status.st_size, "append_file", "'", path.string(), "' has ",
                     status.st_size, " bytes; ", keep_bytes, " are to be kept");
  char last = '\n';
  if (keep_bytes > 0 && ::pread(descriptor.number, &last, 1, keep_bytes - 1) != 1) {
    fail<FileError>("append_file", "cannot read '", path.string(), "': ", std::strerror(errno));
  }
  require<FileError>(last == '\n', "append_file", "byte ", keep_bytes, " of '", path.string(),
                     "' is not the end of a line; the file is not the one that the checkpoint was made with");
  if (call("ftruncate", [&] { return ::ftruncate(descriptor.number, keep_bytes); }) != 0 ||
      !sync_folder(folder_of(path))) {
    fail_to_write("append_file", path, static_cast<size_t>(keep_bytes), errno);
  }
  descriptor_ = std::exchange(descriptor.number, -1);
}

AppendFile::AppendFile(AppendFile&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)), bytes_(other.bytes_) {}

AppendFile& AppendFile::operator=(AppendFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(descriptor_, other.descriptor_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

AppendFile::~AppendFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void AppendFile::append(std::string_view line) {
  require<ValueError>(line.find('\n') == std::string_view::npos, "append_file",
                      "a line must not hold a newline: ", line);
  const std::string whole = std::string(line) + '\n';
  if (!write_all(descriptor_, std::as_bytes(std::span(whole)))) {
    const int reason = errno;
    // What was written of the line must go. If this fails too, the torn line is cut at the next resume.
    [[maybe_unused]] const int cut = ::ftruncate(descriptor_, bytes_);
    fail_to_write("append_file", path_, whole.size(), reason);
  }
  bytes_ += static_cast<int64_t>(whole.size());
}

void AppendFile::sync() {
  if (call("fsync", [&] { return ::fsync(descriptor_); }) != 0) {
    fail_to_write("append_file", path_, static_cast<size_t>(bytes_), errno);
  }
}

}  // namespace phasor
