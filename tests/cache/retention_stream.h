// One sequence of the property test of the cache, beside what it must hold: by layer a list of
// (position, value), on which drops are the published `del entries[index]`.
#ifndef PREFIXD_TESTS_CACHE_RETENTION_STREAM_H_
#define PREFIXD_TESTS_CACHE_RETENTION_STREAM_H_

#include <cstdint>
#include <string>
#include <vector>

#include "cache/kv_cache.h"
#include "tests/cache/prefix_fixture.h"

namespace prefixd::testing {

// Stands for the key and value of one token in one layer, before the layer is mixed in.
using Value = uint64_t;

inline Value Mix(Value a, Value b) {
  Value x = (a ^ (b * 0x9e3779b97f4a7c15u)) + 0x632be59bd9b4e019u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  return x ^ (x >> 29);
}

struct Entry {
  int32_t position;
  Value value;
};

// What the model knows of a sequence; a fork has it too.
struct StreamModel {
  enum class Scope { kOff, kExact, kShared };
  enum class Victim { kNone, kOldest, kGiven };

  std::vector<std::vector<Entry>> lists;  // [num_layers], ascending positions.
  int name_space = -1;                    // -1: it shares nothing.
  Scope scope = Scope::kOff;
  Victim victim = Victim::kNone;
  uint8_t recipe = 0;
  int family = 0;  // Of forks: they lie side by side.

  Text text;  // The prompt, then what was generated.
  int32_t prompt_size = 0;
  int32_t boundary = 0;      // Where it is compressed: the prompt's end, or earlier if kShared.
  std::vector<Value> chain;  // By position, computed with everything before it visible.
  std::vector<LayerBudget> budgets;
  std::string stands_on;  // Identity of its snapshot; empty: none.
  bool may_drop = false;  // It has appended since its last drop.
};

struct Stream : StreamModel {
  Stream(int num_layers, int32_t tenant) : kv(num_layers, tenant) { lists.resize(num_layers); }

  KvSequence kv;

  int32_t seen() const { return kv.next_position(); }
  bool to_be_compressed() const { return scope != Scope::kOff && !kv.compressed(); }
  bool decodes() const { return seen() >= prompt_size && !to_be_compressed(); }
  // Where its next append has to stop at the latest.
  int32_t next_stop() const {
    if (to_be_compressed()) return boundary;
    return seen() < prompt_size ? prompt_size : INT32_MAX;
  }

  // Adds to `chain` what is missing up to the end of `text`.
  void ExtendChain(Value root) {
    if (chain.size() >= text.ids.size()) return;
    const std::vector<int64_t> symbols = Symbols(text);
    for (size_t i = chain.size(); i < symbols.size(); ++i) {
      chain.push_back(Mix(i == 0 ? root : chain.back(), static_cast<Value>(symbols[i])));
    }
  }
  // Every layer holds tokens [0, count) computed with everything visible.
  void HoldChain(int32_t count) {
    for (std::vector<Entry>& list : lists) {
      for (int32_t i = static_cast<int32_t>(list.size()); i < count; ++i) {
        list.push_back({i, chain[i]});
      }
    }
  }
};

}  // namespace prefixd::testing

#endif  // PREFIXD_TESTS_CACHE_RETENTION_STREAM_H_
