#include "cache/key_table.h"

#include "base/check.h"

namespace prefixd {
namespace {

constexpr size_t kFirstCapacity = 1024;

// Differs between runs where addresses do. Only the layout of the table depends on it.
uint64_t ProcessSeed() {
  static const char anchor = 0;
  return reinterpret_cast<uintptr_t>(&anchor);
}

}  // namespace

KeyTable::KeyTable()
    : entries_(kFirstCapacity, Entry{}), mask_(kFirstCapacity - 1), seed_(ProcessSeed()) {}

void KeyTable::Insert(uint64_t tag, PrefixNode* node) {
  PREFIXD_CHECK(node != nullptr);
  if (2 * (size_ + 1) > entries_.size()) Grow();
  size_t i = Bucket(tag);
  while (entries_[i].node != nullptr) i = (i + 1) & mask_;
  entries_[i] = {tag, node};
  ++size_;
}

void KeyTable::Erase(uint64_t tag, const PrefixNode* node) {
  size_t hole = Bucket(tag);
  while (entries_[hole].node != node) {
    PREFIXD_CHECK(entries_[hole].node != nullptr);
    hole = (hole + 1) & mask_;
  }
  // Moves back what can no longer be reached across the hole.
  for (size_t i = (hole + 1) & mask_; entries_[i].node != nullptr; i = (i + 1) & mask_) {
    const size_t home = Bucket(entries_[i].tag);
    if (((i - home) & mask_) < ((i - hole) & mask_)) continue;
    entries_[hole] = entries_[i];
    hole = i;
  }
  entries_[hole] = Entry{};
  --size_;
}

void KeyTable::Grow() {
  std::vector<Entry> old(entries_.size() * 2, Entry{});
  old.swap(entries_);
  mask_ = entries_.size() - 1;
  size_ = 0;
  for (const Entry& entry : old) {
    if (entry.node != nullptr) Insert(entry.tag, entry.node);
  }
}

void KeyTable::CheckInvariants() const {
  size_t count = 0;
  for (const Entry& entry : entries_) {
    if (entry.node == nullptr) continue;
    ++count;
    const PrefixNode* found =
        Find(entry.tag, [&](const PrefixNode* node) { return node == entry.node; });
    PREFIXD_CHECK(found == entry.node);
  }
  PREFIXD_CHECK(count == size_);
  PREFIXD_CHECK(2 * size_ <= entries_.size());
}

}  // namespace prefixd
