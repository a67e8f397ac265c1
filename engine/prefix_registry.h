// The pinned prefixes by tenant and name: what they consist of and when they expire. Their pages
// are pinned by the step loop, for as long as their entry is alive here. Thread-safe.
#ifndef PREFIXD_ENGINE_PREFIX_REGISTRY_H_
#define PREFIXD_ENGINE_PREFIX_REGISTRY_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "engine/engine.h"
#include "engine/prompt/image_resolver.h"

namespace prefixd {

// A prefix. What comes before `info` is the preparing thread's until it is ready, and constant from
// then on; the rest is the registry's.
struct PrefixEntry {
  std::string tenant;
  std::string name;  // "prefixes/ID".
  std::string cache_salt;
  Input input;                  // Images by digest only.
  std::vector<KeptImage> kept;  // Those images.

  PrefixInfo info;
  absl::Time created, expires;
  bool ready = false;  // Its pages are computed and pinned.
};

class PrefixRegistry {
 public:
  struct Limits {
    int32_t total = 0;       // Prefixes of all tenants.
    int32_t per_tenant = 0;  // Of the tenant at hand.
  };

  // Adds an entry that is not ready: it holds its name. An empty id is drawn.
  // Errors: ALREADY_EXISTS (PREFIX_EXISTS); RESOURCE_EXHAUSTED (TENANT_QUOTA).
  absl::StatusOr<std::shared_ptr<PrefixEntry>> Reserve(const PrefixSpec& spec,
                                                       const Limits& limits);
  // Its pages are pinned from now on; its time to live begins. Returns false if it was removed
  // meanwhile.
  bool SetReady(PrefixEntry* entry, const PrefixInfo& info, absl::Time now);
  void Remove(const PrefixEntry& entry);

  // Of ready entries. Errors: NOT_FOUND (PREFIX_NOT_FOUND), one text for absent and foreign names.
  absl::StatusOr<std::shared_ptr<PrefixEntry>> Use(absl::string_view tenant,
                                                   absl::string_view name);
  absl::StatusOr<PrefixInfo> Get(absl::string_view tenant, absl::string_view name,
                                 absl::Time now) const;
  std::vector<PrefixInfo> List(absl::string_view tenant, absl::Time now) const;
  absl::StatusOr<PrefixInfo> Touch(absl::string_view tenant, absl::string_view name,
                                   std::optional<absl::Duration> ttl, absl::Time now);
  absl::Status Release(absl::string_view tenant, absl::string_view name);

  // Removes what expired by `now`. Returns how many.
  int RemoveExpired(absl::Time now);
  // When the next one expires; infinite future if none.
  absl::Time next_expiry() const;
  // Whether the entry is still there and ready.
  bool IsAlive(const PrefixEntry& entry) const;
  int32_t size() const;
  int32_t size(absl::string_view tenant) const;

 private:
  using Key = std::pair<std::string, std::string>;  // Tenant, name.

  std::shared_ptr<PrefixEntry> Find(absl::string_view tenant, absl::string_view name) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable Mutex mutex_;
  std::map<Key, std::shared_ptr<PrefixEntry>> entries_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_PREFIX_REGISTRY_H_
