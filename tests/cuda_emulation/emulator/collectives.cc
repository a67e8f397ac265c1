#include "tests/cuda_emulation/emulator/collectives.h"

#include <bit>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace prefixd::emu {
namespace {

struct ShuffleOperands {
  uint64_t bits;
  int source;
  uint64_t result;
};

void RunShuffle(void* operands[32], uint32_t mask) {
  for (uint32_t left = mask; left != 0; left &= left - 1) {
    const int lane = std::countr_zero(left);
    ShuffleOperands* own = static_cast<ShuffleOperands*>(operands[lane]);
    const int source = own->source & 31;
    if (operands[source] == nullptr) {
      Fault([&] {
        return absl::StrFormat("a shuffle: lane %d reads lane %d, which is not in mask %08x", lane,
                               source, mask);
      });
    }
    own->result = static_cast<ShuffleOperands*>(operands[source])->bits;
  }
}

void RunBallot(void* operands[32], uint32_t mask) {
  uint32_t votes = 0;
  for (uint32_t left = mask; left != 0; left &= left - 1) {
    const int lane = std::countr_zero(left);
    votes |= *static_cast<uint32_t*>(operands[lane]) << lane;
  }
  for (uint32_t left = mask; left != 0; left &= left - 1) {
    *static_cast<uint32_t*>(operands[std::countr_zero(left)]) = votes;
  }
}

}  // namespace

void WarpBarrier(uint32_t mask, Site site) {
  char nothing = 0;
  WarpCollective(
      "__syncwarp", mask, &nothing, [](void**, uint32_t) {}, site,
      /*orders_memory=*/true);
}

uint32_t Ballot(const char* name, uint32_t mask, bool predicate, Site site) {
  uint32_t vote = predicate ? 1 : 0;
  WarpCollective(name, mask, &vote, RunBallot, site);
  return vote;
}

uint64_t ShuffleBits(const char* name, uint32_t mask, uint64_t bits, int source, Site site) {
  ShuffleOperands operands{bits, source, 0};
  WarpCollective(name, mask, &operands, RunShuffle, site);
  return operands.result;
}

}  // namespace prefixd::emu
