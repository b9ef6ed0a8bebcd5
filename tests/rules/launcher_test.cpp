// The launcher `phasor` and .ci/run, in a folder where building does nothing and the programs only say that they ran.
#include <doctest/doctest.h>

#include <cstdio>
#include <filesystem>
#include <string>

#include "tests/support/command.hpp"
#include "tests/support/text.hpp"

using namespace phasor::testing;
namespace fs = std::filesystem;

namespace {

void write_script(const fs::path& file, const std::string& text) {
  fs::create_directories(file.parent_path());
  write_text(file, "#!/bin/bash\n" + text);
  fs::permissions(file, fs::perms::owner_all);
}

struct Launched {
  std::string text;  // both outputs, without the word that something is being built
  int exit_code;
};

class Launcher {
 public:
  Launcher() {
    for (const char* const script : {"phasor", ".ci/run"}) {
      fs::create_directories((folder_ / script).parent_path());
      fs::copy_file(PHASOR_SOURCE_DIR "/" + std::string(script), folder_ / script);
    }
    for (const std::string build : {"release", "cuda"}) {
      for (const std::string program :
           {"phasor", "phasor_tests", "phasor_gpu_tests", "phasor_cuda_tests_tracked", "phasor_cuda_tests_sanitized"}) {
        const std::string counts = program == "phasor" ? "" : "echo \"7 passed, ${FAILED:-0} failed\"\n";
        const std::string death = program == "phasor_cuda_tests_sanitized" ? "[[ -z ${DIES:-} ]] || exit 139\n" : "";
        write_script(folder_ / ("build/" + build + "/" + program),
                     "echo \"" + build + "/" + program + " $*\"\n" + death + counts + "exit $((${FAILED:-0} > 0))\n");
      }
      write_text(folder_ / ("build/" + build + "/build.ninja"), "");
      write_text(folder_ / ("build/" + build + "/CMakeCache.txt"), "PHASOR_WERROR:BOOL=ON\n");
    }
    write_script(folder_ / "bin/ninja", "");
    write_script(folder_ / "bin/dpkg-query", "for word; do echo \"installed $word\"; done\n");
    write_script(folder_ / "tests/cuda/compile.sh", "echo 'compile: 3 passed, 0 failed'\n");
    has_nvcc("release 13.0, V13.0.88");
  }

  void has_nvcc(const std::string& version) {
    write_script(folder_ / "bin/nvcc", "echo 'Cuda compilation tools, " + version + "'\n");
  }
  // Configuring ends like this.
  void cmake_says(const std::string& text) {
    fs::remove(folder_ / "build/cuda/build.ninja");
    write_script(folder_ / "bin/cmake", "echo '" + text + "'\nexit 1\n");
  }

  Launched run(const std::string& words, const std::string& variables = "") {
    const std::string command = "cd '" + folder_.path().string() + "' && PATH=\"$PWD/bin:$PATH\" " + variables + " ./" +
                                words + " 2>&1 </dev/null";
    FILE* const pipe = popen(command.c_str(), "r");
    REQUIRE(pipe != nullptr);
    Launched result;
    for (int c; (c = std::fgetc(pipe)) != EOF;) result.text += static_cast<char>(c);
    result.exit_code = WEXITSTATUS(pclose(pipe));
    return result;
  }

 private:
  TemporaryFolder folder_;
};

std::string last_line(std::string text) {
  if (text.ends_with('\n')) text.pop_back();
  return text.substr(text.rfind('\n') + 1);
}

}  // namespace

TEST_CASE("launcher: --device chooses the build wherever it stands, and reaches the program") {
  Launcher launcher;
  CHECK(launcher.run("phasor train --set a=b").text == "release/phasor train --set a=b\n");
  CHECK(launcher.run("phasor --device cuda train --set a=b").text == "cuda/phasor --device cuda train --set a=b\n");
  CHECK(launcher.run("phasor train --device=cuda").text == "cuda/phasor train --device=cuda\n");
  CHECK(launcher.run("phasor train --device cpu").text == "release/phasor train --device cpu\n");
  CHECK(launcher.run("phasor train --device").text == "release/phasor train --device\n");
  CHECK(launcher.run("phasor generate r -- --device cuda").text == "release/phasor generate r -- --device cuda\n");
}

TEST_CASE("launcher: without a toolkit that is new enough, or a GPU, one line says what is needed") {
  Launcher launcher;
  const auto refusal = [&] {
    const Launched refused = launcher.run("phasor train --device cuda");
    CHECK(refused.exit_code == 5);
    CHECK(refused.text.starts_with("error: --device cuda needs "));
    CHECK(refused.text.find('\n') == refused.text.size() - 1);
    return refused.text;
  };
  launcher.has_nvcc("release 11.8, V11.8.89");
  CHECK(holds(refusal(), "CUDA toolkit, 12 or newer"));
  CHECK(holds(refusal(), "bin/nvcc is 11.8)"));
  launcher.has_nvcc("unknown");
  CHECK(holds(refusal(), "does not tell its version"));
  CHECK(launcher.run("phasor train").text == "release/phasor train\n");
  launcher.has_nvcc("release 12.0, V12.0.140");
  CHECK(launcher.run("phasor train --device cuda").exit_code == 0);
  launcher.cmake_says("CMake Error: no GPU to build for: nvidia-smi lists none");
  CHECK(holds(refusal(), "a GPU to build for"));
}

TEST_CASE("launcher: test runs all parts and adds them up; further words go to the tests of the CPU alone") {
  Launcher launcher;
  const Launched all = launcher.run("phasor test");
  CHECK(all.exit_code == 0);
  CHECK(holds(all.text, "\ncpu: 7 passed, 0 failed\n"));
  CHECK(holds(all.text, "\ncuda, tracked: 7 passed, 0 failed\n"));
  CHECK(holds(all.text, "\ncuda, sanitized: 7 passed, 0 failed\n"));
  CHECK(last_line(all.text) == "21 passed, 0 failed");
  CHECK(launcher.run("phasor test quick").text ==
        "release/phasor_tests --test-suite-exclude=full\n7 passed, 0 failed\n");
  CHECK(launcher.run("phasor test -tc='rotary*'").text == "release/phasor_tests -tc=rotary*\n7 passed, 0 failed\n");

  const std::string filter = "--source-file=*tests/ops/*,*tests/cuda/*";
  const Launched kernels = launcher.run("phasor test cuda");
  CHECK(holds(kernels.text, "phasor_cuda_tests_tracked " + filter + "\n"));
  CHECK(last_line(kernels.text) == "14 passed, 0 failed");
  CHECK(launcher.run("phasor test cuda quick").text ==
        "release/phasor_cuda_tests_tracked " + filter +
            " --test-suite-exclude=full,slow kernels\n7 passed, 0 failed\n");
  CHECK(launcher.run("phasor test cuda --device cuda").text ==
        "cuda/phasor_gpu_tests " + filter + "\n7 passed, 0 failed\n");
}

TEST_CASE("launcher: what fails or dies counts, and the exit code is that of the worst") {
  Launcher launcher;
  const Launched failed = launcher.run("phasor test", "FAILED=2");
  CHECK(failed.exit_code == 1);
  CHECK(last_line(failed.text) == "21 passed, 6 failed");
  const Launched died = launcher.run("phasor test", "DIES=1");
  CHECK(died.exit_code == 139);
  CHECK(holds(died.text, "error: the tests ended early with exit code 139\n"));
  CHECK(last_line(died.text) == "14 passed, 1 failed");
  CHECK(launcher.run("phasor test quick", "FAILED=1").exit_code == 1);

  const Launched ci = launcher.run(".ci/run");
  CHECK(ci.exit_code == 0);
  CHECK(last_line(ci.text) == "24 passed, 0 failed");
  const Launched broken = launcher.run(".ci/run", "FAILED=1");
  CHECK(broken.exit_code == 1);
  CHECK(last_line(broken.text) == "24 passed, 3 failed");
}
