// The class sets of all tenants, in memory, and on disk where there is a store. A set is visible
// once it is on disk, and stays alive for who uses it when it is deleted. Thread-safe; files are
// written and removed without holding up who looks for a set.
#ifndef PREFIXD_ENGINE_CLASSIFY_CLASS_SETS_H_
#define PREFIXD_ENGINE_CLASSIFY_CLASS_SETS_H_

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/mutex.h"
#include "engine/classification.h"
#include "engine/classify/class_set_store.h"

namespace prefixd {

// A set. Immutable but for the count of its requests.
struct ClassSetEntry {
  StoredClassSet stored;
  uint64_t stored_bytes = 0;  // Of its file, or of the file that it would be.
  uint64_t serial = 0;        // Of this set alone as long as the process lives; from 1.
  mutable std::atomic<uint64_t> requests{0};

  std::string name() const;  // "classSets/ID".
};

class ClassSets {
 public:
  // With what `store` holds; null: nothing is kept on disk. Errors: those of ClassSetStore::Load.
  static absl::StatusOr<std::unique_ptr<ClassSets>> Create(const ClassificationOptions& options,
                                                           std::unique_ptr<ClassSetStore> store);

  // Holds a name (and a place among the tenant's sets) until Commit or Abandon; nobody else sees
  // it. Requires: IsClassSetId(id). Errors: ALREADY_EXISTS (CLASS_SET_EXISTS); RESOURCE_EXHAUSTED
  // (TENANT_QUOTA) with both numbers.
  absl::Status Reserve(absl::string_view tenant, absl::string_view id);
  // The set is on disk and visible when it returns. After an error its name is free again.
  // Requires: the name is held by the caller. Errors: those of CheckStoredClassSet; UNAVAILABLE if
  // it cannot be written (the log says why).
  absl::StatusOr<std::shared_ptr<const ClassSetEntry>> Commit(StoredClassSet set);
  void Abandon(absl::string_view tenant, absl::string_view id);

  // name: "classSets/ID". Errors: NOT_FOUND (CLASS_SET_NOT_FOUND), one text for absent and foreign
  // names. Use counts a request.
  absl::StatusOr<std::shared_ptr<const ClassSetEntry>> Use(absl::string_view tenant,
                                                           absl::string_view name) const;
  absl::StatusOr<std::shared_ptr<const ClassSetEntry>> Find(absl::string_view tenant,
                                                            absl::string_view name) const;
  // In order of name.
  std::vector<std::shared_ptr<const ClassSetEntry>> List(absl::string_view tenant) const;
  // Gone from disk and memory when it returns. Errors: as Find; UNAVAILABLE if the file cannot be
  // removed; the set stays then.
  absl::Status Delete(absl::string_view tenant, absl::string_view name);

  int32_t size() const;  // Visible sets of all tenants.

 private:
  using Key = std::pair<std::string, std::string>;  // Tenant, id.
  struct Slot {
    std::shared_ptr<const ClassSetEntry> entry;  // Null: the name is held for a set to come.
    bool deleting = false;  // Its file is being removed; it is visible until that is done.
  };

  ClassSets(const ClassificationOptions& options, std::unique_ptr<ClassSetStore> store);

  std::shared_ptr<const ClassSetEntry> MakeEntry(StoredClassSet set, uint64_t stored_bytes)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const ClassificationOptions options_;
  const std::unique_ptr<ClassSetStore> store_;  // May be null.
  mutable Mutex mutex_;
  std::map<Key, Slot> slots_ ABSL_GUARDED_BY(mutex_);
  uint64_t last_serial_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_CLASSIFY_CLASS_SETS_H_
