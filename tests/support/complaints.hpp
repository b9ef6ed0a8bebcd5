// Complaints: what a checker found wrong, one sentence each, and the ways to find it.
#pragma once

#include <sstream>
#include <string>
#include <vector>

#include "core/error.hpp"

namespace phasor {

class Complaints {
 public:
  explicit Complaints(std::string op) : op_(std::move(op)) {}

  // Every sentence begins with the op and this.
  void set_context(std::string context) { context_ = std::move(context); }

  template <class... Parts>
  void add(const Parts&... parts) {
    std::ostringstream out;
    out << op_ << ", " << context_ << ": ";
    (out << ... << parts);
    sentences_.push_back(out.str());
  }

  // `wrong` is empty or says what is wrong.
  void expect(const std::string& wrong, const std::string& what) {
    if (!wrong.empty()) add(what, ": ", wrong);
  }

  // An exception is a complaint, and the other checks go on.
  template <class F>
  void attempt(F f) {
    try {
      f();
    } catch (const std::exception& error) {
      add("threw: ", error.what());
    }
  }

  // f must throw an Error whose message begins with `op:` and holds at least one of `says`.
  template <class F>
  void must_throw(const std::string& what, F f, const std::vector<std::string>& says = {""}) {
    try {
      f();
      add(what, ": accepted; must throw");
    } catch (const Error& error) {
      const std::string message = error.what();
      if (!message.starts_with(op_ + ":")) return add(what, ": the error does not name the op: ", message);
      for (const std::string& words : says)
        if (message.find(words) != std::string::npos) return;
      add(what, ": the error does not say '", says.front(), "': ", message);
    } catch (const std::exception& error) {
      add(what, ": not one of the library's errors: ", error.what());
    }
  }

  std::vector<std::string> take() { return std::move(sentences_); }

 private:
  std::string op_, context_;
  std::vector<std::string> sentences_;
};

}  // namespace phasor
