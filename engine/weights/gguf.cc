#include "engine/weights/gguf.h"

#include <algorithm>
#include <filesystem>
#include <limits>
#include <system_error>
#include <unordered_set>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/checked_math.h"
#include "base/status_macros.h"
#include "engine/weights/checkpoint.h"
#include "engine/weights/gguf_types.h"

namespace prefixd {
namespace {

namespace fs = std::filesystem;

constexpr absl::string_view kMagic = "GGUF";
constexpr uint64_t kMinPairBytes = 8 + 1 + 4 + 1;
constexpr uint64_t kMinTensorBytes = 8 + 1 + 4 + 8 + 4 + 8;
constexpr uint64_t kMaxKeyBytes = 65535;
constexpr uint64_t kMaxNameBytes = 63;
constexpr uint32_t kMaxDimensions = 4;
constexpr int64_t kMaxAlignment = 1 << 20;

// A name fit for an error message: printable and short.
std::string Printable(absl::string_view name) {
  return absl::StrCat("\"", absl::CHexEscape(name.substr(0, 80)), name.size() > 80 ? "..." : "",
                      "\"");
}

// Walks over the start of a file. `what` says in errors what was about to be read.
class Cursor {
 public:
  Cursor(absl::string_view bytes, uint64_t file_bytes) : bytes_(bytes), file_bytes_(file_bytes) {}

  uint64_t position() const { return position_; }
  uint64_t left_in_file() const { return file_bytes_ - position_; }

  absl::Status Skip(uint64_t size, absl::string_view what) {
    if (size > left_in_file()) {
      return absl::InvalidArgumentError(absl::StrCat(what, ": ", size, " bytes at byte ", position_,
                                                     ", the file has ", file_bytes_));
    }
    if (size > bytes_.size() - position_) return absl::OutOfRangeError("the header goes on");
    position_ += size;
    return absl::OkStatus();
  }

  template <typename T>
  absl::Status Number(absl::string_view what, T* out) {
    PREFIXD_RETURN_IF_ERROR(Skip(sizeof(T), what));
    T value = 0;
    for (size_t i = 0; i < sizeof(T); ++i) {
      const auto byte = static_cast<uint8_t>(bytes_[position_ - sizeof(T) + i]);
      value = static_cast<T>(value | static_cast<T>(T{byte} << (8 * i)));
    }
    *out = value;
    return absl::OkStatus();
  }

  // A length and so many bytes.
  absl::Status String(absl::string_view what, uint64_t max_size, absl::string_view* out) {
    uint64_t size = 0;
    PREFIXD_RETURN_IF_ERROR(Number(what, &size));
    if (size > max_size) {
      return absl::InvalidArgumentError(
          absl::StrCat(what, ": a string of ", size, " bytes, the limit is ", max_size));
    }
    PREFIXD_RETURN_IF_ERROR(Skip(size, what));
    *out = bytes_.substr(position_ - size, size);
    return absl::OkStatus();
  }

 private:
  const absl::string_view bytes_;
  const uint64_t file_bytes_;
  uint64_t position_ = 0;  // <= bytes_.size() <= file_bytes_.
};

struct Counts {
  uint64_t tensors = 0, pairs = 0;
};

absl::Status CheckVersion(uint32_t version) {
  if (version == 2 || version == 3) return absl::OkStatus();
  if (version != 0 && (version & 0xffff) == 0) {
    return absl::UnimplementedError("a big-endian GGUF file, only little-endian ones are read");
  }
  return absl::UnimplementedError(absl::StrCat("GGUF version ", version, ", expected 2 or 3"));
}

absl::Status CheckCount(absl::string_view what, uint64_t count, uint64_t max, uint64_t least_bytes,
                        uint64_t left) {
  if (count > max) {
    return absl::InvalidArgumentError(absl::StrCat(count, " ", what, ", the limit is ", max));
  }
  if (count > left / least_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(count, " ", what, " do not fit the ", left, " bytes that follow"));
  }
  return absl::OkStatus();
}

absl::StatusOr<Counts> ReadPreamble(Cursor* cursor, absl::string_view bytes) {
  PREFIXD_RETURN_IF_ERROR(cursor->Skip(kMagic.size(), "magic"));
  if (!absl::StartsWith(bytes, kMagic)) {
    return absl::InvalidArgumentError(absl::StrCat("begins with ",
                                                   Printable(bytes.substr(0, kMagic.size())),
                                                   ", a GGUF file with ", Printable(kMagic)));
  }
  uint32_t version = 0;
  PREFIXD_RETURN_IF_ERROR(cursor->Number("version", &version));
  PREFIXD_RETURN_IF_ERROR(CheckVersion(version));
  Counts counts;
  PREFIXD_RETURN_IF_ERROR(cursor->Number("tensor count", &counts.tensors));
  PREFIXD_RETURN_IF_ERROR(cursor->Number("metadata count", &counts.pairs));
  const uint64_t left = cursor->left_in_file();
  PREFIXD_RETURN_IF_ERROR(
      CheckCount("tensors", counts.tensors, kMaxGgufTensors, kMinTensorBytes, left));
  PREFIXD_RETURN_IF_ERROR(
      CheckCount("metadata pairs", counts.pairs, kMaxGgufPairs, kMinPairBytes, left));
  return counts;
}

absl::Status ReadType(absl::string_view what, Cursor* cursor, GgufType* type) {
  uint32_t id = 0;
  PREFIXD_RETURN_IF_ERROR(cursor->Number(what, &id));
  if (id > static_cast<uint32_t>(GgufType::kF64)) {
    return absl::InvalidArgumentError(
        absl::StrCat(what, ": value type ", id, ", expected 0 to 12"));
  }
  *type = static_cast<GgufType>(id);
  return absl::OkStatus();
}

absl::Status ReadArray(absl::string_view what, Cursor* cursor, GgufValue* value) {
  PREFIXD_RETURN_IF_ERROR(ReadType(what, cursor, &value->element));
  PREFIXD_RETURN_IF_ERROR(cursor->Number(what, &value->count));
  if (value->element == GgufType::kArray) {
    return absl::InvalidArgumentError(absl::StrCat(what, ": an array of arrays"));
  }
  if (value->count > kMaxGgufArrayElements) {
    return absl::InvalidArgumentError(absl::StrCat(
        what, ": an array of ", value->count, " elements, the limit is ", kMaxGgufArrayElements));
  }
  value->begin = cursor->position();
  if (value->element != GgufType::kString) {
    return cursor->Skip(value->count * GgufTypeSize(value->element), what);
  }
  if (value->count > cursor->left_in_file() / 8) {
    return absl::InvalidArgumentError(absl::StrCat(what, ": an array of ", value->count,
                                                   " strings, ", cursor->left_in_file(),
                                                   " bytes follow"));
  }
  for (uint64_t i = 0; i < value->count; ++i) {
    absl::string_view text;
    PREFIXD_RETURN_IF_ERROR(cursor->String(what, kMaxGgufStringBytes, &text));
  }
  return absl::OkStatus();
}

absl::Status ReadValue(absl::string_view what, Cursor* cursor, GgufValue* value) {
  PREFIXD_RETURN_IF_ERROR(ReadType(what, cursor, &value->type));
  if (value->type == GgufType::kArray) return ReadArray(what, cursor, value);
  if (value->type == GgufType::kString) {
    absl::string_view text;
    PREFIXD_RETURN_IF_ERROR(cursor->String(what, kMaxGgufStringBytes, &text));
    value->begin = cursor->position() - text.size();
    value->count = text.size();
    return absl::OkStatus();
  }
  value->begin = cursor->position();
  return cursor->Skip(GgufTypeSize(value->type), what);
}

absl::StatusOr<std::map<std::string, GgufValue>> ReadPairs(uint64_t count, Cursor* cursor) {
  std::map<std::string, GgufValue> values;
  for (uint64_t i = 0; i < count; ++i) {
    absl::string_view key;
    PREFIXD_RETURN_IF_ERROR(cursor->String(absl::StrCat("metadata key ", i), kMaxKeyBytes, &key));
    if (key.empty())
      return absl::InvalidArgumentError(absl::StrCat("metadata key ", i, " is empty"));
    GgufValue value;
    PREFIXD_RETURN_IF_ERROR(ReadValue(Printable(key), cursor, &value));
    if (!values.emplace(key, value).second) {
      return absl::InvalidArgumentError(absl::StrCat("metadata key ", Printable(key), " is twice"));
    }
  }
  return values;
}

absl::Status TensorError(absl::string_view name, absl::string_view problem) {
  return absl::InvalidArgumentError(absl::StrCat("tensor ", Printable(name), ": ", problem));
}

// Fills shape and size from ne; ne[0] becomes the last dimension.
absl::Status SetShape(absl::Span<const uint64_t> ne, const GgufTensorType& type, TensorInfo* out) {
  uint64_t elements = 1;
  for (size_t i = 0; i < ne.size(); ++i) {
    const auto product = CheckedMul(elements, ne[i]);
    if (ne[i] == 0 || !product || *product > uint64_t{std::numeric_limits<int64_t>::max()}) {
      return TensorError(out->name, absl::StrCat("dimension ", i, " is ", ne[i],
                                                 ", expected a product in [1, 2^63)"));
    }
    elements = *product;
    out->shape.insert(out->shape.begin(), static_cast<int64_t>(ne[i]));
  }
  const uint64_t block = static_cast<uint64_t>(type.block.elements);
  if (ne[0] % block != 0) {
    return TensorError(out->name, absl::StrCat("a row of ", ne[0], " elements of ", type.name,
                                               " is no whole number of blocks of ", block));
  }
  const auto size = CheckedMul(elements / block, static_cast<uint64_t>(type.block.bytes));
  if (!size) return TensorError(out->name, absl::StrCat(elements, " elements of ", type.name));
  out->size_bytes = *size;
  return absl::OkStatus();
}

absl::Status ReadTensor(uint64_t index, Cursor* cursor, TensorInfo* out) {
  absl::string_view name;
  PREFIXD_RETURN_IF_ERROR(cursor->String(absl::StrCat("tensor ", index), kMaxNameBytes, &name));
  if (name.empty()) return absl::InvalidArgumentError(absl::StrCat("tensor ", index, ": no name"));
  out->name = std::string(name);
  const std::string what = absl::StrCat("tensor ", Printable(name));
  uint32_t num_dimensions = 0, type_id = 0;
  PREFIXD_RETURN_IF_ERROR(cursor->Number(what, &num_dimensions));
  if (num_dimensions < 1 || num_dimensions > kMaxDimensions) {
    return TensorError(name,
                       absl::StrCat(num_dimensions, " dimensions, expected 1 to ", kMaxDimensions));
  }
  uint64_t ne[kMaxDimensions];
  for (uint32_t i = 0; i < num_dimensions; ++i) {
    PREFIXD_RETURN_IF_ERROR(cursor->Number(what, &ne[i]));
  }
  PREFIXD_RETURN_IF_ERROR(cursor->Number(what, &type_id));
  PREFIXD_RETURN_IF_ERROR(cursor->Number(what, &out->begin));
  const GgufTensorType* const type = FindGgufTensorType(type_id);
  if (type == nullptr) return TensorError(name, absl::StrCat("unknown element type ", type_id));
  if (type->block.bytes == 0) {
    return absl::UnimplementedError(
        absl::StrCat(what, ": element type ", type->name, " is not supported"));
  }
  out->dtype = std::string(type->name);
  return SetShape(absl::MakeConstSpan(ne, num_dimensions), *type, out);
}

absl::StatusOr<uint64_t> Alignment(const GgufMetadata& metadata) {
  constexpr char kKey[] = "general.alignment";
  const auto it = metadata.values().find(kKey);
  if (it == metadata.values().end()) return 32;
  if (it->second.type != GgufType::kU32)
    return metadata.Error(kKey, "the value is not of type u32");
  int64_t alignment = 0;
  PREFIXD_RETURN_IF_ERROR(metadata.Int(kKey, &alignment));
  if (alignment < 8 || alignment > kMaxAlignment || (alignment & (alignment - 1)) != 0) {
    return metadata.Error(
        kKey, absl::StrCat(alignment, ", expected a power of two from 8 to ", kMaxAlignment));
  }
  return static_cast<uint64_t>(alignment);
}

// The tensors must lie one behind the other, each padded to the alignment, within the file. Turns
// offsets into positions in the file.
absl::Status Place(uint64_t header_bytes, uint64_t alignment, uint64_t file_bytes,
                   std::vector<TensorInfo>* tensors) {
  const auto padded = [alignment](uint64_t size) {
    return (size + alignment - 1) & ~(alignment - 1);
  };
  const uint64_t data_begin = padded(header_bytes);
  uint64_t end = 0;  // Of the tensor before, padded; counted from data_begin.
  for (TensorInfo& tensor : *tensors) {
    if (tensor.begin != end) {
      return TensorError(tensor.name, absl::StrCat("offset ", tensor.begin, ", expected ", end,
                                                   ", the end of the tensor before it at an"
                                                   " alignment of ",
                                                   alignment));
    }
    const auto begin = CheckedAdd(data_begin, tensor.begin);
    if (!begin || *begin > file_bytes || tensor.size_bytes > file_bytes - *begin) {
      return TensorError(tensor.name,
                         absl::StrCat("shape ", ShapeString(tensor.shape), " of ", tensor.dtype,
                                      " needs ", tensor.size_bytes, " bytes at data byte ",
                                      tensor.begin, ", the file has ", file_bytes, " bytes"));
    }
    tensor.begin = *begin;
    end = padded(end + tensor.size_bytes);
  }
  return absl::OkStatus();
}

absl::StatusOr<GgufHeader> Parse(std::string bytes, uint64_t file_bytes, const std::string& path) {
  GgufHeader header;
  Cursor cursor(bytes, file_bytes);
  PREFIXD_ASSIGN_OR_RETURN(const Counts counts, ReadPreamble(&cursor, bytes));
  PREFIXD_ASSIGN_OR_RETURN(auto values, ReadPairs(counts.pairs, &cursor));
  header.tensors.reserve(counts.tensors);  // As many as may follow in this file.
  std::unordered_set<std::string> names;
  for (uint64_t i = 0; i < counts.tensors; ++i) {
    TensorInfo tensor;
    PREFIXD_RETURN_IF_ERROR(ReadTensor(i, &cursor, &tensor));
    if (!names.insert(tensor.name).second) return TensorError(tensor.name, "is there twice");
    header.tensors.push_back(std::move(tensor));
  }
  header.size_bytes = cursor.position();
  header.metadata = GgufMetadata(path, std::move(bytes), std::move(values));
  return header;
}

}  // namespace

absl::StatusOr<GgufHeader> ParseGgufHeader(std::string bytes, uint64_t file_bytes,
                                           const std::string& path) {
  absl::StatusOr<GgufHeader> header = Parse(std::move(bytes), file_bytes, path);
  const auto in_file = [&path](const absl::Status& status) {
    return absl::Status(status.code(), absl::StrCat(path, ": ", status.message()));
  };
  if (!header.ok()) return in_file(header.status());
  PREFIXD_ASSIGN_OR_RETURN(const uint64_t alignment, Alignment(header->metadata));
  const absl::Status placed = Place(header->size_bytes, alignment, file_bytes, &header->tensors);
  if (!placed.ok()) return in_file(placed);
  return header;
}

absl::StatusOr<GgufHeader> ReadGgufHeader(const File& file) {
  // Where the header ends is only known once it is read: more of the file is taken until it fits.
  uint64_t size = uint64_t{1} << 20;
  while (true) {
    size = std::min({size, file.size_bytes(), kMaxGgufHeaderBytes});
    std::string bytes(size, '\0');
    PREFIXD_RETURN_IF_ERROR(
        file.ReadAt(0, absl::MakeSpan(reinterpret_cast<uint8_t*>(bytes.data()), bytes.size())));
    absl::StatusOr<GgufHeader> header =
        ParseGgufHeader(std::move(bytes), file.size_bytes(), file.path());
    if (!absl::IsOutOfRange(header.status())) return header;
    if (size == kMaxGgufHeaderBytes) {
      return absl::InvalidArgumentError(absl::StrCat(file.path(), ": the header has more than ",
                                                     kMaxGgufHeaderBytes, " bytes, the limit"));
    }
    size *= 4;
  }
}

absl::StatusOr<std::optional<std::string>> FindGgufFile(const std::string& model_path) {
  std::error_code error;
  const fs::file_status status = fs::status(model_path, error);
  if (!fs::exists(status)) return std::optional<std::string>();
  if (status.type() != fs::file_type::directory) return std::make_optional(model_path);
  if (!absl::IsNotFound(ResolveInDirectory(model_path, "config.json").status())) {
    return std::optional<std::string>();
  }
  std::string found;
  for (fs::directory_iterator it(model_path, error), end; !error && it != end;
       it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (!absl::EndsWith(name, ".gguf")) continue;
    if (!found.empty()) {
      return absl::InvalidArgumentError(absl::StrCat(
          model_path, ": ", Printable(std::min(found, name)), " and ",
          Printable(std::max(found, name)), " are both there; name the file that is meant"));
    }
    found = name;
  }
  if (found.empty()) return std::optional<std::string>();
  PREFIXD_ASSIGN_OR_RETURN(const std::string path, ResolveInDirectory(model_path, found));
  return std::make_optional(path);
}

}  // namespace prefixd
