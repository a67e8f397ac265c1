// Random appends, forks and deaths against a model in which every sequence simply owns its tokens.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "cache/kv_cache.h"

namespace prefixd {
namespace {

constexpr int kLayers = 3;
constexpr int32_t kPages = 96;
constexpr size_t kMaxSequences = 10;

struct Stream {
  KvSequence kv{kLayers};
  std::vector<int64_t> tokens;  // What every layer must hold, by position.
};

class Simulation {
 public:
  explicit Simulation(uint32_t seed)
      : random_(seed), memory_(kPages, std::vector<int64_t>(kSlotsPerPage, kGarbage)) {}

  // One engine step: appends to a few streams, sometimes loses one before the copies ran, copies,
  // writes; then forks and ends streams.
  void Step() {
    if (streams_.empty() || (streams_.size() < kMaxSequences && Chance(10))) {
      streams_.push_back(std::make_unique<Stream>());
    }
    std::shuffle(streams_.begin(), streams_.end(), random_);
    const size_t num_writers = 1 + random_() % streams_.size();
    for (size_t i = 0; i < num_writers; ++i) {
      Append(streams_[i].get());
      Check();
    }
    if (Chance(10)) streams_.erase(streams_.begin() + random_() % streams_.size());
    Check();
    RunCopiesAndWrites();
    if (!streams_.empty() && streams_.size() < kMaxSequences && Chance(40)) Fork();
    if (!streams_.empty() && Chance(20)) streams_.pop_back();
    Check();
    CheckContent();
  }

  void EndAll() {
    streams_.clear();
    Check();
  }

  int32_t num_free_pages() const { return cache_.num_free_pages(); }
  int64_t num_copies() const { return num_copies_; }
  int64_t num_refusals() const { return num_refusals_; }

 private:
  static constexpr int64_t kGarbage = -1;
  struct Write {
    PageId page;
    int32_t slot;
    int64_t token;
  };

  bool Chance(uint32_t percent) { return random_() % 100 < percent; }

  void Append(Stream* stream) {
    const int32_t count = Chance(70) ? 1 : static_cast<int32_t>(random_() % 40);
    const int64_t pages = cache_.PagesToAppend(stream->kv, count);
    const int32_t free_before = cache_.num_free_pages();
    const size_t copies_before = cache_.copies().size();
    KvCache::Placement placement;
    if (!cache_.Append(&stream->kv, count, &placement)) {
      ASSERT_GT(pages, free_before);
      ASSERT_EQ(cache_.num_free_pages(), free_before);
      ASSERT_EQ(cache_.copies().size(), copies_before);
      ++num_refusals_;
      return;
    }
    ASSERT_EQ(free_before - cache_.num_free_pages(), pages);
    for (int32_t i = 0; i < count; ++i) {
      const int64_t token = next_token_++;
      for (int layer = 0; layer < kLayers; ++layer) {
        const int32_t slot = placement.write_slots[layer][i];
        const PageId page = stream->kv.layer(layer).page_ids()[slot / kSlotsPerPage];
        writes_.push_back({page, slot % kSlotsPerPage, token * kLayers + layer});
      }
      stream->tokens.push_back(token);
    }
  }

  void RunCopiesAndWrites() {
    for (const PendingCopy& copy : cache_.copies()) {
      memory_[copy.destination] = memory_[copy.source];
      ++num_copies_;
    }
    cache_.ClearCopies();
    for (const Write& write : writes_) {
      // Pages of a stream that died within the step may be anything, but are never somebody else's.
      memory_[write.page][write.slot] = write.token;
    }
    writes_.clear();
    // A page that nobody holds has lost its content.
    std::vector<bool> held(kPages);
    for (const auto& stream : streams_) {
      for (int layer = 0; layer < kLayers; ++layer) {
        for (const PageId id : stream->kv.layer(layer).page_ids()) held[id] = true;
      }
    }
    for (PageId id = 0; id < kPages; ++id) {
      if (!held[id]) std::fill(memory_[id].begin(), memory_[id].end(), kGarbage);
    }
  }

  void Fork() {
    const Stream& parent = *streams_[random_() % streams_.size()];
    auto child = std::make_unique<Stream>();
    child->kv = cache_.Fork(parent.kv);
    child->tokens = parent.tokens;
    streams_.push_back(std::move(child));
  }

  void Check() const {
    std::vector<const KvSequence*> sequences;
    for (const auto& stream : streams_) sequences.push_back(&stream->kv);
    cache_.CheckInvariants(sequences);
  }

  void CheckContent() const {
    for (const auto& stream : streams_) {
      ASSERT_EQ(stream->kv.next_position(), static_cast<int32_t>(stream->tokens.size()));
      for (int layer = 0; layer < kLayers; ++layer) {
        const LayerTable& table = stream->kv.layer(layer);
        ASSERT_EQ(table.length(), static_cast<int32_t>(stream->tokens.size()));
        for (int32_t slot = 0; slot < table.length(); ++slot) {
          const PageId page = table.page_ids()[slot / kSlotsPerPage];
          ASSERT_EQ(table.positions()[slot], slot);
          ASSERT_EQ(memory_[page][slot % kSlotsPerPage], stream->tokens[slot] * kLayers + layer);
        }
      }
    }
  }

  std::mt19937 random_;
  KvCache cache_{kLayers, kPages};
  std::vector<std::unique_ptr<Stream>> streams_;
  std::vector<std::vector<int64_t>> memory_;  // [page][slot].
  std::vector<Write> writes_;
  int64_t next_token_ = 0;
  int64_t num_copies_ = 0;
  int64_t num_refusals_ = 0;
};

TEST(KvCacheProperty, ForksNeverSeeEachOthersTokens) {
  for (const uint32_t seed : {1u, 2u, 3u, 4u}) {
    SCOPED_TRACE(seed);
    Simulation simulation(seed);
    for (int step = 0; step < 1000; ++step) {
      simulation.Step();
      if (HasFatalFailure()) FAIL() << "step " << step;
    }
    EXPECT_GT(simulation.num_copies(), 100) << "the run exercised copy on write";
    EXPECT_GT(simulation.num_refusals(), 10) << "the run exercised a full pool";
    simulation.EndAll();
    EXPECT_EQ(simulation.num_free_pages(), kPages);
  }
}

}  // namespace
}  // namespace prefixd
