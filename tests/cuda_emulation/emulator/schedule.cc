#include "tests/cuda_emulation/emulator/schedule.h"

#include <numeric>

namespace prefixd::emu {
namespace {

Config current_config;
uint64_t launches_of_config = 0;
uint64_t random_state = 1;

// In random order block number k is (first + k * step) mod num_blocks.
uint64_t num_blocks = 1, first = 0, step = 1;

// xorshift64 (Marsaglia, 2003).
uint64_t Random() {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return random_state;
}

}  // namespace

void SetConfig(const Config& config) {
  current_config = config;
  launches_of_config = 0;
}

const Config& config() { return current_config; }

void StartSchedule(uint64_t blocks) {
  num_blocks = blocks;
  first = 0;
  step = 1;
  random_state =
      (current_config.seed * 0x9E3779B97F4A7C15u + ++launches_of_config) * 0xD1342543DE82EF95u;
  if (random_state == 0) random_state = 1;
  if (current_config.order != Order::kRandom) return;
  for (int i = 0; i < 4; ++i) Random();
  first = Random() % num_blocks;
  do {  // Below 2^31, so that no product overflows; 1 fits always, primes nearly always.
    step = 1 + (Random() >> 33);
  } while (std::gcd(step, num_blocks) != 1);
}

uint64_t BlockInTurn(uint64_t k) {
  switch (current_config.order) {
    case Order::kAscending:
      return k;
    case Order::kDescending:
      return num_blocks - 1 - k;
    case Order::kRandom:
      break;
  }
  return (first + k % num_blocks * step) % num_blocks;
}

int NextThread(const ReadySet& ready, uint32_t num_threads) {
  switch (current_config.order) {
    case Order::kAscending:
      return ready.First();
    case Order::kDescending:
      return ready.Last();
    case Order::kRandom:
      break;
  }
  return ready.FirstFrom(static_cast<uint32_t>((Random() >> 11) % num_threads));
}

bool YieldsNow() { return current_config.order == Order::kRandom && (Random() >> 20 & 1) != 0; }

}  // namespace prefixd::emu
