#include "engine/classify/class_set_store.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <tuple>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "base/check.h"
#include "base/file.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "engine/classify/check_class_set.h"

namespace prefixd {
namespace {

namespace fs = std::filesystem;

constexpr char kExtension[] = ".set";

// UNAVAILABLE: nothing is wrong with what is asked for.
absl::Status PathError(absl::string_view what, const std::string& path, int error) {
  return absl::UnavailableError(absl::StrCat(path, ": ", what, ": ", std::strerror(error)));
}

// As PathError, of a status that names its path.
absl::Status DiskError(const absl::Status& status) {
  return status.ok() ? status : absl::UnavailableError(status.message());
}

std::string NameOfFolder(absl::string_view tenant) {
  return tenant.empty() ? "-" : absl::BytesToHexString(tenant);
}

// Makes a directory for this user alone, and puts its name on disk. There is one already: OK.
absl::Status MakeDirectory(const std::string& path) {
  if (::mkdir(path.c_str(), 0700) == 0) {
    const std::string parent = fs::path(path).parent_path().string();
    return DiskError(SyncDirectory(parent.empty() ? "." : parent));
  }
  if (errno != EEXIST) return PathError("cannot make the directory", path, errno);
  struct stat info;
  if (::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode)) return absl::OkStatus();
  return PathError("is in the way of a directory", path, ENOTDIR);
}

absl::Status MakeDirectories(const std::string& path) {
  std::string prefix;
  for (const fs::path& part : fs::path(path)) {
    prefix = (fs::path(prefix) / part).string();
    if (part != "/" && !part.empty()) PREFIXD_RETURN_IF_ERROR(MakeDirectory(prefix));
  }
  return absl::OkStatus();
}

// Names in a directory, in order; "." and ".." are left out.
absl::StatusOr<std::vector<std::string>> List(const std::string& path) {
  std::error_code error;
  std::vector<std::string> names;
  for (fs::directory_iterator i(path, error); !error && i != fs::directory_iterator();
       i.increment(error)) {
    names.push_back(i->path().filename().string());
  }
  if (error) return PathError("cannot list", path, error.value());
  std::sort(names.begin(), names.end());
  return names;
}

absl::StatusOr<StoredClassSet> ReadSet(const std::string& path, const std::string& folder,
                                       const std::string& name,
                                       const ClassificationOptions& options) {
  PREFIXD_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path, MaxClassSetFileBytes(options)));
  PREFIXD_ASSIGN_OR_RETURN(StoredClassSet set, ParseClassSet(bytes, options));
  if (NameOfFolder(set.spec.tenant) != folder || set.spec.id + kExtension != name) {
    return absl::InvalidArgumentError(
        absl::StrCat("holds the set ", NameOfFolder(set.spec.tenant), "/", set.spec.id));
  }
  return set;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ClassSetStore>> ClassSetStore::Open(
    const ClassificationOptions& options) {
  PREFIXD_CHECK(!options.state_dir.empty());
  const std::string directory = (fs::path(options.state_dir) / "class_sets").string();
  PREFIXD_RETURN_IF_ERROR(MakeDirectories(directory));
  // A process before this one may have died between a name and its way to disk.
  PREFIXD_RETURN_IF_ERROR(DiskError(SyncDirectory(options.state_dir)));
  const std::string path = (fs::path(directory) / "lock").string();
  const int lock = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (lock < 0) return PathError("cannot open", path, errno);
  if (::flock(lock, LOCK_EX | LOCK_NB) != 0) {
    const int error = errno;
    ::close(lock);
    if (error != EWOULDBLOCK) return PathError("cannot lock", path, error);
    return absl::FailedPreconditionError(
        absl::StrCat(path, ": is held by another process; a state directory serves one at a time"));
  }
  return std::unique_ptr<ClassSetStore>(new ClassSetStore(options, directory, lock));
}

ClassSetStore::ClassSetStore(const ClassificationOptions& options, std::string directory, int lock)
    : options_(options), directory_(std::move(directory)), lock_(lock) {}

ClassSetStore::~ClassSetStore() { ::close(lock_); }

std::string ClassSetStore::FolderOf(absl::string_view tenant) const {
  return absl::StrCat(directory_, "/", NameOfFolder(tenant));
}

absl::StatusOr<std::vector<StoredClassSet>> ClassSetStore::Load() {
  MutexLock lock(&mutex_);
  std::vector<StoredClassSet> sets;
  PREFIXD_ASSIGN_OR_RETURN(const std::vector<std::string> folders, List(directory_));
  for (const std::string& folder : folders) {
    std::error_code error;
    const bool is_folder = fs::is_directory(fs::symlink_status(directory_ + "/" + folder, error));
    if (is_folder) PREFIXD_RETURN_IF_ERROR(LoadFolder(folder, &sets));
  }
  std::sort(sets.begin(), sets.end(), [](const StoredClassSet& a, const StoredClassSet& b) {
    return std::tie(a.spec.tenant, a.spec.id) < std::tie(b.spec.tenant, b.spec.id);
  });
  return sets;
}

absl::Status ClassSetStore::LoadFolder(const std::string& folder,
                                       std::vector<StoredClassSet>* sets) {
  const std::string path = absl::StrCat(directory_, "/", folder);
  PREFIXD_ASSIGN_OR_RETURN(const std::vector<std::string> names, List(path));
  for (const std::string& name : names) {
    const std::string file = absl::StrCat(path, "/", name);
    if (IsTemporaryOfAtomicWrite(name) && absl::StrContains(name, kExtension)) {
      const bool gone = ::unlink(file.c_str()) == 0;
      PREFIXD_LOG(kWarn, "class_set=unfinished removed=", gone, " path=", file);
    } else if (absl::EndsWith(name, kExtension)) {
      auto set = ReadSet(file, folder, name, options_);
      if (set.ok()) {
        sets->push_back(*std::move(set));
      } else {
        PREFIXD_LOG(kWarn, "class_set=refused path=", file, " reason=", set.status().message());
      }
    }
  }
  return absl::OkStatus();
}

absl::Status ClassSetStore::MakeFolder(const std::string& folder) {
  if (folders_.contains(folder)) return absl::OkStatus();
  PREFIXD_RETURN_IF_ERROR(MakeDirectory(folder));
  // Also where the folder was there: who made it may have died before it was on disk.
  PREFIXD_RETURN_IF_ERROR(DiskError(SyncDirectory(directory_)));
  folders_.insert(folder);
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> ClassSetStore::Save(const StoredClassSet& set) {
  PREFIXD_RETURN_IF_ERROR(CheckStoredClassSet(set, options_));
  const std::string bytes = SerializeClassSet(set);
  const std::string folder = FolderOf(set.spec.tenant);
  MutexLock lock(&mutex_);
  PREFIXD_RETURN_IF_ERROR(MakeFolder(folder));
  const std::string path = absl::StrCat(folder, "/", set.spec.id, kExtension);
  const auto* data = reinterpret_cast<const uint8_t*>(bytes.data());
  PREFIXD_RETURN_IF_ERROR(DiskError(WriteFileAtomically(path, absl::MakeSpan(data, bytes.size()))));
  PREFIXD_RETURN_IF_ERROR(DiskError(SyncDirectory(folder)));
  return bytes.size();
}

absl::Status ClassSetStore::Remove(absl::string_view tenant, absl::string_view id) {
  PREFIXD_CHECK(IsClassSetId(id));
  if (tenant.size() > kMaxStoredTenantBytes) return absl::OkStatus();  // Save takes no such tenant.
  const std::string folder = FolderOf(tenant);
  const std::string path = absl::StrCat(folder, "/", id, kExtension);
  MutexLock lock(&mutex_);
  if (::unlink(path.c_str()) != 0) {
    if (errno != ENOENT && errno != ENOTDIR) return PathError("cannot remove", path, errno);
    if (!FileExists(folder)) return absl::OkStatus();
  }
  // Also where there was none: a removal before this one may not be on disk yet.
  return DiskError(SyncDirectory(folder));
}

}  // namespace prefixd
