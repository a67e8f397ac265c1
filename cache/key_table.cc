#include "cache/key_table.h"

#include <utility>

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

KeyTable::KeyTable() : seed_(ProcessSeed()) { Resize(kFirstCapacity); }

void KeyTable::Insert(uint64_t tag, PrefixNode* node) {
  PREFIXD_CHECK(node != nullptr);
  if (2 * (size_ + 1) > mask_ + 1) Resize(2 * (mask_ + 1));
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

void KeyTable::Resize(size_t capacity) {
  const HugeMemory old_memory = std::move(memory_);
  const Entry* const old = entries_;
  const size_t old_capacity = old == nullptr ? 0 : mask_ + 1;
  memory_ = AllocateZeros(capacity * sizeof(Entry));
  entries_ = static_cast<Entry*>(memory_.get());
  mask_ = capacity - 1;
  size_ = 0;
  for (size_t i = 0; i < old_capacity; ++i) {
    if (old[i].node != nullptr) Insert(old[i].tag, old[i].node);
  }
}

void KeyTable::CheckInvariants() const {
  size_t count = 0;
  for (size_t i = 0; i <= mask_; ++i) {
    const Entry& entry = entries_[i];
    if (entry.node == nullptr) continue;
    ++count;
    const PrefixNode* found =
        Find(entry.tag, [&](const PrefixNode* node) { return node == entry.node; });
    PREFIXD_CHECK(found == entry.node);
  }
  PREFIXD_CHECK(count == size_);
  PREFIXD_CHECK(2 * size_ <= mask_ + 1);
}

}  // namespace prefixd
