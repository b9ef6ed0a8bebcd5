// Errors: typed exceptions and require(), the one way to check an argument.
//
// Form of a message: `op: what is wrong: what came; what is needed (file:line)`.
// Public functions check once, before any work; kernels only assert.
#pragma once

#include <source_location>
#include <sstream>
#include <stdexcept>
#include <string>

namespace phasor {

struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};
// Extents or axes that do not fit.
struct ShapeError : Error {
  using Error::Error;
};
// An element type an op does not take.
struct DtypeError : Error {
  using Error::Error;
};
// Operands on different devices, or a device that is not there.
struct DeviceError : Error {
  using Error::Error;
};
// A value outside its range (token id, axis, temperature, ...).
struct ValueError : Error {
  using Error::Error;
};
// A derivative rule that breaks its contract, or a graph used twice.
struct GradientError : Error {
  using Error::Error;
};
// Unknown or impossible settings and command lines.
struct UsageError : Error {
  using Error::Error;
};
// An input file that cannot be used.
struct FileError : Error {
  using Error::Error;
};
// NaN or infinity where a number is needed.
struct NumericError : Error {
  using Error::Error;
};
// Memory, disk, permissions.
struct ResourceError : Error {
  using Error::Error;
};
// No block for a tensor.
struct MemoryError : ResourceError {
  using ResourceError::ResourceError;
};
// Another run holds the folder.
struct BusyError : Error {
  using Error::Error;
};

// The op's name and the line of the check. Built from the name at the call, so that it keeps the caller's line.
struct At {
  const char* op;
  std::source_location where;
  At(const char* op_, std::source_location where_ = std::source_location::current()) : op(op_), where(where_) {}
};

template <class E, class... Parts>
[[noreturn]] void fail(At at, const Parts&... parts) {
  std::ostringstream message;
  message << at.op << ": ";
  (message << ... << parts);
  message << " (" << at.where.file_name() << ':' << at.where.line() << ')';
  throw E(message.str());
}

// require(a.extent(-1) == b.extent(-2), "matmul", "inner extents differ: a is ", a.shape(), ", b is ", b.shape());
template <class E = ShapeError, class... Parts>
void require(bool ok, At at, const Parts&... parts) {
  if (!ok) [[unlikely]]
    fail<E>(at, parts...);
}

}  // namespace phasor
