#include "cache/content.h"

#include <array>
#include <cstring>

#include "base/check.h"
#include "base/planted_bug.h"
#include "cache/column.h"

namespace prefixd {
namespace {

// First bytes of what is hashed, so that no root is ever a column.
constexpr uint64_t kRootDomain = 0x31746f6f72786670;    // "pfxroot1".
constexpr uint64_t kColumnDomain = 0x316d6c6f63786670;  // "pfxcolm1".

// A column of the most images: domain, parent, ids, number of spans, spans.
constexpr size_t kSpanBytes = sizeof(ContentKey) + 3 * sizeof(uint32_t);
constexpr size_t kMaxColumnBytes =
    8 + sizeof(ContentKey) + kSlotsPerPage * sizeof(uint32_t) + 4 + kSlotsPerPage * kSpanBytes;

// Appends to a fixed buffer; integers little-endian.
class Bytes {
 public:
  void Add(uint64_t value, int num_bytes) {
    PREFIXD_DCHECK(size_ + num_bytes <= bytes_.size());
    for (int i = 0; i < num_bytes; ++i) bytes_[size_++] = static_cast<char>(value >> (8 * i));
  }
  void Add(const ContentKey& key) {
    PREFIXD_DCHECK(size_ + key.size() <= bytes_.size());
    std::memcpy(&bytes_[size_], key.data(), key.size());
    size_ += key.size();
  }
  absl::string_view view() const { return absl::string_view(bytes_.data(), size_); }

 private:
  std::array<char, kMaxColumnBytes> bytes_;
  size_t size_ = 0;
};

ContentKey KeyOf(const ContentKey& parent, const ColumnView& column) {
  Bytes bytes;
  bytes.Add(kColumnDomain, 8);
  bytes.Add(parent);
  for (int i = 0; i < kSlotsPerPage; ++i) bytes.Add(static_cast<uint32_t>(column.ids[i]), 4);
  bytes.Add(column.media.size(), 4);
  for (const MediaSpan& span : column.media) {
    bytes.Add(span.media_id);
    bytes.Add(static_cast<uint32_t>(span.first_row), 4);
    bytes.Add(span.num_rows, 4);
    bytes.Add(span.begin, 4);
  }
  return Sha256Of(bytes.view());
}

}  // namespace

ContentKey RootKey(const RootSpec& spec) {
  Sha256 hash;
  hash.Update(kRootDomain);
  const absl::string_view tenant = PREFIXD_PLANTED(kTenantNotInKey) ? "" : spec.tenant;
  const absl::string_view salt = PREFIXD_PLANTED(kSaltNotInKey) ? "" : spec.salt;
  for (const absl::string_view field :
       {tenant, salt, spec.model_digest, spec.preprocessing_version, spec.kv_dtype}) {
    hash.Update(uint64_t{field.size()}).Update(field);
  }
  return hash.Finish();
}

ContentKey ColumnKey(const ContentKey& parent, TokenView tokens, int32_t column) {
  return KeyOf(parent, ColumnReader(tokens).Read(column));
}

ContentKey CutKey(const ContentKey& key, int bits) {
  ContentKey cut = key;
  for (int bit = bits; bit < 256; bit = bit / 8 * 8 + 8) {
    cut[bit / 8] &= static_cast<uint8_t>((1 << (bit % 8)) - 1);
  }
  return cut;
}

std::vector<ContentKey> ColumnKeys(const ContentKey& root, TokenView tokens) {
  std::vector<ContentKey> keys;
  keys.reserve(tokens.ids.size() / kSlotsPerPage);
  ColumnReader reader(tokens);
  const ContentKey* parent = &root;
  for (size_t column = 0; column < tokens.ids.size() / kSlotsPerPage; ++column) {
    keys.push_back(KeyOf(*parent, reader.Read(static_cast<int32_t>(column))));
    parent = &keys.back();
  }
  return keys;
}

}  // namespace prefixd
