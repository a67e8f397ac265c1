#include "base/sha256.h"

#include <openssl/evp.h>

#include "absl/strings/escaping.h"
#include "base/check.h"

namespace prefixd {

struct Sha256::Context {
  EVP_MD_CTX* evp = EVP_MD_CTX_new();
  ~Context() { EVP_MD_CTX_free(evp); }
};

Sha256::Sha256() : context_(std::make_unique<Context>()) {
  PREFIXD_CHECK(context_->evp != nullptr);
  PREFIXD_CHECK(EVP_DigestInit_ex(context_->evp, EVP_sha256(), nullptr) == 1);
}

Sha256::~Sha256() = default;

Sha256& Sha256::Update(absl::string_view bytes) {
  PREFIXD_CHECK(EVP_DigestUpdate(context_->evp, bytes.data(), bytes.size()) == 1);
  return *this;
}

Sha256& Sha256::Update(absl::Span<const uint8_t> bytes) {
  return Update(absl::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
}

Sha256& Sha256::Update(uint64_t value) {
  uint8_t bytes[8];
  for (int i = 0; i < 8; ++i) bytes[i] = static_cast<uint8_t>(value >> (8 * i));
  return Update(absl::MakeConstSpan(bytes));
}

Sha256Digest Sha256::Finish() {
  Sha256Digest digest;
  unsigned int size = 0;
  PREFIXD_CHECK(EVP_DigestFinal_ex(context_->evp, digest.data(), &size) == 1);
  PREFIXD_CHECK(size == digest.size());
  return digest;
}

namespace {

// A context whose algorithm was looked up once: in OpenSSL 3 that takes longer than a short hash.
struct ReusedContext {
  EVP_MD* algorithm = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  EVP_MD_CTX* evp = EVP_MD_CTX_new();

  ReusedContext() {
    PREFIXD_CHECK(algorithm != nullptr && evp != nullptr);
    PREFIXD_CHECK(EVP_DigestInit_ex2(evp, algorithm, nullptr) == 1);
  }
  ~ReusedContext() {
    EVP_MD_CTX_free(evp);
    EVP_MD_free(algorithm);
  }
};

}  // namespace

Sha256Digest Sha256Of(absl::string_view bytes) {
  thread_local ReusedContext context;
  Sha256Digest digest;
  unsigned int size = 0;
  PREFIXD_CHECK(EVP_DigestInit_ex2(context.evp, nullptr, nullptr) == 1);
  PREFIXD_CHECK(EVP_DigestUpdate(context.evp, bytes.data(), bytes.size()) == 1);
  PREFIXD_CHECK(EVP_DigestFinal_ex(context.evp, digest.data(), &size) == 1);
  PREFIXD_CHECK(size == digest.size());
  return digest;
}

std::string ToHex(const Sha256Digest& digest) {
  return absl::BytesToHexString(
      absl::string_view(reinterpret_cast<const char*>(digest.data()), digest.size()));
}

}  // namespace prefixd
