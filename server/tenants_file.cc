#include "server/tenants_file.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "server/request_limits.h"
#include "server/tenant_retention.h"
#include "server/yaml_fields.h"
#include "server/yaml_tree.h"

namespace prefixd {
namespace {

using Kind = YamlNode::Kind;

constexpr char kTokensKey[] = "token_sha256";

// Page floors are written in decimal; their sum may miss 1 by this much.
constexpr double kFloorTolerance = 1e-9;

constexpr char kRetentionKey[] = "retention";

// A number of a tenant: where it goes and its range. Exactly one field is set.
struct NumberKey {
  absl::string_view key;
  double TenantOptions::*real;
  int32_t TenantOptions::*integer;
  double low, high;
  bool low_allowed;  // Whether `low` itself is.
};
constexpr NumberKey kNumberKeys[] = {
    {"weight", &TenantOptions::weight, nullptr, 0, 1000, false},
    {"page_share", &TenantOptions::page_share, nullptr, 0, 1, false},
    {"page_floor", &TenantOptions::page_floor, nullptr, 0, 1, true},
    {"max_running", nullptr, &TenantOptions::max_running, 1, 4096, true},
    {"max_queue", nullptr, &TenantOptions::max_queue, 1, 65536, true},
    {"max_prefixes", nullptr, &TenantOptions::max_prefixes, 0, 1'000'000, true},
    {"max_priority", nullptr, &TenantOptions::max_priority, -kMaxPriority, kMaxPriority, true},
};

double NumberOf(const NumberKey& spec, const TenantOptions& tenant) {
  return spec.real != nullptr ? tenant.*spec.real : tenant.*spec.integer;
}

class Reader {
 public:
  explicit Reader(absl::string_view name) : name_(name), tokens_(std::make_shared<TokenTable>()) {}

  absl::StatusOr<TenantsFile> Read(const YamlNode& root);

 private:
  absl::Status Fail(int line, absl::string_view why) const { return YamlError(name_, line, why); }
  absl::Status ReadTenant(const YamlNode& node);
  absl::Status ReadName(const YamlNode& node, TenantOptions* tenant) const;
  absl::Status ReadNumber(const NumberKey& spec, const YamlNode& node, TenantOptions* tenant) const;
  absl::Status ReadTokens(const YamlNode& node, const Principal& principal);
  absl::Status ReadToken(const YamlNode& node, const Principal& principal);

  const absl::string_view name_;  // Outlives the reader.
  std::vector<TenantOptions> tenants_;
  const std::shared_ptr<TokenTable> tokens_;
};

absl::StatusOr<TenantsFile> Reader::Read(const YamlNode& root) {
  if (root.kind == Kind::kNull) {
    return absl::InvalidArgumentError(
        absl::StrCat(name_, ": no tenant; expected a list `tenants`"));
  }
  PREFIXD_RETURN_IF_ERROR(CheckYamlKeys(name_, root, "the file", {"tenants", "admin"}));
  const YamlNode* list = FindYamlChild(root, "tenants");
  if (list == nullptr || list->kind != Kind::kList || list->children.empty()) {
    return Fail(list == nullptr ? root.line : list->line, "no tenant; expected a list `tenants`");
  }
  if (list->children.size() > kMaxTenants) {
    return Fail(list->line,
                absl::StrCat(list->children.size(), " tenants, the limit is ", kMaxTenants));
  }
  for (const YamlNode& node : list->children) PREFIXD_RETURN_IF_ERROR(ReadTenant(node));
  if (const YamlNode* admin = FindYamlChild(root, "admin"); admin != nullptr) {
    PREFIXD_RETURN_IF_ERROR(CheckYamlKeys(name_, *admin, "admin", {kTokensKey}));
    const YamlNode* tokens = FindYamlChild(*admin, kTokensKey);
    if (tokens == nullptr) return Fail(admin->line, "admin: `token_sha256` is missing");
    PREFIXD_RETURN_IF_ERROR(ReadTokens(*tokens, {.is_operator = true}));
  }
  double floors = 0;
  for (const TenantOptions& tenant : tenants_) floors += tenant.page_floor;
  if (floors > 1 + kFloorTolerance) {
    return absl::InvalidArgumentError(absl::StrCat(
        name_, ": the page_floor of all tenants add up to ", floors,
        ", the limit is 1 (a tenant without page_floor has ", TenantOptions().page_floor, ")"));
  }
  return TenantsFile{.tenants = std::move(tenants_), .tokens = tokens_};
}

absl::Status Reader::ReadTenant(const YamlNode& node) {
  std::vector<std::string> known = {"name", kTokensKey, kRetentionKey};
  for (const NumberKey& spec : kNumberKeys) known.emplace_back(spec.key);
  PREFIXD_RETURN_IF_ERROR(CheckYamlKeys(name_, node, "tenant", known));
  TenantOptions tenant;
  const YamlNode* name = FindYamlChild(node, "name");
  if (name == nullptr) return Fail(node.line, "tenant: `name` is missing");
  PREFIXD_RETURN_IF_ERROR(ReadName(*name, &tenant));
  for (const NumberKey& spec : kNumberKeys) {
    const YamlNode* value = FindYamlChild(node, spec.key);
    if (value != nullptr) PREFIXD_RETURN_IF_ERROR(ReadNumber(spec, *value, &tenant));
  }
  if (const YamlNode* retention = FindYamlChild(node, kRetentionKey); retention != nullptr) {
    PREFIXD_ASSIGN_OR_RETURN(tenant.retention, ReadTenantRetention(name_, *retention));
  }
  if (FindYamlChild(node, "page_floor") == nullptr) {
    tenant.page_floor = std::min(tenant.page_floor, tenant.page_share);
  }
  if (tenant.page_floor > tenant.page_share) {
    return Fail(node.line,
                absl::StrCat("tenant `", tenant.name, "`: page_floor is ", tenant.page_floor,
                             ", more than page_share, ", tenant.page_share));
  }
  const YamlNode* tokens = FindYamlChild(node, kTokensKey);
  if (tokens == nullptr) {
    return Fail(node.line, absl::StrCat("tenant `", tenant.name, "`: `token_sha256` is missing"));
  }
  PREFIXD_RETURN_IF_ERROR(
      ReadTokens(*tokens, {.tenant = tenant.name, .max_priority = tenant.max_priority}));
  tenants_.push_back(std::move(tenant));
  return absl::OkStatus();
}

absl::Status Reader::ReadName(const YamlNode& node, TenantOptions* tenant) const {
  const auto allowed = [](char c) {
    return absl::ascii_isalnum(c) || c == '.' || c == '_' || c == '-';
  };
  const std::string& name = node.scalar;
  if (node.kind != Kind::kScalar || name.empty() || name.size() > kMaxTenantNameBytes ||
      !std::all_of(name.begin(), name.end(), allowed)) {
    return Fail(node.line, "a tenant's name has 1..64 characters of [A-Za-z0-9._-]");
  }
  for (const TenantOptions& other : tenants_) {
    if (other.name == name) {
      return Fail(node.line, absl::StrCat("tenant `", name, "` is in the file already"));
    }
  }
  tenant->name = name;
  return absl::OkStatus();
}

absl::Status Reader::ReadNumber(const NumberKey& spec, const YamlNode& node,
                                TenantOptions* tenant) const {
  PREFIXD_ASSIGN_OR_RETURN(const double value,
                           ReadYamlNumber(name_, node,
                                          {.key = spec.key,
                                           .low = spec.low,
                                           .high = spec.high,
                                           .low_allowed = spec.low_allowed,
                                           .integer = spec.integer != nullptr}));
  if (spec.real != nullptr) {
    tenant->*spec.real = value;
  } else {
    tenant->*spec.integer = static_cast<int32_t>(value);
  }
  return absl::OkStatus();
}

absl::Status Reader::ReadTokens(const YamlNode& node, const Principal& principal) {
  if (node.kind == Kind::kScalar) return ReadToken(node, principal);
  if (node.kind != Kind::kList || node.children.empty()) {
    return Fail(node.line, "token_sha256: expected one digest or a list of them");
  }
  for (const YamlNode& child : node.children) {
    PREFIXD_RETURN_IF_ERROR(ReadToken(child, principal));
  }
  return absl::OkStatus();
}

absl::Status Reader::ReadToken(const YamlNode& node, const Principal& principal) {
  // The text is not shown: somebody may have put the token itself here.
  const bool hex = node.kind == Kind::kScalar && node.scalar.size() == 64 &&
                   std::all_of(node.scalar.begin(), node.scalar.end(), absl::ascii_isxdigit);
  if (!hex) {
    return Fail(node.line, "token_sha256: expected 64 hexadecimal digits, the SHA-256 of a token");
  }
  Sha256Digest digest;
  const std::string bytes = absl::HexStringToBytes(node.scalar);
  std::copy(bytes.begin(), bytes.end(), digest.begin());
  if (tokens_->Contains(digest)) return Fail(node.line, "token_sha256: is in the file already");
  if (digest == Sha256Of("")) return Fail(node.line, "token_sha256: is that of an empty token");
  if (tokens_->size() >= kMaxTokens) {
    return Fail(node.line, absl::StrCat("more than ", kMaxTokens, " tokens"));
  }
  tokens_->Add(digest, principal);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<TenantsFile> ParseTenantsFile(absl::string_view name, const std::string& text) {
  PREFIXD_ASSIGN_OR_RETURN(const YamlNode root, ParseYamlTree(name, text));
  return Reader(name).Read(root);
}

absl::StatusOr<std::shared_ptr<const TokenTable>> ReloadTokens(
    const std::string& path, const std::vector<TenantOptions>& running, bool has_operators) {
  PREFIXD_ASSIGN_OR_RETURN(const TenantsFile file, ReadTenantsFile(path));
  for (const TenantOptions& tenant : file.tenants) {
    const auto same_name = [&](const TenantOptions& other) { return other.name == tenant.name; };
    const auto found = std::find_if(running.begin(), running.end(), same_name);
    if (found == running.end()) {
      return absl::FailedPreconditionError(absl::StrCat(
          path, ": tenant `", tenant.name, "` is new; restart the server to serve it"));
    }
    const std::string retention = RetentionDifference(tenant.retention, found->retention);
    if (!retention.empty()) {
      return absl::FailedPreconditionError(absl::StrCat(path, ": tenant `", tenant.name,
                                                        "`: retention: ", retention,
                                                        "; restart the server to change it"));
    }
    for (const NumberKey& spec : kNumberKeys) {
      const double now = NumberOf(spec, tenant), before = NumberOf(spec, *found);
      if (now == before) continue;
      return absl::FailedPreconditionError(
          absl::StrCat(path, ": tenant `", tenant.name, "`: ", spec.key, " is ", now, ", was ",
                       before, "; restart the server to change it"));
    }
  }
  if (file.tokens->has_operators() != has_operators) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, ": operators' tokens ", has_operators ? "are gone" : "are new",
                     "; restart the server to change who may use the admin listener"));
  }
  return file.tokens;
}

absl::StatusOr<TenantsFile> ReadTenantsFile(const std::string& path) {
  PREFIXD_ASSIGN_OR_RETURN(const std::string text, ReadSecretFile(path, kMaxTenantsFileBytes));
  return ParseTenantsFile(path, text);
}

}  // namespace prefixd
