// Which bearer token belongs to whom. Only digests are kept. Immutable once built; safe from any
// thread.
#ifndef PREFIXD_SERVER_TOKEN_TABLE_H_
#define PREFIXD_SERVER_TOKEN_TABLE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "base/sha256.h"

namespace prefixd {

inline constexpr size_t kMaxTokenBytes = 4096;
inline constexpr size_t kMaxTokens = 4096;  // Of all tenants and operators.

// Who is behind a token.
struct Principal {
  std::string tenant;        // Empty for operators.
  int32_t max_priority = 0;  // Of a tenant: higher priorities are lowered to it.
  bool is_operator = false;  // May use the admin listener, and only that.
};

class TokenTable {
 public:
  // Requires: `digest` is not in the table.
  void Add(const Sha256Digest& digest, Principal principal);
  bool Contains(const Sha256Digest& digest) const;

  // Returns whose token it is, or null. The time depends on the token's length and the size of the
  // table, not on what the digests have in common.
  const Principal* Find(absl::string_view token) const;

  bool has_operators() const { return has_operators_; }
  size_t size() const { return entries_.size(); }

 private:
  struct Entry {
    Sha256Digest digest;
    Principal principal;
  };
  // Index of the digest, or -1.
  int32_t IndexOf(const Sha256Digest& digest) const;

  std::vector<Entry> entries_;
  bool has_operators_ = false;
};

}  // namespace prefixd

#endif  // PREFIXD_SERVER_TOKEN_TABLE_H_
