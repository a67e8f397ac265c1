// The bytes of a class set's file. Everything is little-endian; a text is its length (uint64) and
// its bytes, a list its length and its entries.
//
//   "PFXCLASS", uint32 version, then
//   tenant, id, int64 nanoseconds since 1970, label prefix, system, question, uint8 plain,
//   separator, null text, list of names,
//   list of demonstrations: uint8 image (0: none, 1: bytes and digest), [bytes, digest], text,
//   label,
//   uint32 shots, digest of the embeddings' model, list of embeddings: list of float32,
//   SHA-256 of all that.
#include <algorithm>
#include <bit>
#include <cstring>
#include <tuple>
#include <type_traits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/checked_math.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "engine/classify/check_class_set.h"
#include "engine/classify/class_set_store.h"

namespace prefixd {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr absl::string_view kMagic = "PFXCLASS";
constexpr uint32_t kVersion = 1;
constexpr size_t kDigestBytes = std::tuple_size_v<Sha256Digest>;
// The least that an entry of a list takes.
constexpr uint64_t kLeastText = 8, kLeastDemonstration = 1 + 2 * 8;

class Writer {
 public:
  explicit Writer(std::string* out) : out_(out) {}  // Null: the bytes are counted only.
  uint64_t num_bytes() const { return num_bytes_; }

  void Raw(const void* data, size_t size) {
    num_bytes_ += size;
    if (out_ != nullptr) out_->append(static_cast<const char*>(data), size);
  }
  template <typename T>
  void Number(T value) {
    static_assert(std::is_arithmetic_v<T>);
    Raw(&value, sizeof(T));
  }
  void Text(absl::string_view text) {
    Number<uint64_t>(text.size());
    Raw(text.data(), text.size());
  }

 private:
  std::string* const out_;
  uint64_t num_bytes_ = 0;
};

// Reads the front of what is left. Nothing is taken from the heap before its length is known to be
// there and within its limit.
class Reader {
 public:
  explicit Reader(absl::string_view bytes) : bytes_(bytes), size_(bytes.size()) {}

  template <typename T>
  absl::Status Number(absl::string_view field, T* out) {
    if (bytes_.size() < sizeof(T)) return Fail(field, "the file ends");
    std::memcpy(out, bytes_.data(), sizeof(T));
    bytes_.remove_prefix(sizeof(T));
    return absl::OkStatus();
  }
  absl::Status Flag(absl::string_view field, bool* out) {
    uint8_t value = 0;
    PREFIXD_RETURN_IF_ERROR(Number(field, &value));
    if (value > 1) return Fail(field, absl::StrCat("a kind of ", value, ", expected 0 or 1"));
    *out = value == 1;
    return absl::OkStatus();
  }
  // Of a list whose entries take `entry_bytes` at least.
  absl::Status Length(absl::string_view field, uint64_t entry_bytes, uint64_t limit,
                      uint64_t* out) {
    PREFIXD_RETURN_IF_ERROR(Number(field, out));
    if (*out > limit) return Fail(field, absl::StrCat("length ", *out, ", the limit is ", limit));
    if (*out > bytes_.size() / entry_bytes) {
      return Fail(field, absl::StrCat("length ", *out, ", but ", bytes_.size(), " bytes are left"));
    }
    return absl::OkStatus();
  }
  absl::Status Text(absl::string_view field, uint64_t limit, std::string* out) {
    uint64_t length = 0;
    PREFIXD_RETURN_IF_ERROR(Length(field, 1, limit, &length));
    out->assign(bytes_.data(), length);
    bytes_.remove_prefix(length);
    return absl::OkStatus();
  }
  // Requires: Length has said that they are there.
  void Values(uint64_t length, std::vector<float>* out) {
    out->resize(length);
    if (length == 0) return;
    std::memcpy(out->data(), bytes_.data(), length * sizeof(float));
    bytes_.remove_prefix(length * sizeof(float));
  }
  absl::Status End() const {
    return bytes_.empty() ? absl::OkStatus()
                          : Fail("end", absl::StrCat(bytes_.size(), " bytes too many"));
  }

 private:
  absl::Status Fail(absl::string_view field, absl::string_view problem) const {
    return absl::InvalidArgumentError(
        absl::StrCat(field, " at byte ", size_ - bytes_.size(), ": ", problem));
  }

  absl::string_view bytes_;
  const size_t size_;
};

uint64_t Limit(int32_t limit) { return static_cast<uint64_t>(std::max(limit, 0)); }

absl::Status ReadDemonstration(const ClassificationOptions& options, Reader* reader,
                               Demonstration* out) {
  bool has_image = false;
  PREFIXD_RETURN_IF_ERROR(reader->Flag("image", &has_image));
  if (has_image) {
    ImagePart& image = out->image.emplace();
    PREFIXD_RETURN_IF_ERROR(reader->Text("image bytes", options.max_set_bytes, &image.bytes));
    PREFIXD_RETURN_IF_ERROR(reader->Text("image digest", kDigestBytes, &image.sha256));
  }
  PREFIXD_RETURN_IF_ERROR(reader->Text("demonstration's text", kMaxPromptTextBytes, &out->text));
  return reader->Text("label", Limit(options.max_name_bytes), &out->label);
}

absl::Status ReadSpec(const ClassificationOptions& options, Reader* reader, StoredClassSet* set) {
  ClassSetSpec& spec = set->spec;
  int64_t created_ns = 0;
  PREFIXD_RETURN_IF_ERROR(reader->Text("tenant", kMaxStoredTenantBytes, &spec.tenant));
  PREFIXD_RETURN_IF_ERROR(reader->Text("id", kMaxClassSetIdBytes, &spec.id));
  PREFIXD_RETURN_IF_ERROR(reader->Number("created", &created_ns));
  set->created = absl::FromUnixNanos(created_ns);
  PREFIXD_RETURN_IF_ERROR(reader->Text("label_prefix", kMaxLabelPrefixBytes, &spec.label_prefix));
  PREFIXD_RETURN_IF_ERROR(reader->Text("system", kMaxPromptTextBytes, &spec.prompt.system));
  PREFIXD_RETURN_IF_ERROR(reader->Text("question", kMaxPromptTextBytes, &spec.prompt.question));
  PREFIXD_RETURN_IF_ERROR(reader->Flag("plain", &spec.prompt.plain));
  PREFIXD_RETURN_IF_ERROR(reader->Text("separator", kMaxPromptTextBytes, &spec.prompt.separator));
  PREFIXD_RETURN_IF_ERROR(reader->Text("null_text", kMaxPromptTextBytes, &spec.null_text));
  uint64_t length = 0;
  PREFIXD_RETURN_IF_ERROR(reader->Length("names", kLeastText, Limit(options.max_names), &length));
  spec.names.resize(length);
  for (std::string& name : spec.names) {
    PREFIXD_RETURN_IF_ERROR(reader->Text("name", Limit(options.max_name_bytes), &name));
  }
  PREFIXD_RETURN_IF_ERROR(reader->Length("demonstrations", kLeastDemonstration,
                                         Limit(options.max_demonstrations), &length));
  spec.demonstrations.resize(length);
  for (Demonstration& demonstration : spec.demonstrations) {
    PREFIXD_RETURN_IF_ERROR(ReadDemonstration(options, reader, &demonstration));
  }
  return reader->Number("num_shots", &spec.num_shots);
}

absl::Status ReadEmbeddings(Reader* reader, StoredClassSet* set) {
  PREFIXD_RETURN_IF_ERROR(
      reader->Text("embedding_model", kMaxEmbeddingModelBytes, &set->embedding_model));
  uint64_t length = 0;
  PREFIXD_RETURN_IF_ERROR(
      reader->Length("embeddings", kLeastText, set->spec.demonstrations.size(), &length));
  set->embeddings.resize(length);
  for (std::vector<float>& embedding : set->embeddings) {
    PREFIXD_RETURN_IF_ERROR(reader->Length("embedding", sizeof(float), kMaxEmbeddingDim, &length));
    reader->Values(length, &embedding);
  }
  return absl::OkStatus();
}

void WriteDemonstration(const Demonstration& demonstration, Writer* writer) {
  writer->Number<uint8_t>(demonstration.image ? 1 : 0);
  if (demonstration.image) {
    writer->Text(demonstration.image->bytes);
    writer->Text(demonstration.image->sha256);
  }
  writer->Text(demonstration.text);
  writer->Text(demonstration.label);
}

void WriteSet(const StoredClassSet& set, Writer* writer) {
  const ClassSetSpec& spec = set.spec;
  writer->Raw(kMagic.data(), kMagic.size());
  writer->Number(kVersion);
  writer->Text(spec.tenant);
  writer->Text(spec.id);
  writer->Number<int64_t>(absl::ToUnixNanos(set.created));
  writer->Text(spec.label_prefix);
  writer->Text(spec.prompt.system);
  writer->Text(spec.prompt.question);
  writer->Number<uint8_t>(spec.prompt.plain ? 1 : 0);
  writer->Text(spec.prompt.separator);
  writer->Text(spec.null_text);
  writer->Number<uint64_t>(spec.names.size());
  for (const std::string& name : spec.names) writer->Text(name);
  writer->Number<uint64_t>(spec.demonstrations.size());
  for (const Demonstration& demonstration : spec.demonstrations) {
    WriteDemonstration(demonstration, writer);
  }
  writer->Number<int32_t>(spec.num_shots);
  writer->Text(set.embedding_model);
  writer->Number<uint64_t>(set.embeddings.size());
  for (const std::vector<float>& embedding : set.embeddings) {
    writer->Number<uint64_t>(embedding.size());
    writer->Raw(embedding.data(), embedding.size() * sizeof(float));
  }
}

absl::string_view AsBytes(const Sha256Digest& digest) {
  return absl::string_view(reinterpret_cast<const char*>(digest.data()), digest.size());
}

}  // namespace

std::string SerializeClassSet(const StoredClassSet& set) {
  std::string bytes;
  bytes.reserve(ClassSetFileBytes(set));
  Writer writer(&bytes);
  WriteSet(set, &writer);
  const Sha256Digest digest = Sha256Of(bytes);
  absl::StrAppend(&bytes, AsBytes(digest));
  return bytes;
}

uint64_t ClassSetFileBytes(const StoredClassSet& set) {
  Writer writer(nullptr);
  WriteSet(set, &writer);
  return writer.num_bytes() + kDigestBytes;
}

absl::StatusOr<StoredClassSet> ParseClassSet(absl::string_view bytes,
                                             const ClassificationOptions& options) {
  Reader header(bytes);
  char magic[kMagic.size()];
  uint32_t version = 0;
  PREFIXD_RETURN_IF_ERROR(header.Number("magic", &magic));
  if (absl::string_view(magic, sizeof(magic)) != kMagic) {
    return absl::InvalidArgumentError("magic at byte 0: not a class set");
  }
  PREFIXD_RETURN_IF_ERROR(header.Number("version", &version));
  if (version != kVersion) {
    return absl::UnimplementedError(
        absl::StrCat("version at byte 8: ", version, ", this program reads ", kVersion));
  }
  constexpr size_t kBegin = kMagic.size() + sizeof(version);
  if (bytes.size() < kBegin + kDigestBytes) {
    return absl::InvalidArgumentError(absl::StrCat("digest: the file ends at byte ", bytes.size()));
  }
  const absl::string_view content = bytes.substr(0, bytes.size() - kDigestBytes);
  if (AsBytes(Sha256Of(content)) != bytes.substr(content.size())) {
    return absl::InvalidArgumentError(
        absl::StrCat("digest at byte ", content.size(), ": the file is cut off or damaged"));
  }
  StoredClassSet set;
  Reader reader(content);
  PREFIXD_RETURN_IF_ERROR(reader.Number("magic", &magic));
  PREFIXD_RETURN_IF_ERROR(reader.Number("version", &version));
  PREFIXD_RETURN_IF_ERROR(ReadSpec(options, &reader, &set));
  PREFIXD_RETURN_IF_ERROR(ReadEmbeddings(&reader, &set));
  PREFIXD_RETURN_IF_ERROR(reader.End());
  PREFIXD_RETURN_IF_ERROR(CheckStoredClassSet(set, options));
  return set;
}

uint64_t MaxClassSetFileBytes(const ClassificationOptions& options) {
  const uint64_t fixed = 4096;
  const uint64_t per_demonstration = 256 + sizeof(float) * kMaxEmbeddingDim;
  const uint64_t rest = fixed + kLeastText * Limit(options.max_names) +
                        per_demonstration * Limit(options.max_demonstrations);
  return CheckedAdd(options.max_set_bytes, rest).value_or(UINT64_MAX);
}

}  // namespace prefixd
