// Headers of .npy files are written here; the zip around them is libzip's.
#include "experiments/report/npz.hpp"

#include <zip.h>

#include <array>
#include <bit>
#include <memory>
#include <set>
#include <type_traits>

#include "core/dispatch.hpp"
#include "core/error.hpp"
#include "nn/files.hpp"

namespace phasor {
namespace {

// Magic, version 1.0, the length of the text in 2 bytes, and the text: a Python dictionary, blanks and a newline, so
// that the data begins at a multiple of 64 bytes.
template <class T>
std::string npy_header(const Shape& shape) {
  static_assert(std::endian::native == std::endian::little);
  const char kind = std::is_same_v<T, bool> ? 'b' : std::is_floating_point_v<T> ? 'f' : 'i';
  std::string text = std::string("{'descr': '") + (sizeof(T) == 1 ? '|' : '<') + kind + std::to_string(sizeof(T)) +
                     "', 'fortran_order': False, 'shape': (";
  for (int axis = 0; axis < shape.rank(); ++axis) text += std::to_string(shape[axis]) + ", ";
  text += "), }";
  constexpr size_t before = 10;
  text.append(63 - (before + text.size()) % 64, ' ');
  text += '\n';
  return std::string("\x93NUMPY\x01\x00", 8) + static_cast<char>(text.size() & 255) +
         static_cast<char>(text.size() >> 8) + text;
}

// What a .npy file holds. Lives until the zip is closed.
struct Entry {
  Tensor value;  // row-major
  std::string header;
  std::array<zip_buffer_fragment_t, 2> fragments;

  // NumPy has no bf16; f32 holds its numbers.
  explicit Entry(const Tensor& x)
      : value((x.dtype() == Dtype::bf16 ? x.to(Dtype::f32) : x).to(Device::cpu).contiguous()) {
    with_any(value.dtype(), [&]<class T>() {
      header = npy_header<T>(value.shape());
      const auto bytes = [](auto* data) { return reinterpret_cast<zip_uint8_t*>(data); };
      fragments = {{{bytes(header.data()), header.size()},
                    {bytes(value.data<T>()), static_cast<size_t>(value.size()) * sizeof(T)}}};
    });
  }
  Entry(const Entry&) = delete;
};

struct FreeSource {
  void operator()(zip_source_t* source) const { zip_source_free(source); }
};
struct Discard {
  void operator()(zip_t* archive) const { zip_discard(archive); }
};

void require_done(bool done, const char* reason) {
  require<ResourceError>(done, "write_npz", "libzip could not put the file together: ", reason);
}

}  // namespace

void write_npz(const std::filesystem::path& path, const std::vector<NamedTensor>& arrays) {
  std::set<std::string> names;
  for (const NamedTensor& array : arrays)
    require<ValueError>(
        !array.name.empty() && array.name.find('/') == std::string::npos && names.insert(array.name).second,
        "write_npz", "an array is named '", array.name, "'; needs names that are not empty, without '/', each once");
  require<ValueError>(!arrays.empty(), "write_npz", "there are no arrays; a zip holds at least one");

  zip_error_t error;
  zip_error_init(&error);
  const std::unique_ptr<zip_source_t, FreeSource> file(zip_source_buffer_create(nullptr, 0, 0, &error));
  require_done(file != nullptr, zip_error_strerror(&error));
  std::unique_ptr<zip_t, Discard> archive(zip_open_from_source(file.get(), ZIP_TRUNCATE, &error));
  require_done(archive != nullptr, zip_error_strerror(&error));
  zip_source_keep(file.get());  // the archive frees it too
  std::vector<std::unique_ptr<Entry>> entries;
  for (const NamedTensor& array : arrays) {
    Entry& entry = *entries.emplace_back(std::make_unique<Entry>(array.value));
    std::unique_ptr<zip_source_t, FreeSource> source(
        zip_source_buffer_fragment(archive.get(), entry.fragments.data(), entry.fragments.size(), 0));
    require_done(source != nullptr, zip_strerror(archive.get()));
    const zip_int64_t added =
        zip_file_add(archive.get(), (array.name + ".npy").c_str(), source.get(), ZIP_FL_ENC_UTF_8);
    require_done(added >= 0, zip_strerror(archive.get()));
    source.release();  // the archive's now
    const auto index = static_cast<zip_uint64_t>(added);
    constexpr zip_uint16_t midnight = 0, first_of_1980 = 1 << 5 | 1;  // the format's first day
    require_done(zip_set_file_compression(archive.get(), index, ZIP_CM_STORE, 0) == 0 &&
                     zip_file_set_dostime(archive.get(), index, midnight, first_of_1980, 0) == 0,
                 zip_strerror(archive.get()));
  }
  require_done(zip_close(archive.get()) == 0, zip_strerror(archive.get()));
  archive.release();  // closed

  zip_stat_t status;
  require_done(zip_source_open(file.get()) == 0 && zip_source_stat(file.get(), &status) == 0,
               zip_error_strerror(zip_source_error(file.get())));
  std::vector<std::byte> bytes(status.size);
  const zip_int64_t read = zip_source_read(file.get(), bytes.data(), bytes.size());
  require_done(read == static_cast<zip_int64_t>(bytes.size()), zip_error_strerror(zip_source_error(file.get())));
  zip_source_close(file.get());
  write_file_atomically(path, bytes);
}

}  // namespace phasor
