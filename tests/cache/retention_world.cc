#include "tests/cache/retention_world.h"

#include <algorithm>
#include <utility>

#include <gtest/gtest.h>

namespace prefixd::testing {
namespace {

constexpr size_t kMaxStreams = 10;
constexpr Value kGarbage = 0xdeadbeefdeadbeefu;

std::vector<TenantPages> RandomTenants(std::mt19937_64* random, int32_t num_pages) {
  std::vector<TenantPages> tenants(kTenants);
  for (TenantPages& tenant : tenants) {
    tenant.quota = num_pages / 2 + static_cast<int64_t>((*random)() % num_pages);
    tenant.floor = static_cast<int64_t>((*random)() % (num_pages / 4));
    tenant.weight = 1.0 + static_cast<double>((*random)() % 4);
  }
  return tenants;
}

}  // namespace

RetentionWorld::RetentionWorld(uint32_t seed)
    : random_(seed),
      num_layers_(1 + static_cast<int>(Draw(4))),
      num_pages_(num_layers_ * (16 + static_cast<int32_t>(Draw(100)))),
      key_bits_(Chance(50)   ? 256
                : Chance(50) ? 8
                             : 2),
      fork_odds_(Draw(12)),
      end_odds_(1 + Draw(4)),
      preempt_odds_(Draw(3)),
      evict_odds_(Draw(4)),
      score_odds_(Draw(60)),
      memory_(num_pages_, std::vector<Value>(kSlotsPerPage, kGarbage)),
      promised_(kTenants) {
  cache_ = std::make_unique<KvCache>(num_layers_, num_pages_, RandomTenants(&random_, num_pages_),
                                     key_bits_);
  free_before_ = num_pages_;
  for (uint8_t i = 0; i < 5; ++i) {
    Text text;
    for (int32_t token = 0; token < 100; ++token) text.Count(static_cast<int32_t>(Draw(3)), 1);
    if (i % 2 == 0) {
      const int32_t begin = static_cast<int32_t>(Draw(30));
      const int32_t rows = 1 + static_cast<int32_t>(Draw(40));
      text.media.push_back({begin, rows, MediaId(i / 2)});
      std::fill_n(text.ids.begin() + begin, rows, kPlaceholder);
    }
    base_texts_.push_back(std::move(text));
  }
  base_texts_[2] = base_texts_[0];  // But for the image.
  base_texts_[2].media[0].media_id = MediaId(9);
}

void RetentionWorld::Step() {
  if (streams_.size() < kMaxStreams && (streams_.empty() || Chance(30))) Start();
  PlanAppends();
  for (const Planned& planned : plan_) Append(planned);
  if (!streams_.empty() && Chance(3)) EndStream(Draw(static_cast<uint32_t>(streams_.size())));
  RunCopiesAndWrites();
  CheckAllStreams();
  for (size_t i = 0; i < streams_.size(); ++i) Advance(streams_[i].get());
  if (!streams_.empty() && streams_.size() < kMaxStreams && Chance(fork_odds_)) {
    Fork(Draw(static_cast<uint32_t>(streams_.size())));
  }
  for (size_t i = streams_.size(); i-- > 0;) {
    const bool old = streams_[i]->text.size() > 150;
    if (old || Chance(end_odds_)) EndStream(i);
  }
  if (!streams_.empty() && Chance(preempt_odds_)) {
    Preempt(streams_[Draw(static_cast<uint32_t>(streams_.size()))].get());
  }
  if (Chance(evict_odds_)) Evict();
  CheckSnapshotUse();
}

// --- Appending -----------------------------------------------------------------------------------

void RetentionWorld::PlanAppends() {
  plan_.clear();
  std::fill(promised_.begin(), promised_.end(), 0);
  cache_->BeginRound(Sequences());
  CheckHeld();
  for (size_t begin = 0; begin < streams_.size();) {
    size_t end = begin + 1;
    while (end < streams_.size() && streams_[end]->family == streams_[begin]->family) ++end;
    PlanFamily(begin, end);
    begin = end;
  }
  // A pool where nobody gets anything has to lose somebody.
  if (plan_.empty() && !streams_.empty()) {
    EndStream(Draw(static_cast<uint32_t>(streams_.size())));
  }
}

// Either those that decode append one token each, or one of them appends some.
void RetentionWorld::PlanFamily(size_t begin, size_t end) {
  if (Chance(30)) {
    Stream* stream = streams_[begin + Draw(static_cast<uint32_t>(end - begin))].get();
    const int32_t limit = std::min(stream->next_stop() - stream->seen(), 40);
    if (limit <= 0) return;
    const int32_t count = 1 + static_cast<int32_t>(Draw(static_cast<uint32_t>(limit)));
    const int64_t pages = cache_->PagesToAppend(stream->kv, count);
    if (Reserve(stream->kv.tenant(), pages)) plan_.push_back({stream, count, pages});
    return;
  }
  std::vector<const KvSequence*> siblings;
  std::vector<Planned> together;
  for (size_t i = begin; i < end; ++i) {
    if (streams_[i]->next_stop() <= streams_[i]->seen() || Chance(15)) continue;
    siblings.push_back(&streams_[i]->kv);
    together.push_back({streams_[i].get(), 1, -1});
  }
  if (together.empty()) return;
  together.back().pages = cache_->PagesToAppendOneEach(siblings);
  if (!Reserve(streams_[begin]->kv.tenant(), together.back().pages)) return;
  plan_.insert(plan_.end(), together.begin(), together.end());
}

bool RetentionWorld::Reserve(int32_t tenant, int64_t pages) {
  const TenantPages& limits = cache_->tenant(tenant);
  int64_t promised = 0;
  for (const int64_t each : promised_) promised += each;
  std::vector<int64_t> cached(kTenants);
  for (int32_t t = 0; t < kTenants; ++t) {
    cached[t] = cache_->index().num_pages(t);
  }
  const int64_t held = cache_->held_pages(tenant);
  const int64_t own_evictable =
      cache_->index().evictable_pages(tenant) + cache_->snapshots().evictable_pages(tenant);
  const int64_t free = cache_->num_free_pages();
  const KvCache::Room room = cache_->Reserve(tenant, pages);
  EXPECT_EQ(room == KvCache::Room::kTenantFull, held + pages > limits.quota);
  if (room == KvCache::Room::kPoolFull) {
    EXPECT_LT(free - promised + own_evictable, pages) << "what is his own may always go";
  }
  if (room != KvCache::Room::kGranted) {
    EXPECT_EQ(cache_->num_free_pages(), free) << "a refusal changes nothing";
    After(room == KvCache::Room::kPoolFull ? "pool full" : "tenant full");
    return false;
  }
  promised_[tenant] += pages;
  EXPECT_GE(cache_->num_free_pages(), promised + pages);
  EXPECT_LE(cache_->held_pages(tenant), limits.quota);
  for (int32_t t = 0; t < kTenants; ++t) {
    // The floor guards columns; snapshots in use count towards it.
    const int64_t left = cache_->index().num_pages(t);
    if (t == tenant || left == cached[t]) continue;
    const int64_t used = cache_->snapshots().num_pages(t) - cache_->snapshots().evictable_pages(t);
    EXPECT_GE(left + used + CountOwnPages(t) + promised_[t], cache_->tenant(t).floor);
    ++marks_["evicted for another tenant"];
  }
  After("reserve");
  CheckHeld();
  return true;
}

void RetentionWorld::Append(const Planned& planned) {
  Stream& stream = *planned.stream;
  while (stream.text.size() < stream.seen() + planned.count) {
    stream.text.Count(static_cast<int32_t>(Draw(3)), 1);  // Generated.
  }
  stream.ExtendChain(RootValue(stream));
  const int32_t first = stream.seen();
  const int32_t free = cache_->num_free_pages();
  KvCache::Placement placement;
  ASSERT_TRUE(cache_->Append(&stream.kv, planned.count, &placement));
  taken_ += free - cache_->num_free_pages();
  if (planned.pages >= 0) {
    ASSERT_EQ(taken_, planned.pages) << "what is taken is what was promised";
    taken_ = 0;
  }
  stream.may_drop = true;
  for (int layer = 0; layer < num_layers_; ++layer) {
    std::vector<Entry>& list = stream.lists[layer];
    ASSERT_EQ(placement.first_visible[layer], static_cast<int32_t>(list.size()) + 1);
    for (int32_t i = 0; i < planned.count; ++i) {
      const int32_t slot = placement.write_slots[layer][i];
      const PageId page = stream.kv.layer(layer).page_ids()[slot / kSlotsPerPage];
      ASSERT_EQ(cache_->num_claims(page), 1) << "nobody else sees the page that is written";
      const Value value = stream.kv.compressed() ? next_value_++ : stream.chain[first + i];
      list.push_back({first + i, value});
      writes_.push_back({page, slot % kSlotsPerPage, Mix(value, layer)});
    }
  }
  After(stream.kv.compressed() ? "append compressed" : "append", num_pages_);
}

void RetentionWorld::RunCopiesAndWrites() {
  std::vector<PendingCopy> copies(cache_->copies().begin(), cache_->copies().end());
  std::shuffle(copies.begin(), copies.end(), random_);
  for (const PendingCopy& copy : copies) memory_[copy.destination] = memory_[copy.source];
  marks_["copies"] += static_cast<int64_t>(copies.size());
  cache_->ClearCopies();
  for (const Write& write : writes_) memory_[write.page][write.slot] = write.value;
  writes_.clear();
  After("run copies");
}

void RetentionWorld::End() {
  while (!streams_.empty()) EndStream(streams_.size() - 1);
  cache_->EvictAll(-1);
  After("end");
  cache_->BeginRound({});
  for (int32_t t = 0; t < kTenants; ++t) EXPECT_EQ(cache_->held_pages(t), 0);
  EXPECT_EQ(cache_->num_free_pages(), num_pages_);
  EXPECT_EQ(cache_->snapshots().size(), 0);
  EXPECT_EQ(cache_->index().num_columns(), 0);
  EXPECT_EQ(cache_->index().score_bytes(), 0u);
}

}  // namespace prefixd::testing
