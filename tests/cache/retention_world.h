// Random life on a KvCache with compressed sequences, beside a model in which every sequence simply
// owns its tokens (retention_stream.h), a simulated page memory full of garbage, and recounts of
// everything that the cache counts. One call of Step is one engine step.
#ifndef PREFIXD_TESTS_CACHE_RETENTION_WORLD_H_
#define PREFIXD_TESTS_CACHE_RETENTION_WORLD_H_

#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "cache/kv_cache.h"
#include "tests/cache/retention_stream.h"

namespace prefixd::testing {

class RetentionWorld {
 public:
  // The seed draws the shape of the cache and the odds of everything, too.
  explicit RetentionWorld(uint32_t seed);

  void Step();
  // Ends all streams and empties the cache.
  void End();

  int64_t operations() const { return operations_; }
  // How often what is rare happened.
  const std::map<std::string, int64_t>& marks() const { return marks_; }

 private:
  struct Write {
    PageId page;
    int32_t slot;
    Value value;
  };
  struct Planned {
    Stream* stream;
    int32_t count;
    int64_t pages;  // That it and those before with -1 take together; -1: see the next one.
  };

  // --- Steps (retention_world.cc)
  void PlanAppends();
  void PlanFamily(size_t begin, size_t end);
  void Append(const Planned& planned);
  void RunCopiesAndWrites();
  bool Reserve(int32_t tenant, int64_t pages);

  // --- What happens between them (retention_world_ops.cc)
  void Start();
  // Lets a stream that holds nothing begin with what is cached.
  void Begin(Stream* stream);
  void Extend(Stream* stream);
  void ExpectScores(const Stream& stream, int32_t before);
  bool StartFromSnapshot(Stream* stream);
  void Advance(Stream* stream);
  void Publish(Stream* stream);
  void AttachScores(Stream* stream);
  void Fork(size_t parent);
  void EndStream(size_t index);
  void Preempt(Stream* stream);
  void Evict();

  // --- Compressing and dropping (retention_world_compress.cc)
  void Compress(Stream* stream);
  void StoreSnapshot(Stream* stream);
  void BeginDrops(Stream* stream);
  void Drop(Stream* stream);

  // --- Checks (retention_world_check.cc)
  // After every operation; `max_taken`: pages that it may have taken.
  void After(const char* mark, int64_t max_taken = 0);
  void CheckStream(const Stream& stream);
  void CheckAllStreams();
  void CheckSnapshotUse();
  void CheckHeld();
  void ScrubFreePages();
  int64_t CountOwnPages(int32_t tenant) const;

  // --- Small things
  uint32_t Draw(uint32_t limit) { return static_cast<uint32_t>(random_() % limit); }
  bool Chance(uint32_t percent) { return Draw(100) < percent; }
  Text RandomText();
  Value RootValue(const Stream& stream);
  std::string Identity(const Stream& stream) const;
  SnapshotSpec SpecOf(const Stream& stream) const;
  // What layer `layer` keeps of the first `boundary` tokens.
  static std::vector<int32_t> Kept(const Stream& stream, int layer, Value choice);
  int64_t PeakOfCompress(const Stream& stream, Value choice) const;
  void CompressModel(Stream* stream, Value choice);
  std::vector<const KvSequence*> Sequences() const;

  std::mt19937_64 random_;
  const int num_layers_;
  const int32_t num_pages_;
  const int key_bits_;
  const uint32_t fork_odds_, end_odds_, preempt_odds_, evict_odds_, score_odds_;
  std::unique_ptr<KvCache> cache_;
  const std::vector<ContentKey> roots_ = NamespaceRoots();
  std::vector<Text> base_texts_;

  std::vector<std::unique_ptr<Stream>> streams_;  // Families side by side.
  std::vector<Planned> plan_;
  std::vector<Write> writes_;
  std::vector<std::vector<Value>> memory_;  // [page][slot].
  std::vector<int64_t> promised_;           // By tenant, in this round.
  int64_t taken_ = 0;                       // Since the last promise was used up.
  std::map<std::string, uint64_t> stored_;  // Snapshots, and the count of evictions then.
  int32_t free_before_ = 0;
  int next_family_ = 0;
  Value next_value_ = 1;
  int64_t operations_ = 0;
  std::map<std::string, int64_t> marks_;
};

}  // namespace prefixd::testing

#endif  // PREFIXD_TESTS_CACHE_RETENTION_WORLD_H_
