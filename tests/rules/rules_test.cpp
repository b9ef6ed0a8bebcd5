// The rules of the source tree, checked by reading it: who may include whom, every op has its case, files stay small.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;

const fs::path root = PHASOR_SOURCE_DIR;

std::string text_of(const fs::path& path) {
  std::ifstream in(path);
  REQUIRE_MESSAGE(in, "cannot open ", path.string());
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

struct SourceFile {
  std::string path;  // from the root: "core/ops/softmax.cpp"
  std::string text;
};

// The C++ and CUDA files of the project's own folders.
const std::vector<SourceFile>& source_files() {
  static const std::vector<SourceFile> files = [] {
    std::vector<SourceFile> found;
    for (const char* const folder : {"core", "cuda", "autograd", "nn", "experiments", "tests"}) {
      if (!fs::exists(root / folder)) continue;
      for (const auto& entry : fs::recursive_directory_iterator(root / folder)) {
        const std::string extension = entry.path().extension().string();
        if (extension == ".hpp" || extension == ".cpp" || extension == ".cu" || extension == ".cuh")
          found.push_back({fs::relative(entry.path(), root).generic_string(), text_of(entry.path())});
      }
    }
    std::sort(found.begin(), found.end(), [](const SourceFile& a, const SourceFile& b) { return a.path < b.path; });
    return found;
  }();
  return files;
}

// All first groups of a pattern.
std::vector<std::string> matches(const std::string& text, const std::string& pattern) {
  const std::regex regex(pattern);
  std::vector<std::string> found;
  for (std::sregex_iterator at(text.begin(), text.end(), regex), end; at != end; ++at) found.push_back((*at)[1]);
  return found;
}

// What the file includes, of this project and of libraries.
std::vector<std::string> includes_of(const std::string& text) {
  return matches(text, R"re((?:^|\n)[ \t]*#[ \t]*include[ \t]*[<"]([^>"]+)[>"])re");
}

std::string first_folder(const std::string& path) { return path.substr(0, path.find('/')); }

// The first sentence about an include that must not be; empty if all are allowed.
std::string forbidden_include(const SourceFile& file) {
  static const std::map<std::string, std::set<std::string>> folders_allowed = {
      {"core", {"core"}},
      {"cuda", {"core", "cuda"}},
      {"autograd", {"core", "autograd"}},
      {"nn", {"core", "autograd", "nn"}},
      {"experiments", {"core", "autograd", "nn", "experiments"}},
  };
  // One file knows each library of the machine.
  static const std::vector<std::pair<std::string, std::string>> one_home = {{"cblas.h", "core/blas.cpp"},
                                                                            {"oneapi/tbb", "core/parallel.cpp"},
                                                                            {"tbb/", "core/parallel.cpp"},
                                                                            {"hwy/", "core/simd.hpp"}};
  const std::string folder = first_folder(file.path);
  if (folder == "tests") return "";
  for (const std::string& include : includes_of(file.text)) {
    const std::string target = first_folder(include);
    if (folders_allowed.contains(target) || target == "tests")
      if (!folders_allowed.at(folder).contains(target)) return file.path + " includes " + include;
    for (const auto& [library, home] : one_home)
      if (include.starts_with(library) && file.path != home)
        return file.path + " includes " + include + ", which belongs in " + home + " alone";
  }
  return "";
}

// The functions that autograd/ops.hpp declares, operators excepted.
std::set<std::string> declared_ops(const std::string& header) {
  const std::vector<std::string> names = matches(header, R"((?:^|\n)(?:inline )?Var ([a-z_0-9]+)\()");
  std::set<std::string> ops(names.begin(), names.end());
  std::erase_if(ops, [](const std::string& name) { return name.starts_with("operator"); });
  return ops;
}

// The ops with a test `<op>: op case` that calls check_op.
std::set<std::string> ops_with_case(const std::string& test_file) {
  std::set<std::string> ops;
  for (size_t at = test_file.find("TEST_CASE("); at != std::string::npos;) {
    const size_t next = test_file.find("TEST_CASE(", at + 1);
    const std::string test = test_file.substr(at, next == std::string::npos ? next : next - at);
    const std::vector<std::string> name = matches(test, R"re(^TEST_CASE\("([a-z_0-9]+): op case)re");
    if (!name.empty() && test.find("check_op(") != std::string::npos) ops.insert(name[0]);
    at = next;
  }
  return ops;
}

std::set<std::string> without(const std::set<std::string>& all, const std::set<std::string>& known) {
  std::set<std::string> rest;
  std::set_difference(all.begin(), all.end(), known.begin(), known.end(), std::inserter(rest, rest.end()));
  return rest;
}

// An op's loop over elements that a tensor of the GPU would reach.
bool lacks_twin(const SourceFile& file) {
  return file.text.find("parallel_for(") != std::string::npos && file.text.find("Device::cuda") == std::string::npos;
}

// What stands in one file alone, so that it can be checked there: how kernels are launched, and assembly.
std::string misplaced_in_cuda(const SourceFile& file) {
  if (file.path != "cuda/launch.cuh" && file.text.find("<<<") != std::string::npos) return "launches a kernel itself";
  if (file.path != "cuda/instructions.cuh" && !matches(file.text, R"((\basm\b))").empty()) return "has assembly";
  if (!matches(file.text, R"((atomic[A-Z]\w*\([^;]*(?:float|double)))").empty()) return "adds floats in any order";
  return "";
}

int64_t lines_of(const std::string& text) { return std::count(text.begin(), text.end(), '\n'); }

}  // namespace

TEST_CASE("rules: includes point from experiments over nn and autograd to core") {
  REQUIRE(source_files().size() > 50);
  for (const SourceFile& file : source_files()) {
    const std::string wrong = forbidden_include(file);
    CHECK_MESSAGE(wrong.empty(), wrong);
  }
}

TEST_CASE("rules: the include rule sees planted faults") {
  const auto refuses = [](const char* path, const char* text) { return !forbidden_include({path, text}).empty(); };
  CHECK(refuses("core/x.cpp", "#include \"autograd/var.hpp\"\n"));
  CHECK(refuses("core/x.cpp", "// a comment\n#include <cuda/runtime.hpp>\n"));
  CHECK(refuses("autograd/ops/x.cpp", "#include \"core/tensor.hpp\"\n#  include \"nn/layers.hpp\"\n"));
  CHECK(refuses("nn/x.hpp", "#include \"experiments/trainer.hpp\"\n"));
  CHECK(refuses("experiments/x.cpp", "#include \"tests/support/op_case.hpp\"\n"));
  CHECK(refuses("nn/x.cpp", "#include <cblas.h>\n"));
  CHECK(refuses("core/ops/x.cpp", "#include <oneapi/tbb/parallel_for.h>\n"));
  CHECK(refuses("core/ops/x.cpp", "#include <hwy/highway.h>\n"));
  CHECK_FALSE(refuses("core/parallel.cpp", "#include <oneapi/tbb/parallel_for.h>\n"));
  CHECK_FALSE(refuses("nn/x.cpp", "#include \"nn/layers.hpp\"\n#include \"core/tensor.hpp\"\n#include <cmath>\n"));
}

TEST_CASE("rules: every op of autograd/ops.hpp has an op case") {
  std::set<std::string> with_case;
  for (const SourceFile& file : source_files())
    if (file.path.starts_with("tests/ops/")) with_case.merge(ops_with_case(file.text));
  const std::set<std::string> declared = declared_ops(text_of(root / "autograd/ops.hpp"));
  REQUIRE(declared.size() >= 29);
  for (const std::string& op : without(declared, with_case))
    FAIL_CHECK("no TEST_CASE(\"", op, ": op case\") with check_op in tests/ops");
}

TEST_CASE("rules: the search for ops and their cases sees planted ones") {
  const std::string header =
      "// Var commented(const Var& x);\n"
      "Var plain(const Var& x);\n"
      "inline Var operator+(const Var& a, const Var& b) { return add(a, b); }\n"
      "Var operator*(const Var& a, double b);\n"
      "inline Var with_body(const Var& x) { return x; }\n"
      "Var of_two_lines(const Var& q, const Var& k,\n                 const Options& options = {});\n"
      "struct Extras {\n  Var member;\n  std::function<Var(const Var& scores)> transform;\n};\n";
  CHECK(declared_ops(header) == std::set<std::string>{"plain", "with_body", "of_two_lines"});
  const std::string tests =
      "TEST_CASE(\"plain: op case\") {\n  check_op({.op = \"plain\"});\n}\n"
      "TEST_CASE(\"with_body: op case\") {\n  CHECK(true);\n}\n"
      "TEST_CASE(\"plain: by hand\") {\n  check_op({.op = \"other\"});\n}\n";
  CHECK(ops_with_case(tests) == std::set<std::string>{"plain"});
  CHECK(without(declared_ops(header), ops_with_case(tests)) == std::set<std::string>{"with_body", "of_two_lines"});
}

TEST_CASE("rules: every op of core has a test file of its name") {
  std::set<std::string> names;
  for (const SourceFile& file : source_files())
    if (file.path.starts_with("core/ops/") && file.path.ends_with(".hpp")) names.insert(fs::path(file.path).stem());
  CHECK(names.size() >= 11);
  for (const std::string& name : names) {
    // attention_tile.hpp is a part of attention.
    const bool is_part =
        std::any_of(names.begin(), names.end(), [&](const std::string& op) { return name.starts_with(op + "_"); });
    const std::string test = "tests/ops/" + name + "_test.cpp";
    CHECK_MESSAGE((is_part || fs::exists(root / test)), "core/ops/", name, ".hpp has no ", test);
  }
}

TEST_CASE("rules: every op of core that computes knows the GPU, and kernels are launched in one place") {
  int ops = 0, kernels = 0;
  for (const SourceFile& file : source_files()) {
    if (file.path.starts_with("core/ops/") && file.path.ends_with(".cpp")) {
      ++ops;
      CHECK_MESSAGE(!lacks_twin(file), file.path, " computes, and has no twin in cuda/ops");
    }
    if (file.path.starts_with("cuda/")) {
      ++kernels;
      const std::string wrong = misplaced_in_cuda(file);
      CHECK_MESSAGE(wrong.empty(), file.path, " ", wrong);
    }
  }
  CHECK(ops > 20);
  CHECK(kernels > 40);
  CHECK(lacks_twin({"core/ops/x.cpp", "parallel_for(n, 1, f);"}));
  CHECK_FALSE(lacks_twin({"core/ops/x.cpp", "if (x.is_on(Device::cuda)) return cuda::x(x);\nparallel_for(n, 1, f);"}));
  CHECK(misplaced_in_cuda({"cuda/ops/x.cu", "kernel<<<1, 2>>>(x);"}) != "");
  CHECK(misplaced_in_cuda({"cuda/ops/x.cu", "asm volatile(\"bar.sync 0;\");"}) != "");
  CHECK(misplaced_in_cuda({"cuda/ops/x.cu", "atomicAdd(static_cast<float*>(sum), x);"}) != "");
  CHECK(misplaced_in_cuda({"cuda/ops/x.cu", "launch(op, kernel, Grid{1}, 32, 0, x);"}) == "");
}

TEST_CASE("rules: no file over 450 lines, and each opens by saying what it is, or its header does") {
  for (const SourceFile& file : source_files()) {
    CHECK_MESSAGE(lines_of(file.text) <= 450, file.path, " has ", lines_of(file.text), " lines");
    const std::string own_header = "#include \"" + fs::path(file.path).replace_extension("hpp").generic_string() + "\"";
    const bool opens =
        file.text.starts_with("//") || (file.path.ends_with(".cpp") && file.text.starts_with(own_header));
    CHECK_MESSAGE(opens, file.path, " opens neither with a comment nor with its header");
  }
}

TEST_CASE("rules: no fast-math, and the contraction of multiply-adds is set") {
  const std::string build = text_of(root / "CMakeLists.txt");
  CHECK(build.find("fast-math") == std::string::npos);
  CHECK(build.find("-ffp-contract=off") != std::string::npos);
}
