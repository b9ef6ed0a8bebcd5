// `phasor new encoding NAME`: the two files that an encoding begins with.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace phasor {

struct NewEncoding {
  std::filesystem::path encoding, test;  // from the root of the source tree
};

// The nearest folder with Phasor's CMakeLists.txt, from one of these upwards, the earlier ones first. ResourceError if
// there is none.
std::filesystem::path source_tree(const std::vector<std::filesystem::path>& starts);

// Writes nn/positional/encodings/NAME.cpp and tests/positional/NAME_test.cpp into the source tree: copies of
// nn/positional/new_encoding.cpp and its test, which are built and tested with everything else. Both files or none.
// UsageError if the name cannot be that of a function or a file is there already.
NewEncoding write_new_encoding(const std::string& name, const std::filesystem::path& root);

}  // namespace phasor
