#include "engine/classify/class_sets.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/check.h"
#include "base/error.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "engine/classify/check_class_set.h"
#include "engine/error_reasons.h"

namespace prefixd {
namespace {

absl::Status NotFound(absl::string_view name) {
  return MakeError(absl::StatusCode::kNotFound, reason::kClassSetNotFound,
                   absl::StrCat("no class set named ", name), {{"class_set", std::string(name)}});
}

// The error of a file, which is the operator's: the caller only learns that nothing was done.
absl::Status DiskError(absl::string_view what, const absl::Status& status) {
  PREFIXD_LOG(kError, "class_set=", what, " error=", status.ToString());
  return MakeError(absl::StatusCode::kUnavailable, reason::kEngineFailed,
                   absl::StrCat("the class set could not be ", what, " in the state directory"));
}

}  // namespace

std::string ClassSetEntry::name() const {
  return absl::StrCat(kClassSetCollection, stored.spec.id);
}

absl::StatusOr<std::unique_ptr<ClassSets>> ClassSets::Create(const ClassificationOptions& options,
                                                             std::unique_ptr<ClassSetStore> store) {
  std::vector<StoredClassSet> stored;
  if (store != nullptr) {
    PREFIXD_ASSIGN_OR_RETURN(stored, store->Load());
  }
  std::unique_ptr<ClassSets> sets(new ClassSets(options, std::move(store)));
  MutexLock lock(&sets->mutex_);
  for (StoredClassSet& set : stored) {
    const uint64_t stored_bytes = ClassSetFileBytes(set);
    const Key key(set.spec.tenant, set.spec.id);
    sets->slots_[key].entry = sets->MakeEntry(std::move(set), stored_bytes);
  }
  return sets;
}

ClassSets::ClassSets(const ClassificationOptions& options, std::unique_ptr<ClassSetStore> store)
    : options_(options), store_(std::move(store)) {}

std::shared_ptr<const ClassSetEntry> ClassSets::MakeEntry(StoredClassSet set,
                                                          uint64_t stored_bytes) {
  auto entry = std::make_shared<ClassSetEntry>();
  entry->stored = std::move(set);
  entry->stored_bytes = stored_bytes;
  entry->serial = ++last_serial_;
  return entry;
}

absl::Status ClassSets::Reserve(absl::string_view tenant, absl::string_view id) {
  PREFIXD_CHECK(IsClassSetId(id));
  const Key key{std::string(tenant), std::string(id)};
  MutexLock lock(&mutex_);
  if (slots_.contains(key)) {
    const std::string name = absl::StrCat(kClassSetCollection, id);
    return MakeError(absl::StatusCode::kAlreadyExists, reason::kClassSetExists,
                     absl::StrCat("a class set named ", name, " exists"), {{"class_set", name}});
  }
  int32_t owned = 0;
  for (auto slot = slots_.lower_bound({key.first, ""});
       slot != slots_.end() && slot->first.first == key.first; ++slot) {
    ++owned;
  }
  if (owned >= options_.max_sets) {
    return MakeError(absl::StatusCode::kResourceExhausted, reason::kTenantQuota,
                     absl::StrCat("the tenant holds ", owned, " class sets, the limit is ",
                                  options_.max_sets, "; delete one"),
                     {{"value", absl::StrCat(owned)}, {"limit", absl::StrCat(options_.max_sets)}});
  }
  slots_.emplace(key, Slot{});
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<const ClassSetEntry>> ClassSets::Commit(StoredClassSet set) {
  const Key key(set.spec.tenant, set.spec.id);
  absl::StatusOr<uint64_t> stored_bytes = ClassSetFileBytes(set);
  if (const absl::Status status = CheckStoredClassSet(set, options_); !status.ok()) {
    stored_bytes = status;
  } else if (store_ != nullptr) {
    stored_bytes = store_->Save(set);
    if (!stored_bytes.ok()) {
      stored_bytes = DiskError("written", stored_bytes.status());
      // It may be there although it is not known to be on disk.
      store_->Remove(key.first, key.second).IgnoreError();
    }
  }
  MutexLock lock(&mutex_);
  const auto slot = slots_.find(key);
  PREFIXD_CHECK(slot != slots_.end() && slot->second.entry == nullptr);
  if (!stored_bytes.ok()) {
    slots_.erase(slot);
    return stored_bytes.status();
  }
  slot->second.entry = MakeEntry(std::move(set), *stored_bytes);
  return slot->second.entry;
}

void ClassSets::Abandon(absl::string_view tenant, absl::string_view id) {
  MutexLock lock(&mutex_);
  const auto slot = slots_.find({std::string(tenant), std::string(id)});
  PREFIXD_CHECK(slot != slots_.end() && slot->second.entry == nullptr);
  slots_.erase(slot);
}

absl::StatusOr<std::shared_ptr<const ClassSetEntry>> ClassSets::Find(absl::string_view tenant,
                                                                     absl::string_view name) const {
  absl::string_view id = name;
  if (!absl::ConsumePrefix(&id, kClassSetCollection)) return NotFound(name);
  MutexLock lock(&mutex_);
  const auto slot = slots_.find({std::string(tenant), std::string(id)});
  if (slot == slots_.end() || slot->second.entry == nullptr) return NotFound(name);
  return slot->second.entry;
}

absl::StatusOr<std::shared_ptr<const ClassSetEntry>> ClassSets::Use(absl::string_view tenant,
                                                                    absl::string_view name) const {
  PREFIXD_ASSIGN_OR_RETURN(std::shared_ptr<const ClassSetEntry> entry, Find(tenant, name));
  entry->requests.fetch_add(1, std::memory_order_relaxed);
  return entry;
}

std::vector<std::shared_ptr<const ClassSetEntry>> ClassSets::List(absl::string_view tenant) const {
  std::vector<std::shared_ptr<const ClassSetEntry>> list;
  MutexLock lock(&mutex_);
  for (auto slot = slots_.lower_bound({std::string(tenant), ""});
       slot != slots_.end() && slot->first.first == tenant; ++slot) {
    if (slot->second.entry != nullptr) list.push_back(slot->second.entry);
  }
  return list;
}

absl::Status ClassSets::Delete(absl::string_view tenant, absl::string_view name) {
  absl::string_view id = name;
  if (!absl::ConsumePrefix(&id, kClassSetCollection)) return NotFound(name);
  const Key key{std::string(tenant), std::string(id)};
  std::shared_ptr<const ClassSetEntry> entry;  // Given back without the lock: it may be large.
  {
    MutexLock lock(&mutex_);
    // Who comes second learns how the first one ended.
    mutex_.Await([this, &key]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      const auto slot = slots_.find(key);
      return slot == slots_.end() || !slot->second.deleting;
    });
    const auto slot = slots_.find(key);
    if (slot == slots_.end() || slot->second.entry == nullptr) return NotFound(name);
    slot->second.deleting = true;
    entry = slot->second.entry;
  }
  const absl::Status removed = store_ == nullptr ? absl::OkStatus() : store_->Remove(tenant, id);
  {
    MutexLock lock(&mutex_);
    const auto slot = slots_.find(key);
    slot->second.deleting = false;
    if (removed.ok()) slots_.erase(slot);
  }
  return removed.ok() ? absl::OkStatus() : DiskError("removed", removed);
}

int32_t ClassSets::size() const {
  MutexLock lock(&mutex_);
  return static_cast<int32_t>(std::count_if(
      slots_.begin(), slots_.end(), [](const auto& slot) { return slot.second.entry != nullptr; }));
}

}  // namespace prefixd
