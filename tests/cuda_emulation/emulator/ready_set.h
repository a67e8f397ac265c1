// Which threads of a block can run, and which of them is next.
#ifndef PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_READY_SET_H_
#define PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_READY_SET_H_

#include <bit>
#include <cstdint>

namespace prefixd::emu {

class ReadySet {
 public:
  static constexpr uint32_t kMost = 1024;

  void Insert(uint32_t rank) { words_[rank / 64] |= uint64_t{1} << (rank % 64); }
  void Erase(uint32_t rank) { words_[rank / 64] &= ~(uint64_t{1} << (rank % 64)); }

  // -1 if empty.
  int First() const {
    for (int w = 0; w < kWords; ++w) {
      if (words_[w] != 0) return w * 64 + std::countr_zero(words_[w]);
    }
    return -1;
  }
  int Last() const {
    for (int w = kWords - 1; w >= 0; --w) {
      if (words_[w] != 0) return w * 64 + 63 - std::countl_zero(words_[w]);
    }
    return -1;
  }
  // The first at or after `start`, then from the beginning.
  int FirstFrom(uint32_t start) const {
    const int word = static_cast<int>(start / 64);
    const uint64_t from_start = words_[word] & (~uint64_t{0} << (start % 64));
    if (from_start != 0) return word * 64 + std::countr_zero(from_start);
    for (int w = word + 1; w < kWords; ++w) {
      if (words_[w] != 0) return w * 64 + std::countr_zero(words_[w]);
    }
    return First();
  }

 private:
  static constexpr int kWords = kMost / 64;
  uint64_t words_[kWords] = {};
};

}  // namespace prefixd::emu

#endif  // PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_READY_SET_H_
