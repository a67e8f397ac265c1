#include "engine/prefix_registry.h"

#include <algorithm>
#include <random>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/error.h"
#include "engine/error_reasons.h"

namespace prefixd {
namespace {

constexpr char kNamePrefix[] = "prefixes/";

std::string DrawId() {
  std::random_device device;
  std::string id;
  for (int i = 0; i < 4; ++i) absl::StrAppendFormat(&id, "%08x", device());
  return id;
}

absl::Status NotFound(absl::string_view name) {
  return MakeError(absl::StatusCode::kNotFound, reason::kPrefixNotFound,
                   absl::StrCat("no prefix named ", name, " (it may have expired)"),
                   {{"prefix", std::string(name)}});
}

absl::Status TooMany(absl::string_view whose, int32_t limit) {
  return MakeError(
      absl::StatusCode::kResourceExhausted, reason::kTenantQuota,
      absl::StrCat(whose, " holds ", limit, " prefixes, the limit is ", limit, "; release one"),
      {{"limit", absl::StrCat(limit)}});
}

PrefixInfo InfoAt(const PrefixEntry& entry, absl::Time now) {
  PrefixInfo info = entry.info;
  info.age = now - entry.created;
  info.expires_in = std::max(entry.expires - now, absl::ZeroDuration());
  return info;
}

}  // namespace

absl::StatusOr<std::shared_ptr<PrefixEntry>> PrefixRegistry::Reserve(const PrefixSpec& spec,
                                                                     const Limits& limits) {
  auto entry = std::make_shared<PrefixEntry>();
  entry->tenant = spec.tenant;
  entry->cache_salt = spec.cache_salt;
  entry->input = spec.input;
  entry->name = absl::StrCat(kNamePrefix, spec.id.empty() ? DrawId() : spec.id);
  entry->info.ttl = spec.ttl;
  entry->expires = absl::InfiniteFuture();
  MutexLock lock(&mutex_);
  int32_t owned = 0;
  for (const auto& [key, other] : entries_) owned += key.first == spec.tenant ? 1 : 0;
  if (owned >= limits.per_tenant) return TooMany("the tenant", limits.per_tenant);
  if (static_cast<int32_t>(entries_.size()) >= limits.total) {
    return TooMany("the server", limits.total);
  }
  if (!entries_.emplace(Key(spec.tenant, entry->name), entry).second) {
    return MakeError(absl::StatusCode::kAlreadyExists, reason::kPrefixExists,
                     absl::StrCat("a prefix named ", entry->name, " exists"),
                     {{"prefix", entry->name}});
  }
  return entry;
}

bool PrefixRegistry::SetReady(PrefixEntry* entry, const PrefixInfo& info, absl::Time now) {
  MutexLock lock(&mutex_);
  const auto found = entries_.find(Key(entry->tenant, entry->name));
  if (found == entries_.end() || found->second.get() != entry) return false;
  const absl::Duration ttl = entry->info.ttl;
  entry->info = info;
  entry->info.name = entry->name;
  entry->info.ttl = ttl;
  entry->created = now;
  entry->expires = now + ttl;
  entry->ready = true;
  return true;
}

void PrefixRegistry::Remove(const PrefixEntry& entry) {
  MutexLock lock(&mutex_);
  const auto found = entries_.find(Key(entry.tenant, entry.name));
  if (found != entries_.end() && found->second.get() == &entry) entries_.erase(found);
}

std::shared_ptr<PrefixEntry> PrefixRegistry::Find(absl::string_view tenant,
                                                  absl::string_view name) const {
  const auto found = entries_.find(Key(std::string(tenant), std::string(name)));
  return found == entries_.end() || !found->second->ready ? nullptr : found->second;
}

absl::StatusOr<std::shared_ptr<PrefixEntry>> PrefixRegistry::Use(absl::string_view tenant,
                                                                 absl::string_view name) {
  MutexLock lock(&mutex_);
  std::shared_ptr<PrefixEntry> entry = Find(tenant, name);
  if (entry == nullptr) return NotFound(name);
  ++entry->info.requests;
  return entry;
}

absl::StatusOr<PrefixInfo> PrefixRegistry::Get(absl::string_view tenant, absl::string_view name,
                                               absl::Time now) const {
  MutexLock lock(&mutex_);
  const std::shared_ptr<PrefixEntry> entry = Find(tenant, name);
  if (entry == nullptr) return NotFound(name);
  return InfoAt(*entry, now);
}

std::vector<PrefixInfo> PrefixRegistry::List(absl::string_view tenant, absl::Time now) const {
  MutexLock lock(&mutex_);
  std::vector<PrefixInfo> list;
  for (const auto& [key, entry] : entries_) {
    if (key.first == tenant && entry->ready) list.push_back(InfoAt(*entry, now));
  }
  return list;
}

absl::StatusOr<PrefixInfo> PrefixRegistry::Touch(absl::string_view tenant, absl::string_view name,
                                                 std::optional<absl::Duration> ttl,
                                                 absl::Time now) {
  MutexLock lock(&mutex_);
  const std::shared_ptr<PrefixEntry> entry = Find(tenant, name);
  if (entry == nullptr) return NotFound(name);
  if (ttl) entry->info.ttl = *ttl;
  entry->expires = now + entry->info.ttl;
  return InfoAt(*entry, now);
}

absl::Status PrefixRegistry::Release(absl::string_view tenant, absl::string_view name) {
  MutexLock lock(&mutex_);
  if (Find(tenant, name) == nullptr) return NotFound(name);
  entries_.erase(Key(std::string(tenant), std::string(name)));
  return absl::OkStatus();
}

int PrefixRegistry::RemoveExpired(absl::Time now) {
  MutexLock lock(&mutex_);
  return static_cast<int>(std::erase_if(entries_, [now](const auto& item) {
    return item.second->ready && item.second->expires <= now;
  }));
}

absl::Time PrefixRegistry::next_expiry() const {
  MutexLock lock(&mutex_);
  absl::Time next = absl::InfiniteFuture();
  for (const auto& [key, entry] : entries_) next = std::min(next, entry->expires);
  return next;
}

bool PrefixRegistry::IsAlive(const PrefixEntry& entry) const {
  MutexLock lock(&mutex_);
  const auto found = entries_.find(Key(entry.tenant, entry.name));
  return found != entries_.end() && found->second.get() == &entry && entry.ready;
}

int32_t PrefixRegistry::size() const {
  MutexLock lock(&mutex_);
  return static_cast<int32_t>(entries_.size());
}

int32_t PrefixRegistry::size(absl::string_view tenant) const {
  MutexLock lock(&mutex_);
  return static_cast<int32_t>(
      std::count_if(entries_.begin(), entries_.end(),
                    [tenant](const auto& item) { return item.first.first == tenant; }));
}

}  // namespace prefixd
