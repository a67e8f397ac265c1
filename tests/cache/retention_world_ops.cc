// RetentionWorld: what happens to streams between their appends; compressing lies beside this.
#include <algorithm>
#include <utility>

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "tests/cache/retention_world.h"

namespace prefixd::testing {
namespace {

using Scope = StreamModel::Scope;
using Victim = StreamModel::Victim;

ContentKey RecipeOf(uint8_t n) {
  ContentKey recipe{};
  recipe[0] = n;
  return recipe;
}

// The scores that are stored with the column that ends before `end`.
std::vector<float> ScoresOf(const Stream& stream, int32_t end, int num_layers) {
  std::vector<float> sums(static_cast<size_t>(num_layers) * static_cast<size_t>(end));
  for (size_t i = 0; i < sums.size(); ++i) {
    sums[i] = static_cast<float>(Mix(stream.chain[end - 1], i) % 1000);
  }
  return sums;
}

}  // namespace

// --- Names ---------------------------------------------------------------------------------------

Text RetentionWorld::RandomText() {
  const Text& base = base_texts_[Chance(50) ? 0 : Draw(static_cast<uint32_t>(base_texts_.size()))];
  const int32_t cut = Chance(30) ? 100 : 1 + static_cast<int32_t>(Draw(100));
  Text text;
  text.ids.assign(base.ids.begin(), base.ids.begin() + cut);
  for (MediaRun run : base.media) {
    run.num_rows = std::min(run.num_rows, cut - run.row_begin);
    if (run.num_rows > 0) text.media.push_back(run);
  }
  for (uint32_t more = Chance(50) ? Draw(12) : 0; more > 0; --more) {
    text.Count(static_cast<int32_t>(Draw(3)), 1);
  }
  return text;
}

Value RetentionWorld::RootValue(const Stream& stream) {
  if (stream.name_space < 0) return Mix(7, next_value_++);
  return Mix(11, static_cast<Value>(stream.name_space));
}

SnapshotSpec RetentionWorld::SpecOf(const Stream& stream) const {
  const absl::Span<const int32_t> ids = stream.text.ids;
  return {.root_key = roots_[stream.name_space],
          .recipe = RecipeOf(stream.recipe),
          .tokens = {ids.subspan(0, stream.boundary), stream.text.media}};
}

// The chain value of the last token names the namespace and everything up to there.
std::string RetentionWorld::Identity(const Stream& stream) const {
  return absl::StrCat(stream.recipe, "/", stream.boundary, "/", stream.chain[stream.boundary - 1]);
}

std::vector<const KvSequence*> RetentionWorld::Sequences() const {
  std::vector<const KvSequence*> sequences;
  for (const auto& stream : streams_) sequences.push_back(&stream->kv);
  return sequences;
}

// --- Beginning -----------------------------------------------------------------------------------

void RetentionWorld::Start() {
  const uint32_t num_spaces = Chance(60) ? 2 : kNamespaces;  // Some are hot.
  const int name_space = Chance(85) ? static_cast<int>(Draw(num_spaces)) : -1;
  const int32_t tenant =
      name_space >= 0 ? name_space % kTenants : static_cast<int32_t>(Draw(kTenants));
  auto stream = std::make_unique<Stream>(num_layers_, tenant);
  stream->name_space = name_space;
  stream->family = next_family_++;
  stream->text = RandomText();
  stream->prompt_size = stream->boundary = stream->text.size();
  stream->scope = static_cast<Scope>(Draw(3));
  stream->victim = static_cast<Victim>(std::min(Draw(6), 2u));
  if (Chance(70)) stream->victim = Victim::kOldest;
  stream->recipe = static_cast<uint8_t>(Draw(2));
  if (stream->scope == Scope::kShared) {
    // Prefixes that others have too, and whole images.
    stream->boundary = std::min(13 + 16 * static_cast<int32_t>(Draw(4)), stream->prompt_size);
    for (const MediaRun& run : stream->text.media) {
      if (run.row_begin < stream->boundary) {
        stream->boundary = std::max(stream->boundary, run.row_end());
      }
    }
  }
  stream->ExtendChain(RootValue(*stream));
  streams_.push_back(std::move(stream));
  Begin(streams_.back().get());
}

void RetentionWorld::Begin(Stream* stream) {
  if (stream->name_space < 0) return;
  if (stream->scope == Scope::kShared && StartFromSnapshot(stream)) return;
  cache_->Open(roots_[stream->name_space], &stream->kv);
  After("open");
  Extend(stream);
}

void RetentionWorld::Extend(Stream* stream) {
  const int32_t before = stream->kv.num_shared_columns();
  const bool scored = stream->scope != Scope::kOff && Chance(50);
  const std::vector<ContentKey> keys = ColumnKeys(roots_[stream->name_space], stream->text.view());
  const int32_t limit = std::min(stream->boundary, stream->prompt_size - 1);
  if (limit / kSlotsPerPage < before) return;
  PrefixIndex::Match match =
      cache_->Extend(stream->text.view(), keys, limit,
                     scored ? KvCache::Columns::kScored : KvCache::Columns::kAny, &stream->kv);
  ASSERT_EQ(match.num_columns, stream->kv.num_shared_columns());
  ASSERT_LE(match.num_tokens(), limit);
  stream->HoldChain(stream->seen());
  After(scored ? "extend scored" : "extend");
  if (scored) {
    ASSERT_EQ(match.partial_tokens, 0);
    ExpectScores(*stream, before);
  } else if (match.partial && Chance(60)) {
    cache_->AdoptPartial(std::move(match), &stream->kv);
    stream->HoldChain(stream->seen());
    After("adopt partial");
  }
  CheckStream(*stream);
}

// The last adopted column has scores, and no longer one that would have matched has.
void RetentionWorld::ExpectScores(const Stream& stream, int32_t before) {
  PrefixIndex& index = cache_->index();
  const int32_t columns = stream.kv.num_shared_columns();
  if (columns > before) {
    const ScoreSums& scores = index.scores(stream.kv.pin().node());
    ASSERT_NE(scores, nullptr);
    ASSERT_EQ(*scores, ScoresOf(stream, columns * kSlotsPerPage, num_layers_));
    ++marks_["scored hits"];
  }
  const std::vector<ContentKey> keys = ColumnKeys(roots_[stream.name_space], stream.text.view());
  const PrefixIndex::Match all = index.Find(stream.kv.pin(), stream.text.view(), keys,
                                            std::min(stream.boundary, stream.prompt_size - 1));
  const PrefixIndex::Node* node = all.pin.node();
  for (int32_t column = all.num_columns; column > columns; --column) {
    ASSERT_EQ(index.scores(node), nullptr) << "column " << column << " of " << columns;
    node = index.parent(node);
    ++marks_["columns without scores"];
  }
}

bool RetentionWorld::StartFromSnapshot(Stream* stream) {
  const SnapshotSpec spec = SpecOf(*stream);
  const std::string identity = Identity(*stream);
  const auto stored = stored_.find(identity);
  const bool must =
      (stored != stored_.end() && stored->second == cache_->snapshots().counters().evicted) ||
      std::any_of(streams_.begin(), streams_.end(),
                  [&](const auto& other) { return other->stands_on == identity; });
  const bool started = cache_->StartFromSnapshot(SnapshotKey(spec), spec, &stream->kv);
  EXPECT_TRUE(started || !must) << "it was not evicted";
  if (!started) {
    After("no snapshot");
    return false;
  }
  EXPECT_TRUE(stored != stored_.end()) << "nobody stored it";
  stream->HoldChain(stream->boundary);
  CompressModel(stream, Mix(3, std::hash<std::string>()(identity)));
  stream->stands_on = identity;
  After("start from snapshot");
  CheckStream(*stream);
  return true;
}

// --- Between steps -------------------------------------------------------------------------------

void RetentionWorld::Advance(Stream* stream) {
  if (stream->may_drop && !stream->budgets.empty()) Drop(stream);
  stream->may_drop = false;
  Publish(stream);
  const bool all_shared = stream->seen() == stream->kv.num_shared_columns() * kSlotsPerPage;
  if (stream->kv.shares() && all_shared && stream->seen() < stream->boundary && Chance(30)) {
    Extend(stream);
  }
  if (stream->to_be_compressed() && stream->seen() == stream->boundary && Chance(80)) {
    Compress(stream);
  }
  if (stream->kv.compressed() && stream->decodes() && stream->budgets.empty() &&
      stream->victim != Victim::kNone) {
    BeginDrops(stream);
  }
}

void RetentionWorld::Publish(Stream* stream) {
  const uint64_t published = cache_->index().counters().published;
  if (!stream->kv.shares()) {
    if (!Chance(5)) return;
    cache_->Publish(stream->text.view(), {}, &stream->kv);
    ASSERT_EQ(cache_->index().counters().published, published) << "what does not share";
    After("publish nothing");
    return;
  }
  if (stream->seen() / kSlotsPerPage == stream->kv.num_shared_columns() && Chance(80)) return;
  std::vector<ContentKey> keys;
  if (Chance(50)) keys = ColumnKeys(roots_[stream->name_space], stream->text.view());
  cache_->Publish(stream->text.view(), keys, &stream->kv);
  ASSERT_EQ(stream->kv.num_shared_columns(), stream->seen() / kSlotsPerPage);
  After("publish");
  CheckStream(*stream);
  if (stream->kv.num_shared_columns() > 0 && Chance(score_odds_)) AttachScores(stream);
}

void RetentionWorld::AttachScores(Stream* stream) {
  const int32_t end = stream->kv.num_shared_columns() * kSlotsPerPage;
  std::vector<float> sums = ScoresOf(*stream, end, num_layers_);
  cache_->AttachScores(stream->kv, std::make_shared<const std::vector<float>>(std::move(sums)));
  After("attach scores");
}

// --- Forks, ends, evictions ----------------------------------------------------------------------

void RetentionWorld::Fork(size_t parent) {
  const int family = streams_[parent]->family;
  const auto size = std::count_if(streams_.begin(), streams_.end(), [family](const auto& stream) {
    return stream->family == family;
  });
  if (static_cast<size_t>(size) >= KvCache::kMaxSiblings) return;
  const Stream& from = *streams_[parent];
  auto fork = std::make_unique<Stream>(num_layers_, from.kv.tenant());
  static_cast<StreamModel&>(*fork) = from;
  fork->kv = cache_->Fork(from.kv);
  streams_.insert(streams_.begin() + static_cast<ptrdiff_t>(parent) + 1, std::move(fork));
  After(from.kv.compressed() ? "fork compressed" : "fork");
}

void RetentionWorld::EndStream(size_t index) {
  streams_.erase(streams_.begin() + static_cast<ptrdiff_t>(index));
  After("end stream");
}

// All its KV goes, and it begins again.
void RetentionWorld::Preempt(Stream* stream) {
  stream->kv = KvSequence(num_layers_, stream->kv.tenant());
  for (std::vector<Entry>& list : stream->lists) list.clear();
  stream->budgets.clear();
  stream->stands_on.clear();
  After("preempt");
  Begin(stream);
}

void RetentionWorld::Evict() {
  const int32_t tenant = static_cast<int32_t>(Draw(kTenants + 1)) - 1;
  const int64_t before = cache_->num_free_pages();
  switch (Draw(4)) {
    case 0:
      cache_->EvictAll(tenant);
      for (int32_t t = 0; t < kTenants; ++t) {
        if (tenant >= 0 && t != tenant) continue;
        EXPECT_EQ(cache_->index().evictable_pages(t), 0);
        EXPECT_EQ(cache_->snapshots().evictable_pages(t), 0);
      }
      After("evict all");
      return;
    case 1: {
      const int64_t pages = cache_->snapshots().EvictLowest(tenant);
      EXPECT_EQ(cache_->num_free_pages() - before, pages) << "what is evicted is free";
      After("evict snapshot");
      return;
    }
    default: {
      const int64_t pages = cache_->index().Evict(1 + Draw(20), tenant);
      EXPECT_EQ(cache_->num_free_pages() - before, pages) << "what is evicted is free";
      After("evict columns");
    }
  }
}

}  // namespace prefixd::testing
