// Writing and reading of tensor files, with digests.
#include "nn/safetensors.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string_view>

#include "core/dispatch.hpp"
#include "core/error.hpp"
#include "nn/files.hpp"
#include "nn/safetensors_header.hpp"

namespace phasor {
namespace {

static_assert(std::endian::native == std::endian::little, "the format is little endian");

using namespace safetensors;

std::span<std::byte> bytes_of(const Tensor& t) {
  return with_any(t.dtype(), [&]<class T>() {
    return std::as_writable_bytes(std::span(t.data<T>(), static_cast<size_t>(t.size())));
  });
}

std::string json_text(const std::string& text) {
  try {
    return nlohmann::json(text).dump();
  } catch (const nlohmann::json::exception&) {
    fail<ValueError>("write_safetensors", "a name or metadata is not UTF-8");
  }
}

// The one header for this content. The digest of the header itself is taken with `header_digest` full of zeros.
std::string header_text(const Header& header, const std::string& header_digest) {
  std::map<std::string, std::string> metadata = header.metadata;
  metadata[digest_marker] = "sha256";
  metadata[header_digest_key] = header_digest;
  std::string text = "{\"__metadata__\":{";
  for (const auto& [key, value] : metadata) {
    if (text.back() != '{') text += ',';
    text += json_text(key) + ':' + json_text(value);
  }
  text += '}';
  for (const Entry& entry : header.entries) {
    text += ',' + json_text(entry.name) + ":{\"dtype\":\"" + name_of(entry.dtype) + "\",\"shape\":[";
    for (int axis = 0; axis < entry.shape.rank(); ++axis) {
      if (axis > 0) text += ',';
      text += std::to_string(entry.shape[axis]);
    }
    text += "],\"data_offsets\":[" + std::to_string(entry.begin) + ',' + std::to_string(entry.end) + "]}";
  }
  text += '}';
  text.resize((text.size() + 7) / 8 * 8, ' ');
  return text;
}

const std::string zero_digest(64, '0');

void check_names(const TensorFile& file) {
  constexpr const char* op = "write_safetensors";
  std::vector<std::string> names;
  for (const auto& [name, tensor] : file.tensors) {
    require<ValueError>(tensor.defined(), op, "tensor ", shown(name), " is not defined");
    const std::string wrong = name_fault(name);
    require<ValueError>(wrong.empty(), op, "tensor name ", shown(name), ' ', wrong);
    names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  if (twice != names.end()) fail<ValueError>(op, "tensor ", shown(*twice), " occurs twice");
  for (const auto& [key, value] : file.metadata) {
    require<ValueError>(!key.starts_with(digest_marker), op, "metadata ", shown(key), " is reserved for digests");
  }
}

// Compares what a file of ours says of itself with what is there, then takes the digests out of the metadata.
void verify_digests(Header& header, std::string_view raw_header, std::span<const std::byte> data,
                    const std::filesystem::path& path) {
  const auto damaged = [&](const auto&... what) { refuse(path, what..., "; the file is damaged"); };
  const auto first = header.metadata.lower_bound(digest_marker);
  if (first == header.metadata.end() || !first->first.starts_with(digest_marker)) return;
  const auto value = [&](const std::string& key) {
    const auto found = header.metadata.find(key);
    if (found == header.metadata.end()) damaged("metadata ", shown(key), " is missing");
    return found->second;
  };
  if (value(digest_marker) != "sha256") damaged("metadata '", digest_marker, "' is not sha256");
  const std::string header_digest = value(header_digest_key);
  if (sha256_hex(header_text(header, zero_digest)) != header_digest ||
      header_text(header, header_digest) != raw_header) {
    damaged("the header does not fit its sha256");
  }
  for (const Entry& entry : header.entries) {
    const auto bytes = data.subspan(entry.begin, entry.end - entry.begin);
    if (sha256_hex(bytes) != value(tensor_digest_prefix + entry.name)) {
      damaged("the elements of tensor ", shown(entry.name), " do not fit their sha256");
    }
  }
  std::erase_if(header.metadata, [](const auto& item) { return item.first.starts_with(digest_marker); });
}

}  // namespace

void write_safetensors(const std::filesystem::path& path, const TensorFile& file) {
  check_names(file);
  Header header{.entries = {}, .metadata = file.metadata};
  std::vector<Tensor> tensors;
  for (const auto& [name, tensor] : file.tensors) {
    tensors.push_back(tensor.to(Device::cpu).contiguous());
    header.entries.push_back({.name = name, .dtype = tensor.dtype(), .shape = tensor.shape()});
    header.metadata[tensor_digest_prefix + name] = sha256_hex(bytes_of(tensors.back()));
  }
  // Wide elements first, so that every tensor in the file is aligned for whoever maps it.
  std::vector<size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return bytes_per_element(tensors[a].dtype()) > bytes_per_element(tensors[b].dtype());
  });
  uint64_t end = 0;
  for (const size_t index : order) {
    header.entries[index].begin = end;
    header.entries[index].end = end += bytes_of(tensors[index]).size();
  }

  const std::string text = header_text(header, sha256_hex(header_text(header, zero_digest)));
  require<ValueError>(text.size() <= max_header_bytes, "write_safetensors", "the header would take ", text.size(),
                      " bytes; the format allows ", max_header_bytes);
  std::vector<std::byte> bytes(8 + text.size() + end);
  const uint64_t header_bytes = text.size();
  std::memcpy(bytes.data(), &header_bytes, 8);
  std::memcpy(bytes.data() + 8, text.data(), text.size());
  auto place = bytes.begin() + 8 + static_cast<std::ptrdiff_t>(text.size());
  for (const size_t index : order) {
    const auto elements = bytes_of(tensors[index]);
    place = std::copy(elements.begin(), elements.end(), place);
  }
  write_file_atomically(path, bytes);
}

TensorFile read_safetensors(const std::filesystem::path& path) { return parse_safetensors(read_file(path), path); }

TensorFile parse_safetensors(std::span<const std::byte> bytes, const std::filesystem::path& path) {
  if (bytes.size() < 8) refuse(path, "it has ", bytes.size(), " bytes; the header length alone takes 8");
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, bytes.data(), 8);
  if (header_bytes == 0) refuse(path, "the header length is 0");
  if (header_bytes > max_header_bytes) {
    refuse(path, "the header length is ", header_bytes, "; the format allows ", max_header_bytes);
  }
  if (header_bytes > bytes.size() - 8) {
    refuse(path, "the header length is ", header_bytes, ", but ", bytes.size() - 8,
           " bytes follow; the file is cut off");
  }
  const std::string_view raw_header(reinterpret_cast<const char*>(bytes.data()) + 8, header_bytes);
  const auto data = bytes.subspan(8 + header_bytes);

  Header header = parse_header(raw_header, path);
  check_layout(header, data.size(), path);
  verify_digests(header, raw_header, data, path);

  TensorFile file{.tensors = {}, .metadata = std::move(header.metadata)};
  for (const Entry& entry : header.entries) {
    const auto elements = data.subspan(entry.begin, entry.end - entry.begin);
    // Any other byte in a bool is undefined behaviour at the first read.
    if (entry.dtype == Dtype::boolean) {
      for (const std::byte element : elements) {
        if (element > std::byte{1}) refuse(path, "tensor ", shown(entry.name), " is BOOL and holds ", int(element));
      }
    }
    const Tensor tensor = Tensor::empty(entry.shape, entry.dtype);
    std::copy(elements.begin(), elements.end(), bytes_of(tensor).begin());
    file.tensors.emplace_back(entry.name, tensor);
  }
  return file;
}

}  // namespace phasor
