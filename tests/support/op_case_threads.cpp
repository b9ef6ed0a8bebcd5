// The same bits for any number of threads, and more than two of them at work.
#include <oneapi/tbb/task_scheduler_observer.h>

#include <chrono>
#include <mutex>
#include <set>
#include <sstream>
#include <thread>

#include "core/parallel.hpp"
#include "tests/support/comparison.hpp"
#include "tests/support/op_checks.hpp"

namespace phasor {
namespace {

// Counts the threads that enter the arena in which it is made; one at a time. It must be switched off before that arena
// ends. What the threads write is static: oneTBB says when the last of them is done with the observer, but the thread
// sanitizer does not hear it, and would see the memory of a destroyed set written to.
class Participants : tbb::task_scheduler_observer {
 public:
  Participants() {
    {
      const std::lock_guard lock(mutex_);
      threads_.clear();
    }
    observe(true);
  }
  ~Participants() { observe(false); }
  size_t count() {
    const std::lock_guard lock(mutex_);
    return threads_.size();
  }

 private:
  void on_scheduler_entry(bool) override {
    const std::lock_guard lock(mutex_);
    threads_.insert(std::this_thread::get_id());
  }
  static inline std::mutex mutex_;
  static inline std::set<std::thread::id> threads_;
};

}  // namespace

void check_threads(const SampleCheck& check) {
  const OpCase& op_case = check.op_case;
  const Tensors arguments = check.made(op_case.large, Dtype::f32);
  const auto everything = [&] {
    Tensors results = {op_case.run(arguments)};
    if (op_case.differentiable)
      for (Tensor& gradient : gradients_of(op_case, arguments, cotangent)) results.push_back(std::move(gradient));
    return results;
  };
  Tensors with_one;
  with_threads(1, [&] { with_one = everything(); });
  for (const int threads : {2, 8}) {
    size_t took_part = 0;
    bool same = true;
    // Workers need a moment to arrive: small inputs are run again until a third thread has come, for 2 seconds at
    // most.
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(2);
    with_threads(threads, [&] {
      Participants participants;
      do {
        const Tensors with_several = everything();
        for (size_t i = 0; same && i < with_one.size(); ++i) {
          if (!with_one[i].defined()) continue;
          const std::string wrong = bit_mismatch(with_several[i], with_one[i]);
          same = wrong.empty();
          std::ostringstream what;
          what << threads << " threads against 1, " << (i == 0 ? "value" : "gradient") << " of" << describe(arguments);
          check.complaints.expect(wrong, what.str());
        }
        took_part = participants.count();
      } while (same && threads > 2 && took_part <= 2 && std::chrono::steady_clock::now() < give_up);
    });
    if (same && threads > 2 && took_part <= 2)
      check.complaints.add("only ", took_part, " of ", threads, " threads took part");
  }
}

}  // namespace phasor
