// Certificates made on the spot, and files to hold them.
#ifndef PREFIXD_TESTS_SERVER_CERTIFICATES_H_
#define PREFIXD_TESTS_SERVER_CERTIFICATES_H_

#include <sys/types.h>

#include <memory>
#include <string>

#include "absl/time/time.h"

struct evp_pkey_st;
struct x509_st;

namespace prefixd::testing {

// An authority, or what one issued. P-256 keys.
class Identity {
 public:
  struct Spec {
    std::string name = "localhost";  // Also valid for 127.0.0.1.
    absl::Duration starts_in = -absl::Hours(1);
    absl::Duration ends_in = absl::Hours(1000);
  };
  static Identity Authority(const std::string& name);
  Identity Issue(const Spec& spec) const;

  std::string certificate_pem() const;
  std::string key_pem() const;
  std::string encrypted_key_pem() const;

 private:
  std::shared_ptr<evp_pkey_st> key_;  // Shared: copies of an identity are the same.
  std::shared_ptr<x509_st> certificate_;

  static Identity Make(const Spec& spec, bool authority, const Identity* issuer);
};

// A directory for one test, gone with what Write put there.
class TempFiles {
 public:
  TempFiles();
  ~TempFiles();
  std::string Path(const std::string& name) const { return directory_ + "/" + name; }
  // Replaces the file in one step. Returns its path.
  std::string Write(const std::string& name, const std::string& text, mode_t mode = 0600) const;

 private:
  std::string directory_;
};

}  // namespace prefixd::testing

#endif  // PREFIXD_TESTS_SERVER_CERTIFICATES_H_
