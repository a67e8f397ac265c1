#include "server/tls_files.h"

#include <ctime>
#include <memory>
#include <vector>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status_macros.h"

namespace prefixd {
namespace {

template <auto kFree>
struct Free {
  template <typename T>
  void operator()(T* p) const {
    kFree(p);
  }
};
using Bio = std::unique_ptr<BIO, Free<BIO_free_all>>;
using Certificate = std::unique_ptr<X509, Free<X509_free>>;
using Key = std::unique_ptr<EVP_PKEY, Free<EVP_PKEY_free>>;

absl::Status Bad(const std::string& path, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat(path, ": ", why));
}

Bio Memory(const std::string& text) {
  return Bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

absl::StatusOr<std::vector<Certificate>> ParseCertificates(const std::string& path,
                                                           const std::string& text) {
  const Bio bio = Memory(text);
  std::vector<Certificate> certificates;
  while (Certificate one{PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)}) {
    certificates.push_back(std::move(one));
  }
  // The end of the file is an error of its own; any other is one of ours.
  const bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  ERR_clear_error();
  if (certificates.empty()) return Bad(path, "has no certificate in PEM form");
  if (!at_end) {
    return Bad(path, absl::StrCat("certificate ", certificates.size() + 1, " is damaged"));
  }
  return certificates;
}

absl::StatusOr<Key> ParseKey(const std::string& path, const std::string& text) {
  if (absl::StrContains(text, "ENCRYPTED")) {
    return Bad(path, "the key is encrypted; it must be readable without a password");
  }
  const Bio bio = Memory(text);
  Key key(PEM_read_bio_PrivateKey(
      bio.get(), nullptr, [](char*, int, int, void*) { return 0; }, nullptr));
  ERR_clear_error();
  if (key == nullptr) return Bad(path, "has no private key in PEM form");
  return key;
}

absl::StatusOr<absl::Time> ToTime(const std::string& path, const ASN1_TIME* time) {
  std::tm civil{};
  if (ASN1_TIME_to_tm(time, &civil) != 1) return Bad(path, "has a damaged date");
  return absl::FromTM(civil, absl::UTCTimeZone());
}

// Returns when the certificate ends.
absl::StatusOr<absl::Time> CheckDates(const std::string& path, const X509& certificate,
                                      absl::Time now) {
  PREFIXD_ASSIGN_OR_RETURN(const absl::Time begin, ToTime(path, X509_get0_notBefore(&certificate)));
  PREFIXD_ASSIGN_OR_RETURN(const absl::Time end, ToTime(path, X509_get0_notAfter(&certificate)));
  const auto format = [](absl::Time time) {
    return absl::FormatTime(absl::RFC3339_sec, time, absl::UTCTimeZone());
  };
  if (now < begin) {
    return Bad(path, absl::StrCat("not valid before ", format(begin), ", now is ", format(now)));
  }
  if (now >= end) {
    return Bad(path, absl::StrCat("expired at ", format(end), ", now is ", format(now)));
  }
  return end;
}

}  // namespace

absl::StatusOr<TlsMaterial> LoadTls(const TlsPaths& paths, absl::Time now) {
  TlsMaterial material;
  PREFIXD_ASSIGN_OR_RETURN(material.cert, ReadFile(paths.cert, kMaxPemBytes));
  PREFIXD_ASSIGN_OR_RETURN(material.key, ReadSecretFile(paths.key, kMaxPemBytes));
  PREFIXD_ASSIGN_OR_RETURN(const std::vector<Certificate> chain,
                           ParseCertificates(paths.cert, material.cert));
  PREFIXD_ASSIGN_OR_RETURN(const Key key, ParseKey(paths.key, material.key));
  PREFIXD_ASSIGN_OR_RETURN(material.expires, CheckDates(paths.cert, *chain.front(), now));
  const bool matches = X509_check_private_key(chain.front().get(), key.get()) == 1;
  ERR_clear_error();
  if (!matches) return Bad(paths.key, absl::StrCat("is not the key of ", paths.cert));
  if (!paths.client_ca.empty()) {
    PREFIXD_ASSIGN_OR_RETURN(material.client_ca, ReadFile(paths.client_ca, kMaxPemBytes));
    PREFIXD_RETURN_IF_ERROR(ParseCertificates(paths.client_ca, material.client_ca).status());
  }
  return material;
}

}  // namespace prefixd
