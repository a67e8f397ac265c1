#include "engine/weights/zip_directory.h"

#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/status_macros.h"

namespace prefixd {
namespace {

constexpr uint32_t kLocalSignature = 0x04034b50, kCentralSignature = 0x02014b50;
constexpr uint32_t kEndSignature = 0x06054b50, kEnd64Signature = 0x06064b50;
constexpr uint32_t kLocatorSignature = 0x07064b50;
constexpr uint64_t kLocalBytes = 30, kCentralBytes = 46, kEndBytes = 22, kEnd64Bytes = 56;
constexpr uint64_t kLocatorBytes = 20, kMaxCommentBytes = 65535;
constexpr uint16_t kZip64Extra = 1;
constexpr uint32_t kInExtra = 0xffffffff;
constexpr uint64_t kMaxFileNameBytes = 512;

uint64_t Number(absl::string_view bytes, size_t at, size_t size) {
  uint64_t number = 0;
  for (size_t i = 0; i < size; ++i) {
    number |= uint64_t{static_cast<uint8_t>(bytes[at + i])} << (8 * i);
  }
  return number;
}

uint16_t U16(absl::string_view bytes, size_t at) {
  return static_cast<uint16_t>(Number(bytes, at, 2));
}
uint32_t U32(absl::string_view bytes, size_t at) {
  return static_cast<uint32_t>(Number(bytes, at, 4));
}
uint64_t U64(absl::string_view bytes, size_t at) { return Number(bytes, at, 8); }

absl::Status Invalid(absl::string_view problem) {
  return absl::InvalidArgumentError(absl::StrCat("zip: ", problem));
}

absl::Status EntryError(absl::string_view name, absl::string_view problem) {
  return Invalid(absl::StrCat("entry \"", absl::CHexEscape(name.substr(0, 80)), "\": ", problem));
}

absl::StatusOr<std::string> Bytes(const File& file, uint64_t begin, uint64_t size) {
  if (begin > file.size_bytes() || size > file.size_bytes() - begin) {
    return Invalid(absl::StrCat("bytes ", begin, " to ", begin + size, " lie outside the file's ",
                                file.size_bytes()));
  }
  std::string bytes(size, '\0');
  PREFIXD_RETURN_IF_ERROR(
      file.ReadAt(begin, absl::MakeSpan(reinterpret_cast<uint8_t*>(bytes.data()), bytes.size())));
  return bytes;
}

struct Directory {
  uint64_t begin = 0, size_bytes = 0, num_entries = 0;
};

absl::StatusOr<Directory> ReadEnd64(const File& file, uint64_t end_begin) {
  if (end_begin < kLocatorBytes) return Invalid("the end of a zip64 directory is missing");
  PREFIXD_ASSIGN_OR_RETURN(const std::string locator,
                           Bytes(file, end_begin - kLocatorBytes, kLocatorBytes));
  if (U32(locator, 0) != kLocatorSignature) {
    return Invalid("the end of a zip64 directory is missing");
  }
  PREFIXD_ASSIGN_OR_RETURN(const std::string end, Bytes(file, U64(locator, 8), kEnd64Bytes));
  if (U32(end, 0) != kEnd64Signature) return Invalid("the end of a zip64 directory is broken");
  return Directory{U64(end, 48), U64(end, 40), U64(end, 32)};
}

// Finds the end of the directory, behind which only a comment lies.
absl::StatusOr<Directory> FindDirectory(const File& file) {
  const uint64_t tail_bytes = std::min(file.size_bytes(), kEndBytes + kMaxCommentBytes);
  const uint64_t tail_begin = file.size_bytes() - tail_bytes;
  PREFIXD_ASSIGN_OR_RETURN(const std::string tail, Bytes(file, tail_begin, tail_bytes));
  for (uint64_t at = tail_bytes < kEndBytes ? 0 : tail_bytes - kEndBytes + 1; at-- > 0;) {
    if (U32(tail, at) != kEndSignature || at + kEndBytes + U16(tail, at + 20) != tail_bytes) {
      continue;
    }
    if (U16(tail, at + 4) != U16(tail, at + 6)) {
      return absl::UnimplementedError("zip: archives in several files are not supported");
    }
    if (U16(tail, at + 10) == 0xffff || U32(tail, at + 12) == kInExtra ||
        U32(tail, at + 16) == kInExtra) {
      return ReadEnd64(file, tail_begin + at);
    }
    return Directory{U32(tail, at + 16), U32(tail, at + 12), U16(tail, at + 10)};
  }
  return Invalid("the end of the directory is missing: the file is truncated");
}

// One record of the directory. Sizes that do not fit 32 bits are in an extra field, in this order.
struct Record {
  ZipEntry entry;
  uint64_t header = 0;  // Offset of the local header.
  uint64_t stored_bytes = 0;
};

absl::Status ReadExtra(absl::string_view extra, Record* record) {
  uint64_t* const wanted[] = {&record->entry.size_bytes, &record->stored_bytes, &record->header};
  while (extra.size() >= 4) {
    const uint16_t id = U16(extra, 0), size = U16(extra, 2);
    if (size > extra.size() - 4) break;
    absl::string_view field = extra.substr(4, size);
    extra.remove_prefix(4 + size);
    if (id != kZip64Extra) continue;
    for (uint64_t* value : wanted) {
      if (*value != kInExtra) continue;
      if (field.size() < 8) return EntryError(record->entry.name, "its zip64 sizes are missing");
      *value = U64(field, 0);
      field.remove_prefix(8);
    }
    return absl::OkStatus();
  }
  for (const uint64_t* value : wanted) {
    if (*value == kInExtra) return EntryError(record->entry.name, "its zip64 sizes are missing");
  }
  return absl::OkStatus();
}

absl::StatusOr<Record> TakeRecord(absl::string_view* directory) {
  if (directory->size() < kCentralBytes || U32(*directory, 0) != kCentralSignature) {
    return Invalid("the directory is broken");
  }
  const absl::string_view fixed = *directory;
  const uint64_t name_bytes = U16(fixed, 28), extra_bytes = U16(fixed, 30);
  const uint64_t size = kCentralBytes + name_bytes + extra_bytes + U16(fixed, 32);
  if (size > directory->size()) return Invalid("the directory is broken");
  Record record;
  record.entry.name = std::string(fixed.substr(kCentralBytes, name_bytes));
  if (name_bytes == 0 || name_bytes > kMaxFileNameBytes) {
    return EntryError(record.entry.name, "its name is empty or too long");
  }
  record.stored_bytes = U32(fixed, 20);
  record.entry.size_bytes = U32(fixed, 24);
  record.header = U32(fixed, 42);
  PREFIXD_RETURN_IF_ERROR(
      ReadExtra(fixed.substr(kCentralBytes + name_bytes, extra_bytes), &record));
  constexpr uint16_t kEncrypted = 1;
  if (U16(fixed, 10) != 0 || (U16(fixed, 8) & kEncrypted) != 0) {
    return absl::UnimplementedError(
        absl::StrCat("zip: entry \"", absl::CHexEscape(record.entry.name.substr(0, 80)),
                     "\" is compressed or encrypted (method ", U16(fixed, 10), ")"));
  }
  if (record.stored_bytes != record.entry.size_bytes) {
    return EntryError(record.entry.name,
                      absl::StrCat("stored in ", record.stored_bytes, " bytes, but its size is ",
                                   record.entry.size_bytes));
  }
  directory->remove_prefix(size);
  return record;
}

// Finds the bytes of an entry behind its local header.
absl::Status ReadLocalHeader(const File& file, uint64_t limit, Record* record) {
  ZipEntry& entry = record->entry;
  const uint64_t fixed_bytes = kLocalBytes + entry.name.size();
  if (record->header > limit || fixed_bytes > limit - record->header) {
    return EntryError(
        entry.name, absl::StrCat("begins at byte ", record->header, ", the directory at ", limit));
  }
  PREFIXD_ASSIGN_OR_RETURN(const std::string local, Bytes(file, record->header, fixed_bytes));
  if (U32(local, 0) != kLocalSignature || U16(local, 26) != entry.name.size() ||
      local.substr(kLocalBytes) != entry.name || U16(local, 8) != 0) {
    return EntryError(entry.name, "its local header says something else");
  }
  entry.begin = record->header + fixed_bytes + U16(local, 28);
  if (entry.begin > limit || entry.size_bytes > limit - entry.begin) {
    return EntryError(entry.name, absl::StrCat(entry.size_bytes, " bytes at ", entry.begin,
                                               " reach into the directory at ", limit));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<bool> IsZipFile(const File& file) {
  if (file.size_bytes() < 4) return false;
  PREFIXD_ASSIGN_OR_RETURN(const std::string bytes, Bytes(file, 0, 4));
  return U32(bytes, 0) == kLocalSignature || U32(bytes, 0) == kEndSignature;
}

absl::StatusOr<std::vector<ZipEntry>> ReadZipDirectory(const File& file) {
  PREFIXD_ASSIGN_OR_RETURN(const Directory directory, FindDirectory(file));
  if (directory.num_entries > kMaxZipEntries || directory.size_bytes > kMaxZipDirectoryBytes ||
      directory.num_entries > directory.size_bytes / kCentralBytes) {
    return Invalid(absl::StrCat(directory.num_entries, " entries in a directory of ",
                                directory.size_bytes, " bytes, the limits are ", kMaxZipEntries,
                                " and ", kMaxZipDirectoryBytes));
  }
  PREFIXD_ASSIGN_OR_RETURN(const std::string bytes,
                           Bytes(file, directory.begin, directory.size_bytes));
  absl::string_view rest = bytes;
  std::vector<Record> records;
  for (uint64_t i = 0; i < directory.num_entries; ++i) {
    PREFIXD_ASSIGN_OR_RETURN(Record record, TakeRecord(&rest));
    PREFIXD_RETURN_IF_ERROR(ReadLocalHeader(file, directory.begin, &record));
    records.push_back(std::move(record));
  }
  std::sort(records.begin(), records.end(),
            [](const Record& a, const Record& b) { return a.header < b.header; });
  std::vector<ZipEntry> entries;
  uint64_t end = 0;
  for (Record& record : records) {
    if (record.header < end) {
      return EntryError(record.entry.name, "overlaps the entry before it");
    }
    end = record.entry.begin + record.entry.size_bytes;
    entries.push_back(std::move(record.entry));
  }
  return entries;
}

}  // namespace prefixd
