// The test program: doctest with all its options. The last line of its output is `N passed, N failed`, counting test
// cases; the exit code is 0 only if none failed.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <iostream>

namespace {

struct Counts {
  unsigned passed = 0, failed = 0;
};
Counts counts;

// Listens to the run; doctest keeps its own report.
struct Counter : doctest::IReporter {
  explicit Counter(const doctest::ContextOptions&) {}
  void report_query(const doctest::QueryData&) override {}
  void test_run_start() override {}
  void test_run_end(const doctest::TestRunStats& stats) override {
    counts = {stats.numTestCasesPassingFilters - stats.numTestCasesFailed, stats.numTestCasesFailed};
  }
  void test_case_start(const doctest::TestCaseData&) override {}
  void test_case_reenter(const doctest::TestCaseData&) override {}
  void test_case_end(const doctest::CurrentTestCaseStats&) override {}
  void test_case_exception(const doctest::TestCaseException&) override {}
  void subcase_start(const doctest::SubcaseSignature&) override {}
  void subcase_end() override {}
  void log_assert(const doctest::AssertData&) override {}
  void log_message(const doctest::MessageData&) override {}
  void test_case_skipped(const doctest::TestCaseData&) override {}
};

}  // namespace

DOCTEST_REGISTER_LISTENER("counter", 1, Counter);

// The library answers an impossible request for memory with an error; the sanitizers must let it.
#if defined(__SANITIZE_ADDRESS__)
extern "C" const char* __asan_default_options() { return "allocator_may_return_null=1"; }
#elif defined(__SANITIZE_THREAD__)
extern "C" const char* __tsan_default_options() { return "allocator_may_return_null=1"; }
#endif

int main(int argc, char** argv) {
  doctest::Context context(argc, argv);
  const int status = context.run();
  std::cout << counts.passed << " passed, " << counts.failed << " failed" << std::endl;
  return status;
}
