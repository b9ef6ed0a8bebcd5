// The grammar of a safetensors header, and the checks of its layout.
#include "nn/safetensors_header.hpp"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

namespace phasor::safetensors {
namespace {

using nlohmann::json;

constexpr std::array<std::pair<Dtype, const char*>, 6> dtype_names = {
    {{Dtype::f32, "F32"}, {Dtype::f64, "F64"}, {Dtype::bf16, "BF16"}, {Dtype::i32, "I32"}, {Dtype::i64, "I64"}, {Dtype::boolean, "BOOL"}}};

// Receives the header token by token, so that nothing is built that the format does not allow: not a tree of arrays as
// deep as the text is long, not a second value under the same key.
class Reader final : public nlohmann::json_sax<json> {
 public:
  std::string fault;  // what stopped the parser
  Header header;

  bool start_object(size_t) override {
    switch (place_) {
      case Place::outside:
        place_ = Place::top;
        return true;
      case Place::top_value:
        place_ = is_metadata_ ? Place::metadata : Place::tensor;
        return true;
      default:
        return wrong("an object");
    }
  }

  bool key(std::string& text) override {
    switch (place_) {
      case Place::top:
        place_ = Place::top_value;
        is_metadata_ = text == "__metadata__";
        if (is_metadata_) {
          if (has_metadata_) return stop("key '__metadata__' occurs twice");
          has_metadata_ = true;
          return true;
        }
        header.entries.emplace_back().name = text;
        has_dtype_ = has_shape_ = has_offsets_ = false;
        if (const std::string wrong_name = name_fault(text); !wrong_name.empty()) {
          return stop("tensor name " + shown(text) + ' ' + wrong_name);
        }
        return true;
      case Place::metadata:
        metadata_key_ = text;
        if (header.metadata.contains(text)) return stop("metadata " + shown(text) + " occurs twice");
        place_ = Place::metadata_value;
        return true;
      default:  // Place::tensor
        if (text == "dtype") return field(has_dtype_, Place::dtype, text);
        if (text == "shape") return field(has_shape_, Place::shape, text);
        if (text == "data_offsets") return field(has_offsets_, Place::offsets, text);
        return stop(tensor() + " has an unknown key " + shown(text));
    }
  }

  bool end_object() override {
    if (place_ == Place::tensor) {
      const char* missing = !has_dtype_ ? "dtype" : !has_shape_ ? "shape" : !has_offsets_ ? "data_offsets" : nullptr;
      if (missing) return stop(tensor() + " has no " + missing);
    }
    place_ = place_ == Place::top ? Place::outside : Place::top;
    return true;
  }

  bool start_array(size_t) override {
    if (place_ == Place::shape)
      place_ = Place::shape_items;
    else if (place_ == Place::offsets)
      place_ = Place::offset_items;
    else
      return wrong("an array");
    count_ = 0;
    return true;
  }

  bool end_array() override {
    Entry& entry = header.entries.back();
    if (place_ == Place::shape_items) {
      // The product counts extents of 0 as 1: the strides of a row-major tensor need it to fit too.
      int64_t product = static_cast<int64_t>(bytes_per_element(Dtype::f64));
      for (size_t axis = 0; axis < count_; ++axis) {
        if (__builtin_mul_overflow(product, std::max<int64_t>(extents_[axis], 1), &product)) {
          return stop(tensor() + " has a shape whose product overflows");
        }
      }
      entry.shape = Shape(std::span<const int64_t>(extents_.data(), count_));
    } else if (count_ != 2) {
      return stop(tensor() + " has " + std::to_string(count_) + " data_offsets; needed are 2");
    }
    place_ = Place::tensor;
    return true;
  }

  bool number_unsigned(uint64_t value) override {
    if (place_ == Place::shape_items) {
      if (count_ == extents_.size()) {
        return stop(tensor() + " has more than " + std::to_string(max_rank) + " axes");
      }
      if (value > INT64_MAX) return wrong("the number " + std::to_string(value));
      extents_[count_++] = static_cast<int64_t>(value);
      return true;
    }
    if (place_ == Place::offset_items && count_ < 2) {
      (count_++ == 0 ? header.entries.back().begin : header.entries.back().end) = value;
      return true;
    }
    return wrong("the number " + std::to_string(value));
  }

  bool string(std::string& text) override {
    if (place_ == Place::metadata_value) {
      header.metadata[metadata_key_] = text;
      place_ = Place::metadata;
      return true;
    }
    if (place_ != Place::dtype) return wrong("a string");
    for (const auto& [dtype, name] : dtype_names) {
      if (text != name) continue;
      header.entries.back().dtype = dtype;
      place_ = Place::tensor;
      return true;
    }
    return stop(tensor() + " has dtype " + shown(text) + "; readable are F32, F64, I32, I64, BOOL");
  }

  bool number_integer(int64_t value) override { return wrong("the negative number " + std::to_string(value)); }
  bool number_float(double, const std::string& text) override { return wrong("the number " + shown(text)); }
  bool boolean(bool) override { return wrong("a boolean"); }
  bool null() override { return wrong("null"); }
  bool binary(binary_t&) override { return wrong("binary data"); }
  bool parse_error(size_t position, const std::string&, const json::exception& error) override {
    const std::string text = error.what();  // [json.exception.parse_error.101] parse error at ...: why
    return stop("the header is not JSON (byte " + std::to_string(position) +
                "): " + shown(text.substr(text.find("] ") + 2)));
  }

 private:
  enum class Place {
    outside,
    top,
    top_value,
    metadata,
    metadata_value,
    tensor,
    dtype,
    shape,
    shape_items,
    offsets,
    offset_items
  };

  bool stop(const std::string& what) {
    fault = what;
    return false;
  }

  std::string tensor() const { return "tensor " + shown(header.entries.back().name); }

  bool field(bool& seen, Place place, const std::string& text) {
    if (seen) return stop(tensor() + " has key " + shown(text) + " twice");
    seen = true;
    place_ = place;
    return true;
  }

  bool wrong(const std::string& came) {
    switch (place_) {
      case Place::outside:
        return stop("the header is " + came + "; needed is an object");
      case Place::top_value:
        return stop((is_metadata_ ? "__metadata__" : tensor()) + " is " + came + "; needed is an object");
      case Place::metadata_value:
        return stop("metadata " + shown(metadata_key_) + " is " + came + "; needed is a string");
      case Place::dtype:
        return stop(tensor() + " has as dtype " + came + "; needed is a string");
      case Place::shape:
      case Place::shape_items:
        return stop(tensor() + " has in its shape " + came + "; needed are whole numbers >= 0");
      default:
        return stop(tensor() + " has in its data_offsets " + came + "; needed are two whole numbers >= 0");
    }
  }

  Place place_ = Place::outside;
  bool is_metadata_ = false, has_metadata_ = false;
  bool has_dtype_ = false, has_shape_ = false, has_offsets_ = false;
  std::string metadata_key_;
  std::array<int64_t, max_rank> extents_{};
  size_t count_ = 0;
};

}  // namespace

std::string name_of(Dtype dtype) {
  for (const auto& [known, name] : dtype_names) {
    if (known == dtype) return name;
  }
  fail<DtypeError>("safetensors", "no name for ", dtype);
}

std::string shown(const std::string& text) {
  constexpr size_t longest = 200;
  const std::string start = text.size() > longest ? text.substr(0, longest) + "..." : text;
  return json(start).dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string name_fault(const std::string& name) {
  if (name == "__metadata__") return "is reserved";
  if (name.find('\0') != std::string::npos) return "holds a NUL byte";
  if (name.find("../") != std::string::npos) return "holds '../'";
  return "";
}

Header parse_header(std::string_view text, const std::filesystem::path& path) {
  // The parser takes a byte order mark before, and a NUL byte after, for the bounds of the text.
  if (text.front() != '{') refuse(path, "the header does not begin with '{'");
  if (text.find('\0') != text.npos) refuse(path, "the header holds a NUL byte");
  Reader reader;
  if (!json::sax_parse(text.begin(), text.end(), &reader)) refuse(path, reader.fault);

  std::vector<const Entry*> by_name;
  for (const Entry& entry : reader.header.entries) by_name.push_back(&entry);
  std::sort(by_name.begin(), by_name.end(), [](const Entry* a, const Entry* b) { return a->name < b->name; });
  const auto twice = std::adjacent_find(by_name.begin(), by_name.end(),
                                        [](const Entry* a, const Entry* b) { return a->name == b->name; });
  if (twice != by_name.end()) refuse(path, "tensor ", shown((*twice)->name), " occurs twice");
  return std::move(reader.header);
}

void check_layout(const Header& header, uint64_t data_bytes, const std::filesystem::path& path) {
  std::vector<const Entry*> by_offset;
  for (const Entry& entry : header.entries) {
    if (entry.end < entry.begin) {
      refuse(path, "tensor ", shown(entry.name), " ends (", entry.end, ") before it begins (", entry.begin, ")");
    }
    // No overflow: the parser refused such shapes.
    const uint64_t needed = static_cast<uint64_t>(entry.shape.size()) * bytes_per_element(entry.dtype);
    if (entry.end - entry.begin != needed) {
      refuse(path, "tensor ", shown(entry.name), " has ", entry.end - entry.begin, " bytes, but its shape ",
             entry.shape, " of ", name_of(entry.dtype), " needs ", needed);
    }
    by_offset.push_back(&entry);
  }
  std::sort(by_offset.begin(), by_offset.end(), [](const Entry* a, const Entry* b) {
    return a->begin != b->begin ? a->begin < b->begin : a->end < b->end;
  });
  uint64_t end = 0;
  for (const Entry* entry : by_offset) {
    if (entry->begin != end) {
      refuse(path, "tensor ", shown(entry->name), " begins at ", entry->begin, ", the one before it ends at ", end,
             ": ", entry->begin > end ? "a hole" : "an overlap");
    }
    if (entry->end > data_bytes) {
      refuse(path, "tensor ", shown(entry->name), " ends at ", entry->end, ", but the file ends at ", data_bytes,
             "; the file is cut off");
    }
    end = entry->end;
  }
  if (end != data_bytes) refuse(path, data_bytes - end, " bytes follow the last tensor");
}

}  // namespace phasor::safetensors
