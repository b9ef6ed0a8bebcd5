// Files: every failing system call in turn leaves the old file whole and no temporary file behind.
#include "nn/files.hpp"

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <map>
#include <set>

#include "core/error.hpp"

namespace phasor {
namespace {

namespace fs = std::filesystem;

struct Folder {
  fs::path path;
  Folder() {
    std::string name = (fs::temp_directory_path() / "phasor files é XXXXXX").string();
    path = mkdtemp(name.data());
  }
  ~Folder() {
    files_testing::before_system_call = nullptr;
    fs::permissions(path, fs::perms::owner_all);
    fs::remove_all(path);
  }
  std::set<std::string> names() const {
    std::set<std::string> found;
    for (const auto& entry : fs::directory_iterator(path)) found.insert(entry.path().filename().string());
    return found;
  }
};

std::string text_of(const fs::path& path) {
  const std::vector<std::byte> bytes = read_file(path);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

template <class E, class F>
std::string message_of(F&& f) {
  try {
    f();
  } catch (const E& error) {
    return error.what();
  }
  FAIL("nothing, or another type, was thrown");
  return {};
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// Fails the n-th system call of its life with `reason`.
struct FailCall {
  int left;
  int reason;
  std::string failed;
  FailCall(int n, int reason_) : left(n), reason(reason_) {
    files_testing::before_system_call = [this](const char* name) {
      if (--left != 0) return 0;
      failed = name;
      return reason;
    };
  }
  ~FailCall() { files_testing::before_system_call = nullptr; }
};

TEST_CASE("files: what is written is read back, byte for byte") {
  const Folder folder;
  std::string every_byte;
  for (int byte = 0; byte < 256; ++byte) every_byte += static_cast<char>(byte);
  std::string several_writes(3'000'001, 'x');
  for (size_t i = 0; i < several_writes.size(); ++i) several_writes[i] = static_cast<char>(i * 31 >> 3);
  for (const std::string& text : {std::string(), every_byte, several_writes}) {
    write_file_atomically(folder.path / "a\nb", text);
    CHECK(text_of(folder.path / "a\nb") == text);
  }
  CHECK(folder.names() == std::set<std::string>{"a\nb"});
}

TEST_CASE("files: a relative path and a link to the folder work") {
  const Folder folder;
  fs::create_directory(folder.path / "real");
  fs::create_directory_symlink(folder.path / "real", folder.path / "link");
  write_file_atomically(folder.path / "link" / "a", "text");
  CHECK(text_of(folder.path / "real" / "a") == "text");
  const fs::path before = fs::current_path();
  fs::current_path(folder.path);
  write_file_atomically("relative", "text");
  fs::current_path(before);
  CHECK(text_of(folder.path / "relative") == "text");
}

TEST_CASE("files: reading refuses with path and reason") {
  const Folder folder;
  const auto refusal = [](const fs::path& path) { return message_of<FileError>([&] { read_file(path); }); };
  const std::string missing = refusal(folder.path / "missing");
  CHECK(contains(missing, "missing'"));
  CHECK(contains(missing, "No such file"));
  CHECK(contains(refusal(folder.path), "folder"));
  CHECK(contains(refusal("/dev/zero"), "not a regular file"));
  REQUIRE(::mkfifo((folder.path / "pipe").c_str(), 0600) == 0);
  CHECK(contains(refusal(folder.path / "pipe"), "not a regular file"));
  if (::geteuid() != 0) {  // root may read everything
    write_file_atomically(folder.path / "secret", "text");
    fs::permissions(folder.path / "secret", fs::perms::none);
    CHECK(contains(refusal(folder.path / "secret"), "Permission denied"));
  }
}

TEST_CASE("files: each system call fails in turn; the old file stays, no temporary file does") {
  const Folder folder;
  const fs::path path = folder.path / "file";
  const std::string old_text(10, 'o'), new_text(2'500'000, 'n');
  std::map<std::string, int> failures;
  int n = 1;
  for (;; ++n) {
    CAPTURE(n);
    write_file_atomically(path, old_text);
    FailCall fault(n, ENOSPC);
    bool threw = false;
    try {
      write_file_atomically(path, new_text);
    } catch (const ResourceError& error) {
      threw = true;
      CHECK(contains(error.what(), path.string()));
      CHECK(contains(error.what(), "2500000 bytes"));
      CHECK(contains(error.what(), "No space left on device"));
    }
    CHECK(threw == !fault.failed.empty());
    CHECK(folder.names() == std::set<std::string>{"file"});
    if (!threw) break;
    ++failures[fault.failed];
    // Once the rename has happened, the new file is there, and it is whole.
    const bool renamed = failures["rename"] > 0 && fault.failed != "rename";
    CHECK(text_of(path) == (renamed ? new_text : old_text));
  }
  CHECK(text_of(path) == new_text);
  CHECK(failures == std::map<std::string, int>{{"open", 2}, {"write", 3}, {"fsync", 2}, {"close", 1}, {"rename", 1}});
}

TEST_CASE("files: calls that a signal interrupts are repeated") {
  const Folder folder;
  for (int n = 1; n <= 7; ++n) {
    FailCall fault(n, EINTR);
    CHECK_NOTHROW(write_file_atomically(folder.path / "file", "text"));
    CHECK(!fault.failed.empty());
  }
  CHECK(text_of(folder.path / "file") == "text");
}

TEST_CASE("files: killed at each system call, the file is the old or the new one") {
  const Folder folder;
  const fs::path path = folder.path / "file";
  bool finished = false;
  for (int n = 1; !finished; ++n) {
    CAPTURE(n);
    REQUIRE(n < 20);
    write_file_atomically(path, "old");
    const pid_t child = ::fork();
    if (child == 0) {
      int left = n;
      files_testing::before_system_call = [&](const char*) { return --left == 0 ? ::raise(SIGKILL) : 0; };
      write_file_atomically(path, "new");
      ::_exit(0);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    finished = WIFEXITED(status);
    CHECK((text_of(path) == "old" || text_of(path) == "new"));
  }
  CHECK(text_of(path) == "new");
  CHECK(folder.names().size() > 1);
  write_file_atomically(folder.path / "notes.tmp-x", "not ours");
  remove_unfinished_files(folder.path);
  CHECK(folder.names() == std::set<std::string>{"file", "notes.tmp-x"});
}

TEST_CASE("files: a folder that is missing or is the target itself") {
  const Folder folder;
  CHECK(contains(message_of<ResourceError>([&] { write_file_atomically(folder.path / "none" / "a", "text"); }),
                 "No such file"));
  fs::create_directory(folder.path / "target");
  CHECK(contains(message_of<ResourceError>([&] { write_file_atomically(folder.path / "target", "text"); }), "target"));
  CHECK(folder.names() == std::set<std::string>{"target"});
}

// FIPS 180-2, appendix B.
TEST_CASE("files: sha256 of the standard's examples") {
  CHECK(sha256_hex("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(sha256_hex("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(sha256_hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq") ==
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

TEST_CASE("append file: grows by lines and resumes at a recorded length") {
  const Folder folder;
  const fs::path path = folder.path / "metrics.jsonl";
  int64_t checkpoint = 0;
  {
    AppendFile file(path);
    file.append("one");
    file.append("two");
    checkpoint = file.bytes();
    file.append("three");
    file.sync();
  }
  CHECK(text_of(path) == "one\ntwo\nthree\n");
  write_file_atomically(path, text_of(path) + "{\"torn");
  AppendFile file(path, checkpoint);
  CHECK(text_of(path) == "one\ntwo\n");
  AppendFile moved = std::move(file);
  moved.append("3");
  CHECK(text_of(path) == "one\ntwo\n3\n");
  CHECK(moved.bytes() == 10);
  AppendFile other(folder.path / "other");
  other = std::move(moved);
  other.append("4");
  CHECK(text_of(path) == "one\ntwo\n3\n4\n");
  CHECK(other.bytes() == 12);
  AppendFile anew(path);
  CHECK(text_of(path).empty());
}

TEST_CASE("append file: refuses a length that the file cannot have had") {
  const Folder folder;
  const fs::path path = folder.path / "metrics.jsonl";
  CHECK(contains(message_of<FileError>([&] { AppendFile(path, 4); }), "missing"));
  CHECK(!fs::exists(path));
  write_file_atomically(path, "one\ntwo\n");
  CHECK(contains(message_of<FileError>([&] { AppendFile(path, 9); }), "has 8 bytes; 9"));
  CHECK(contains(message_of<FileError>([&] { AppendFile(path, 5); }), "not the end of a line"));
  CHECK_THROWS_AS(AppendFile(path, -1), FileError);
  CHECK(text_of(path) == "one\ntwo\n");
  AppendFile file(path, 8);
  CHECK_THROWS_AS(file.append("a\nb"), ValueError);
}

TEST_CASE("append file: a failed write leaves whole lines") {
  const Folder folder;
  const fs::path path = folder.path / "metrics.jsonl";
  AppendFile file(path);
  file.append("one");
  const std::string long_line(1'500'000, 'x');  // two writes; the second fails
  {
    FailCall fault(2, EIO);
    CHECK(contains(message_of<ResourceError>([&] { file.append(long_line); }), "Input/output error"));
  }
  CHECK(text_of(path) == "one\n");
  {
    FailCall fault(1, EIO);
    CHECK_THROWS_AS(file.sync(), ResourceError);
  }
  file.append("two");
  CHECK(text_of(path) == "one\ntwo\n");
}

}  // namespace
}  // namespace phasor
