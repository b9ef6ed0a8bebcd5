// Reads the arrays of a .npz by the formats' descriptions alone: stored entries of a zip, .npy version 1.0.
#pragma once

#include <doctest/doctest.h>

#include <cstdint>
#include <cstring>
#include <map>
#include <string>
#include <vector>

namespace phasor::testing {

struct NpyArray {
  std::string type;   // "<f4"
  std::string shape;  // "(2, 3, )", as it is written
  std::string data;   // row-major
  template <class T>
  std::vector<T> values() const {
    std::vector<T> result(data.size() / sizeof(T));
    if (!data.empty()) std::memcpy(result.data(), data.data(), data.size());
    return result;
  }
};

struct Npz {
  std::vector<std::string> names;  // in the order of the directory
  std::map<std::string, NpyArray> arrays;
};

inline uint32_t number_at(const std::string& bytes, size_t place, size_t size) {
  uint32_t number = 0;
  REQUIRE(place + size <= bytes.size());
  std::memcpy(&number, bytes.data() + place, size);
  return number;
}

inline NpyArray npy_array(const std::string& bytes) {
  REQUIRE(bytes.substr(0, 8) == std::string("\x93NUMPY\x01\x00", 8));
  const size_t end = 10 + number_at(bytes, 8, 2);
  CHECK(end % 64 == 0);
  const std::string header = bytes.substr(10, end - 10);
  CHECK(header.ends_with("\n"));
  const auto between = [&](const std::string& before, const std::string& after) {
    const size_t begin = header.find(before) + before.size();
    REQUIRE(header.find(before) != std::string::npos);
    return header.substr(begin, header.find(after, begin) - begin);
  };
  CHECK(between("'fortran_order': ", ",") == "False");
  return {between("'descr': '", "'"), between("'shape': ", ")") + ")", bytes.substr(end)};
}

// The directory at the end of the file names every entry and where it begins.
inline Npz read_npz(const std::string& bytes) {
  const size_t end = bytes.rfind("PK\x05\x06");
  REQUIRE(end != std::string::npos);
  Npz result;
  size_t place = number_at(bytes, end + 16, 4);
  for (uint32_t i = 0; i < number_at(bytes, end + 10, 2); ++i) {
    REQUIRE(bytes.substr(place, 4) == "PK\x01\x02");
    CHECK(number_at(bytes, place + 10, 2) == 0);   // stored
    CHECK(number_at(bytes, place + 12, 2) == 0);   // midnight
    CHECK(number_at(bytes, place + 14, 2) == 33);  // of the first of January 1980
    const uint32_t size = number_at(bytes, place + 20, 4), name_size = number_at(bytes, place + 28, 2),
                   local = number_at(bytes, place + 42, 4);
    const std::string name = bytes.substr(place + 46, name_size);
    REQUIRE(name.ends_with(".npy"));
    REQUIRE(bytes.substr(local, 4) == "PK\x03\x04");
    const size_t data = local + 30 + number_at(bytes, local + 26, 2) + number_at(bytes, local + 28, 2);
    REQUIRE(data + size <= bytes.size());
    result.names.push_back(name.substr(0, name.size() - 4));
    result.arrays[result.names.back()] = npy_array(bytes.substr(data, size));
    place += 46 + name_size + number_at(bytes, place + 30, 2) + number_at(bytes, place + 32, 2);
  }
  return result;
}

}  // namespace phasor::testing
