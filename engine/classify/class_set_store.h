// Class sets on disk: one file a set, DIRECTORY/class_sets/TENANT/ID.set, TENANT in hexadecimal
// ("-" for the single one). A file holds a version, the set (names and image bytes, never token
// ids), the embeddings of its demonstrations where there are some, and a SHA-256 over all that; it
// is written aside, synced, renamed, and the directory is synced, so that a set is there whole or
// not at all whenever the process dies. Files are hostile all the same: every length is checked
// before memory is taken.
//
// One process a directory: a lock file is held while the store lives. Thread-safe. Errors that
// every method has: UNAVAILABLE naming the path where the file system refuses.
#ifndef PREFIXD_ENGINE_CLASSIFY_CLASS_SET_STORE_H_
#define PREFIXD_ENGINE_CLASSIFY_CLASS_SET_STORE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "engine/classification.h"

namespace prefixd {

// What a file holds.
struct StoredClassSet {
  ClassSetSpec spec;
  absl::Time created;
  // Of the demonstrations' pictures, by demonstration, for choosing shots: [demonstrations][dim];
  // empty: there are none. Of use to the model with this digest only.
  std::string embedding_model;
  std::vector<std::vector<float>> embeddings;
};

// The file's bytes, and back. Errors: INVALID_ARGUMENT naming what is wrong and where: another
// version (UNIMPLEMENTED), a wrong digest, a length beyond the bytes or beyond `options`.
std::string SerializeClassSet(const StoredClassSet& set);
absl::StatusOr<StoredClassSet> ParseClassSet(absl::string_view bytes,
                                             const ClassificationOptions& options);
// The size of SerializeClassSet(set), without making it.
uint64_t ClassSetFileBytes(const StoredClassSet& set);
// No file of a set within `options` is larger.
uint64_t MaxClassSetFileBytes(const ClassificationOptions& options);

class ClassSetStore {
 public:
  // Makes the directories. Errors: FAILED_PRECONDITION naming the lock file if another process
  // holds it. Requires: options.state_dir is not empty.
  static absl::StatusOr<std::unique_ptr<ClassSetStore>> Open(const ClassificationOptions& options);
  ~ClassSetStore();

  // Every set that is whole, in order of tenant and id. What is not is left where it is and named
  // in a line of the log; remains of writes that did not end are removed.
  absl::StatusOr<std::vector<StoredClassSet>> Load();

  // On disk when it returns. An existing file is replaced. Returns the file's size. Errors:
  // INVALID_ARGUMENT for what ParseClassSet would refuse. After an error of the file system either
  // file may be there, whole.
  absl::StatusOr<uint64_t> Save(const StoredClassSet& set);
  // Gone from disk when it returns. OK if there was none. Requires: IsClassSetId(id).
  absl::Status Remove(absl::string_view tenant, absl::string_view id);

 private:
  ClassSetStore(const ClassificationOptions& options, std::string directory, int lock);

  std::string FolderOf(absl::string_view tenant) const;
  // Adds the sets of a tenant's folder to `sets`.
  absl::Status LoadFolder(const std::string& folder, std::vector<StoredClassSet>* sets)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status MakeFolder(const std::string& folder) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const ClassificationOptions options_;
  const std::string directory_;  // DIRECTORY/class_sets.
  const int lock_;               // Descriptor of the lock file; locked while it is open.
  Mutex mutex_;                  // Held while files are written: one write at a time.
  // Folders that are known to be on disk.
  absl::flat_hash_set<std::string> folders_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_CLASSIFY_CLASS_SET_STORE_H_
