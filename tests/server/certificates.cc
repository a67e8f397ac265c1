#include "tests/server/certificates.h"

#include <stdlib.h>
#include <sys/stat.h>

#include <atomic>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "base/check.h"

namespace prefixd::testing {
namespace {

std::string Drain(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  std::string text(data, static_cast<size_t>(size));
  BIO_free_all(bio);
  return text;
}

void AddExtension(X509* certificate, int id, const char* value) {
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, nullptr, id, value);
  PREFIXD_CHECK(extension != nullptr && X509_add_ext(certificate, extension, -1) == 1);
  X509_EXTENSION_free(extension);
}

}  // namespace

Identity Identity::Make(const Spec& spec, bool authority, const Identity* issuer) {
  static std::atomic<long> serial{1};
  Identity made;
  made.key_ = std::shared_ptr<EVP_PKEY>(EVP_EC_gen("P-256"), EVP_PKEY_free);
  made.certificate_ = std::shared_ptr<X509>(X509_new(), X509_free);
  X509* const x = made.certificate_.get();
  PREFIXD_CHECK(made.key_ != nullptr && X509_set_version(x, X509_VERSION_3) == 1);
  ASN1_INTEGER_set(X509_get_serialNumber(x), serial++);
  X509_gmtime_adj(X509_getm_notBefore(x), static_cast<long>(absl::ToInt64Seconds(spec.starts_in)));
  X509_gmtime_adj(X509_getm_notAfter(x), static_cast<long>(absl::ToInt64Seconds(spec.ends_in)));
  X509_NAME* const name = X509_get_subject_name(x);
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>(spec.name.c_str()), -1, -1, 0);
  X509_set_issuer_name(
      x, issuer == nullptr ? name : X509_get_subject_name(issuer->certificate_.get()));
  X509_set_pubkey(x, made.key_.get());
  AddExtension(x, NID_basic_constraints, authority ? "critical,CA:TRUE" : "critical,CA:FALSE");
  if (!authority) AddExtension(x, NID_subject_alt_name, "DNS:localhost,IP:127.0.0.1");
  PREFIXD_CHECK(X509_sign(x, (issuer == nullptr ? made : *issuer).key_.get(), EVP_sha256()) > 0);
  return made;
}

Identity Identity::Authority(const std::string& name) {
  return Make({.name = name}, /*authority=*/true, nullptr);
}

Identity Identity::Issue(const Spec& spec) const { return Make(spec, /*authority=*/false, this); }

std::string Identity::certificate_pem() const {
  BIO* bio = BIO_new(BIO_s_mem());
  PREFIXD_CHECK(PEM_write_bio_X509(bio, certificate_.get()) == 1);
  return Drain(bio);
}

std::string Identity::key_pem() const {
  BIO* bio = BIO_new(BIO_s_mem());
  PREFIXD_CHECK(PEM_write_bio_PrivateKey(bio, key_.get(), nullptr, nullptr, 0, nullptr, nullptr) ==
                1);
  return Drain(bio);
}

std::string Identity::encrypted_key_pem() const {
  BIO* bio = BIO_new(BIO_s_mem());
  char password[] = "password";
  PREFIXD_CHECK(PEM_write_bio_PrivateKey(bio, key_.get(), EVP_aes_256_cbc(), nullptr, 0, nullptr,
                                         password) == 1);
  return Drain(bio);
}

TempFiles::TempFiles() {
  char name[] = "/tmp/prefixd_test_XXXXXX";
  PREFIXD_CHECK(mkdtemp(name) != nullptr);
  directory_ = name;
}

TempFiles::~TempFiles() {
  std::error_code ignored;
  std::filesystem::remove_all(directory_, ignored);
}

std::string TempFiles::Write(const std::string& name, const std::string& text, mode_t mode) const {
  const std::string path = Path(name), fresh = path + ".new";
  std::ofstream(fresh) << text;
  PREFIXD_CHECK(chmod(fresh.c_str(), mode) == 0);
  PREFIXD_CHECK(std::rename(fresh.c_str(), path.c_str()) == 0);
  return path;
}

}  // namespace prefixd::testing
