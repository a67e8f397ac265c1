#include "server/token_table.h"

#include <utility>

#include <openssl/crypto.h>

#include "base/check.h"

namespace prefixd {

void TokenTable::Add(const Sha256Digest& digest, Principal principal) {
  PREFIXD_CHECK(!Contains(digest));
  has_operators_ = has_operators_ || principal.is_operator;
  entries_.push_back({digest, std::move(principal)});
}

bool TokenTable::Contains(const Sha256Digest& digest) const { return IndexOf(digest) >= 0; }

const Principal* TokenTable::Find(absl::string_view token) const {
  const int32_t index = IndexOf(Sha256Of(token));
  return index < 0 ? nullptr : &entries_[static_cast<size_t>(index)].principal;
}

int32_t TokenTable::IndexOf(const Sha256Digest& digest) const {
  // Every entry is compared in full, whether or not an earlier one was the right one.
  int32_t found = -1;
  for (size_t i = 0; i < entries_.size(); ++i) {
    const int differs = CRYPTO_memcmp(entries_[i].digest.data(), digest.data(), digest.size());
    found = differs == 0 ? static_cast<int32_t>(i) : found;
  }
  return found;
}

}  // namespace prefixd
