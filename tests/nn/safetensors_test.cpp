// Safetensors: round trips, one test per way a file can be wrong, and damage to every byte of a small file.
#include "nn/safetensors.hpp"

#include <doctest/doctest.h>
#include <sys/resource.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <optional>

#include "core/dispatch.hpp"
#include "core/error.hpp"
#include "nn/files.hpp"
#include "tests/support/command.hpp"

namespace phasor {
namespace {

namespace fs = std::filesystem;

using Bytes = std::vector<std::byte>;

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

// A file by hand: header length, header, `data_bytes` elements of value 0.
std::string file_text(const std::string& header, size_t data_bytes, std::optional<uint64_t> claimed = {}) {
  const uint64_t length = claimed.value_or(header.size());
  std::string text(8, '\0');
  std::memcpy(text.data(), &length, 8);
  return text + header + std::string(data_bytes, '\0');
}

// The message of the FileError that `text` must cause; it names the file.
std::string refusal(const std::string& text) {
  try {
    parse_safetensors(bytes_of(text), "folder/model.safetensors");
  } catch (const FileError& error) {
    const std::string message = error.what();
    CHECK(message.find("folder/model.safetensors") != std::string::npos);
    CHECK(message.find('\n') == std::string::npos);
    CHECK(message.size() < 1000);
    return message;
  }
  FAIL("accepted: " << text.substr(8, 300));
  return {};
}

std::string refusal(const std::string& header, size_t data_bytes) { return refusal(file_text(header, data_bytes)); }

void check_refused(const std::string& header, size_t data_bytes, const std::string& tensor, const std::string& reason) {
  CAPTURE(header);
  const std::string message = refusal(header, data_bytes);
  CAPTURE(message);
  CHECK(message.find(tensor) != std::string::npos);
  CHECK(message.find(reason) != std::string::npos);
}

bool same_elements(const Tensor& a, const Tensor& b) {
  if (a.shape() != b.shape() || a.dtype() != b.dtype()) return false;
  return with_any(a.dtype(), [&]<class T>() {
    const Tensor row_a = a.contiguous(), row_b = b.contiguous();
    return a.size() == 0 ||
           std::memcmp(row_a.data<T>(), row_b.data<T>(), sizeof(T) * static_cast<size_t>(a.size())) == 0;
  });
}

bool same_content(const TensorFile& a, const TensorFile& b) {
  if (a.metadata != b.metadata || a.tensors.size() != b.tensors.size()) return false;
  for (size_t i = 0; i < a.tensors.size(); ++i) {
    if (a.tensors[i].first != b.tensors[i].first || !same_elements(a.tensors[i].second, b.tensors[i].second))
      return false;
  }
  return true;
}

TensorFile every_kind() {
  const Tensor numbers = Tensor::of<float>({2, 3}, {0, -0.0f, 1e-45f, NAN, -INFINITY, 3.5f});
  const Tensor flags = Tensor::zeros({3}, Dtype::boolean);
  flags.data<bool>()[1] = true;
  return {.tensors = {{"flags", flags},
                      {"block.0.w", numbers},
                      {"transposed", numbers.transpose(0, 1)},
                      {"slice", numbers.slice(1, 1, 3)},
                      {"stretched", numbers.select(1, 0).unsqueeze(1).broadcast_to({2, 4})},
                      {"f64", Tensor::of<double>({1}, {0.1})},
                      {"scalar", Tensor::of<int32_t>({}, {-7})},
                      {"empty", Tensor::zeros({0, 5}, Dtype::f32)},
                      {"i64", Tensor::of<int64_t>({2, 1}, {INT64_MIN, INT64_MAX})},
                      {"name \"with\" \\ ünï /", Tensor::zeros({1}, Dtype::i32)}},
          .metadata = {{"step", "9007199254740993"}, {"", "empty key"}, {"q\"uote", "a\nb\tü"}}};
}

TEST_CASE("safetensors: everything comes back in order, bit for bit") {
  const testing::TemporaryFolder folder;
  const TensorFile file = every_kind();
  write_safetensors(folder / "a", file);
  const TensorFile back = read_safetensors(folder / "a");
  CHECK(same_content(file, back));
  CHECK(back.tensors[2].second.shape() == Shape{3, 2});
  CHECK(back.tensors[2].second.is_contiguous());

  write_safetensors(folder / "b", back);
  CHECK(read_file(folder / "a") == read_file(folder / "b"));

  write_safetensors(folder / "a", {});
  CHECK(same_content(read_safetensors(folder / "a"), {}));
}

TEST_CASE("safetensors: header padded to 8 bytes, every tensor aligned to its element") {
  const testing::TemporaryFolder folder;
  write_safetensors(folder / "a", every_kind());
  const Bytes bytes = read_file(folder / "a");
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, bytes.data(), 8);
  CHECK(header_bytes % 8 == 0);
  const std::string header(reinterpret_cast<const char*>(bytes.data()) + 8, header_bytes);
  CHECK(header.find("\"i64\":{\"dtype\":\"I64\",\"shape\":[2,1],\"data_offsets\":[8,24]}") != std::string::npos);
  CHECK(header.find("\"flags\":{\"dtype\":\"BOOL\",\"shape\":[3],\"data_offsets\":[128,131]}") != std::string::npos);
}

TEST_CASE("safetensors: files of other programs, without digests") {
  const TensorFile file = parse_safetensors(
      bytes_of(file_text(R"({"b":{"data_offsets":[4,8],"dtype":"I32","shape":[1]}, "__metadata__":{"format":"pt"},
                            "a":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"z":{"dtype":"F64","shape":[3,0],"data_offsets":[4,4]}}   )",
                         8)),
      "x");
  REQUIRE(file.tensors.size() == 3);
  CHECK(file.tensors[0].first == "b");
  CHECK(file.tensors[1].second.shape() == Shape{});
  CHECK(file.tensors[2].second.shape() == Shape{3, 0});
  CHECK(file.metadata == std::map<std::string, std::string>{{"format", "pt"}});
  CHECK(parse_safetensors(bytes_of(file_text("{}", 0)), "x").tensors.empty());
}

TEST_CASE("safetensors: the header length lies") {
  CHECK(refusal("").find("0 bytes") != std::string::npos);
  CHECK(refusal("1234567").find("7 bytes") != std::string::npos);
  CHECK(refusal(file_text("", 0)).find("length is 0") != std::string::npos);
  CHECK(refusal(file_text("{}", 0, 3)).find("cut off") != std::string::npos);
  CHECK(refusal(file_text("{}", 0, 100'000'000)).find("cut off") != std::string::npos);
  for (const uint64_t length : {uint64_t{100'000'001}, uint64_t{1} << 63, UINT64_MAX, UINT64_MAX - 7}) {
    CHECK(refusal(file_text("{}", 0, length)).find("the format allows 100000000") != std::string::npos);
  }
}

TEST_CASE("safetensors: the header is not the JSON it must be") {
  using namespace std::string_literals;
  for (const std::string& header :
       {"[]"s, " {}"s, "\xEF\xBB\xBF{}"s, "{"s, "{}}"s, "{} x"s, "{},"s, "{}\0"s, "{\"a\":\"\xff\"}"s,
        "{\"__metadata__\":{\"\xC0\x80\":\"overlong\"}}"s, "{\"__metadata__\":{\"a\":\"\xed\xa0\x80\"}}"s,
        "{\"__metadata__\":{\"a\":\"\\ud800\"}}"s, "{/**/}"s, "{\"__metadata__\":{},}"s, "null"s, "{\"a\":NaN}"s,
        "{'a':1}"s}) {
    CAPTURE(header);
    CHECK(refusal(header, 0).find("header") != std::string::npos);
  }
  check_refused(R"({"a":1})", 0, "\"a\"", "needed is an object");
  check_refused(R"({"a":[]})", 0, "\"a\"", "needed is an object");
  check_refused(R"({"a":null})", 0, "\"a\"", "needed is an object");
  check_refused(R"({"a":{}})", 0, "\"a\"", "has no dtype");
  check_refused(R"({"a":{"dtype":"F32","data_offsets":[0,0]}})", 0, "\"a\"", "has no shape");
  check_refused(R"({"a":{"dtype":"F32","shape":[0]}})", 0, "\"a\"", "has no data_offsets");
  check_refused(R"({"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0],"x":1}})", 0, "\"a\"", "unknown key \"x\"");
}

TEST_CASE("safetensors: a key occurs twice") {
  const std::string tensor = R"({"dtype":"F32","shape":[0],"data_offsets":[0,0]})";
  check_refused("{\"a\":" + tensor + ",\"b\":" + tensor + ",\"a\":" + tensor + "}", 0, "\"a\"", "twice");
  check_refused("{\"a\":" + tensor + ",\"\\u0061\":" + tensor + "}", 0, "\"a\"", "twice");
  check_refused(R"({"__metadata__":{},"__metadata__":{}})", 0, "__metadata__", "twice");
  check_refused(R"({"__metadata__":{"k":"1","k":"1"}})", 0, "\"k\"", "twice");
  check_refused(R"({"a":{"dtype":"F32","dtype":"F32","shape":[0],"data_offsets":[0,0]}})", 0, "\"a\"", "twice");
  check_refused(R"({"a":{"dtype":"F32","shape":[0],"shape":[0],"data_offsets":[0,0]}})", 0, "\"a\"", "twice");
  check_refused(R"({"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0],"data_offsets":[0,0]}})", 0, "\"a\"", "twice");
}

std::string one_tensor(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return "{\"w\":{\"dtype\":" + dtype + ",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}}";
}

TEST_CASE("safetensors: dtype and shape") {
  for (const char* dtype : {"\"F16\"", "\"U8\"", "\"f32\"", "\"\""}) {
    check_refused(one_tensor(dtype, "[1]", "[0,4]"), 4, "\"w\"", "readable are");
  }
  for (const char* dtype : {"1", "null", "[\"F32\"]", "{}", "true"}) {
    check_refused(one_tensor(dtype, "[1]", "[0,4]"), 4, "\"w\"", "needed is a string");
  }
  for (const char* shape : {"[-1]", "[1.0]", "[1e0]", "[-0]", "[9223372036854775808]", "[18446744073709551616]",
                            "[\"1\"]", "[null]", "[[1]]", "[{}]", "1", "null", "[true]", "1e400"}) {
    CAPTURE(shape);
    CHECK(refusal(one_tensor("\"F32\"", shape, "[0,4]"), 4).size() > 0);
  }
  check_refused(one_tensor("\"F32\"", "[4294967296,4294967296]", "[0,0]"), 0, "\"w\"", "overflow");
  check_refused(one_tensor("\"F32\"", "[4611686018427387904,4]", "[0,0]"), 0, "\"w\"", "overflow");
  check_refused(one_tensor("\"F32\"", "[2305843009213693952]", "[0,0]"), 0, "\"w\"", "overflow");
  check_refused(one_tensor("\"F32\"", "[0,4294967296,4294967296]", "[0,0]"), 0, "\"w\"", "overflow");
  check_refused(one_tensor("\"F32\"", "[1,1,1,1,1,1,1]", "[0,4]"), 4, "\"w\"", "6 axes");
  check_refused(one_tensor("\"F32\"", "[2]", "[0,4]"), 4, "\"w\"", "needs 8");
  check_refused(one_tensor("\"F64\"", "[1]", "[0,4]"), 4, "\"w\"", "needs 8");
  check_refused(one_tensor("\"F32\"", "[1000000000000]", "[0,4000000000000]"), 4, "\"w\"", "cut off");
  std::string bools = file_text(one_tensor("\"BOOL\"", "[2]", "[0,2]"), 2);
  CHECK_NOTHROW(parse_safetensors(bytes_of(bools), "x"));
  bools.back() = 2;
  CHECK(refusal(bools).find("\"w\" is BOOL and holds 2") != std::string::npos);
}

TEST_CASE("safetensors: data_offsets") {
  for (const char* offsets : {"[0]", "[]", "[0,4,8]", "[0,4.0]", "[-4,0]", "[0,-4]", "[\"0\",\"4\"]", "4",
                              "[0,18446744073709551616]", "[[0],4]"}) {
    CAPTURE(offsets);
    CHECK(refusal(one_tensor("\"F32\"", "[1]", offsets), 4).find("data_offsets") != std::string::npos);
  }
  check_refused(one_tensor("\"F32\"", "[1]", "[4,0]"), 4, "\"w\"", "before it begins");
  check_refused(one_tensor("\"F32\"", "[1]", "[18446744073709551615,3]"), 4, "\"w\"", "before it begins");
  check_refused(one_tensor("\"F32\"", "[1]", "[18446744073709551612,18446744073709551615]"), 4, "\"w\"", "needs 4");
  check_refused(one_tensor("\"F32\"", "[1]", "[4,8]"), 8, "\"w\"", "a hole");
  check_refused(one_tensor("\"F32\"", "[1]", "[0,4]"), 3, "\"w\"", "cut off");
  check_refused(one_tensor("\"F32\"", "[1]", "[0,4]"), 5, "", "1 bytes follow the last tensor");
  check_refused("{}", 1, "", "1 bytes follow");

  const auto two = [](const std::string& a, const std::string& b) {
    return "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":" + a +
           "},\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":" + b + "}}";
  };
  CHECK_NOTHROW(parse_safetensors(bytes_of(file_text(two("[4,8]", "[0,4]"), 8)), "x"));
  check_refused(two("[0,4]", "[8,12]"), 12, "\"b\"", "a hole");
  check_refused(two("[0,4]", "[2,6]"), 6, "\"b\"", "an overlap");
  check_refused(two("[0,4]", "[0,4]"), 4, "begins at 0", "an overlap");
}

TEST_CASE("safetensors: names and metadata") {
  const std::string tensor = R"(:{"dtype":"F32","shape":[0],"data_offsets":[0,0]}})";
  check_refused("{\"a\\u0000b\"" + tensor, 0, "\\u0000", "NUL");
  check_refused("{\"../a\"" + tensor, 0, "../a", "holds '../'");
  for (const char* value : {"1", "null", "true", "{}", "[]", "1.5", "-1"}) {
    check_refused(std::string("{\"__metadata__\":{\"key\":") + value + "}}", 0, "\"key\"", "needed is a string");
  }
  check_refused(R"({"__metadata__":"text"})", 0, "__metadata__", "needed is an object");
  check_refused("{\"" + std::string(5'000'000, 'n') + "\":1}", 0, "nnn", "needed is an object");
  check_refused("{\"a\\n\\u001b[31m\":1}", 0, "\\n\\u001b[31m", "needed is an object");
}

double seconds_of_process() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_utime.tv_sec) + 1e-6 * static_cast<double>(usage.ru_utime.tv_usec);
}

TEST_CASE("safetensors: deep and endless headers stop early") {
  rusage before, after;
  const size_t size = 20'000'000;
  std::vector<std::string> files;
  for (const char* opening : {"{\"a\":", "[", "{\"a\":{\"shape\":["}) {
    std::string header = "{\"w\":";
    while (header.size() < size) header += opening;
    files.push_back(file_text(header, 0));
  }
  std::string numbers = "{\"w\":{\"shape\":[";
  while (numbers.size() < size) numbers += "1,";
  files.push_back(file_text(numbers, 0));
  getrusage(RUSAGE_SELF, &before);
  const double start = seconds_of_process();
  for (const std::string& text : files) CHECK(refusal(text).size() > 0);
  getrusage(RUSAGE_SELF, &after);
  CHECK(seconds_of_process() - start < 4);
  CHECK(after.ru_maxrss - before.ru_maxrss < 1024);  // KiB; the bytes themselves are in memory already
}

TEST_CASE("safetensors: what could not be read back is not written") {
  const testing::TemporaryFolder folder;
  const Tensor t = Tensor::zeros({1}, Dtype::f32);
  const auto refused = [&](const TensorFile& file) {
    CHECK_THROWS_AS(write_safetensors(folder / "a", file), ValueError);
    CHECK(fs::is_empty(folder.path()));
  };
  refused({.tensors = {{"a", t}, {"b", t}, {"a", t}}, .metadata = {}});
  refused({.tensors = {{"__metadata__", t}}, .metadata = {}});
  refused({.tensors = {{"../a", t}}, .metadata = {}});
  refused({.tensors = {{std::string("a\0b", 3), t}}, .metadata = {}});
  refused({.tensors = {{"\xff", t}}, .metadata = {}});
  refused({.tensors = {{"a", Tensor()}}, .metadata = {}});
  refused({.tensors = {}, .metadata = {{"a", "\xff"}}});
  refused({.tensors = {}, .metadata = {{"phasor.digest.header", "1"}}});
}

Bytes small_file(const testing::TemporaryFolder& folder) {
  const Tensor flags = Tensor::full({3}, 1, Dtype::boolean);
  write_safetensors(folder / "small", {.tensors = {{"w", Tensor::of<float>({2, 2}, {1, -2, 3, 4})}, {"f", flags}},
                                       .metadata = {{"step", "12"}}});
  return read_file(folder / "small");
}

// Every single-bit flip, and every byte replaced by a space, a digit and its other letter case, must be refused.
TEST_CASE("safetensors: no damaged byte loads") {
  const testing::TemporaryFolder folder;
  const Bytes good = small_file(folder);
  int accepted = 0;
  const auto damage = [&](size_t place, std::byte value) {
    Bytes bytes = good;
    if (bytes[place] == value) return;
    bytes[place] = value;
    try {
      parse_safetensors(bytes, "small");
      ++accepted;
      MESSAGE("byte " << place << " became " << int(value) << " unnoticed");
    } catch (const FileError&) {
    }
  };
  for (size_t place = 0; place < good.size(); ++place) {
    for (int bit = 0; bit < 8; ++bit) damage(place, good[place] ^ std::byte(1 << bit));
    for (const char value : {' ', '\t', '0', '7', '\0'}) damage(place, std::byte(value));
  }
  CHECK(accepted == 0);
  CHECK(parse_safetensors(good, "small").tensors.size() == 2);

  // Damaged elements name their tensor.
  for (const auto& [from_end, name] : {std::pair<size_t, std::string>{1, "\"f\""}, {4, "\"w\""}}) {
    Bytes bytes = good;
    bytes[good.size() - from_end] ^= std::byte{1};
    const std::string message = refusal({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    CHECK(message.find(name) != std::string::npos);
    CHECK(message.find("sha256") != std::string::npos);
  }
}

TEST_CASE("safetensors: cut or lengthened anywhere, it is refused") {
  const testing::TemporaryFolder folder;
  const Bytes good = small_file(folder);
  for (size_t length = 0; length < good.size(); ++length) {
    CAPTURE(length);
    CHECK_THROWS_AS(parse_safetensors(std::span(good).first(length), "small"), FileError);
  }
  const std::string cut = refusal({reinterpret_cast<const char*>(good.data()), good.size() - 1});
  CHECK(cut.find("\"f\" ends at 19, but the file ends at 18") != std::string::npos);
  Bytes longer = good;
  longer.push_back(std::byte{0});
  CHECK_THROWS_AS(parse_safetensors(longer, "small"), FileError);
}

// A header rewritten by hand around intact elements keeps its own digests but no longer fits them.
TEST_CASE("safetensors: a header of ours with one value changed is refused") {
  const testing::TemporaryFolder folder;
  const Bytes good = small_file(folder);
  const std::string text(reinterpret_cast<const char*>(good.data()), good.size());
  for (const auto& [from, to] : {std::pair<std::string, std::string>{"\"step\":\"12\"", "\"step\":\"13\""},
                                 {"[2,2]", "[4,1]"},
                                 {"\"F32\"", "\"I32\""},
                                 {"phasor.digest.header", "phasor.digest.heade_"},
                                 {"phasor.digest.tensor.w", "phasor.digest.tensor.v"},
                                 {"\"phasor.digest\"", "\"phasor_digest\""}}) {
    std::string changed = text;
    REQUIRE(changed.find(from) != std::string::npos);
    changed.replace(changed.find(from), from.size(), to);
    CAPTURE(to);
    CHECK(refusal(changed).find("damaged") != std::string::npos);
  }
}

}  // namespace
}  // namespace phasor
