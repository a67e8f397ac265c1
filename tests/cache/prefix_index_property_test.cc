// The index against a model without keys, order or counts: a list of columns that is searched from
// end to end. Then adversarial lookups in bulk.
#include <algorithm>
#include <cstdint>
#include <map>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "cache/prefix_index.h"
#include "tests/cache/prefix_fixture.h"

namespace prefixd {
namespace {

using testing::CommonLength;
using testing::MediaId;
using testing::Symbols;
using testing::TestRoot;
using testing::Text;
using SymbolList = std::vector<int64_t>;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kSteps = 500;
constexpr int kQuestions = 20000;
#else
constexpr int kSteps = 2500;
constexpr int kQuestions = 1000000;
#endif

constexpr int kTenants = 3;
constexpr int kSalts = 2;
constexpr int kNamespaces = kTenants * kSalts;

std::vector<ContentKey> NamespaceRoots() {
  std::vector<ContentKey> roots;
  for (int i = 0; i < kNamespaces; ++i) {
    roots.push_back(
        TestRoot(absl::StrCat("tenant", i % kTenants), absl::StrCat("s", i / kTenants)));
  }
  return roots;
}

// A column of the model, found by its page.
struct Column {
  int name_space;
  SymbolList path;  // Everything from the root to its end.
  uint32_t cost;
  uint64_t clock = 0, used = 0;  // Of its last use, or that of a longer path.
  int pins = 0;
};

class Model {
 public:
  std::map<PageId, Column> columns;  // By the page of layer 0.
  uint64_t clock = 0, num_uses = 0;

  // The page of the column with this path; -1: none.
  PageId Find(int name_space, const SymbolList& path) const {
    for (const auto& [page, column] : columns) {
      if (column.name_space == name_space && column.path == path) return page;
    }
    return -1;
  }

  // Tokens of the longest match.
  int32_t Longest(int name_space, const SymbolList& symbols, int32_t limit) const {
    int32_t longest = 0;
    for (const auto& [page, column] : columns) {
      if (column.name_space != name_space) continue;
      longest = std::max(longest, std::min(limit, CommonLength(column.path, symbols)));
    }
    return longest;
  }

  void Use(PageId page) {
    columns.at(page).clock = clock;
    columns.at(page).used = ++num_uses;
  }

  bool Protected(const Column& column) const { return Below(column, true); }
  bool Leaf(const Column& column) const { return !Below(column, false); }

  int64_t Evictable(int tenant) const {
    int64_t count = 0;
    for (const auto& [page, column] : columns) {
      count += (tenant < 0 || column.name_space % kTenants == tenant) && !Protected(column);
    }
    return count;
  }

  bool EvictOne(int tenant) {
    PageId victim = -1;
    std::pair<uint64_t, uint64_t> best;
    for (const auto& [page, column] : columns) {
      if (tenant >= 0 && column.name_space % kTenants != tenant) continue;
      if (!Leaf(column) || Protected(column)) continue;
      const std::pair rank(column.clock + column.cost, column.used);
      if (victim < 0 || rank < best) victim = page, best = rank;
    }
    if (victim < 0) return false;
    const Column gone = columns.at(victim);
    columns.erase(victim);
    clock = std::max(clock, best.first);
    for (auto& [page, column] : columns) {
      if (!IsPrefix(column, gone) || gone.used < column.used) continue;
      if (column.path.size() + kSlotsPerPage != gone.path.size()) continue;
      column.clock = gone.clock;
      column.used = gone.used;
    }
    return true;
  }

 private:
  static bool IsPrefix(const Column& a, const Column& b) {
    return a.name_space == b.name_space && a.path.size() <= b.path.size() &&
           CommonLength(a.path, b.path) == static_cast<int32_t>(a.path.size());
  }
  // Whether there is a pin at or below, or anything below.
  bool Below(const Column& column, bool pinned) const {
    for (const auto& [page, other] : columns) {
      if (!IsPrefix(column, other)) continue;
      if (pinned ? other.pins > 0 : other.path.size() > column.path.size()) return true;
    }
    return false;
  }
};

class Simulation {
 public:
  Simulation(uint32_t seed, int key_bits)
      : random_(seed), index_({.num_layers = kLayers, .key_bits = key_bits, .max_ghosts = 50}) {}

  void Step() {
    const uint32_t dice = random_() % 100;
    if (dice < 35) {
      Publish();
    } else if (dice < 70) {
      Find();
    } else if (dice < 85) {
      if (!pins_.empty()) Unpin(random_() % pins_.size());
    } else if (dice < 90) {
      if (!pins_.empty()) Clone();
    } else if (dice < 99) {
      Evict(1 + random_() % 8, static_cast<int>(random_() % (kTenants + 1)) - 1);
    } else {
      Evict(INT32_MAX, static_cast<int>(random_() % (kTenants + 1)) - 1);  // A flush.
    }
    Check();
  }

  void Finish() {
    while (!pins_.empty()) Unpin(0);
    Evict(INT32_MAX, -1);
    Check();
    EXPECT_EQ(pool_.num_free(), kPages);
  }

  const PrefixIndex& index() const { return index_; }
  int64_t num_partial() const { return num_partial_; }

 private:
  static constexpr int kLayers = 2;
  static constexpr int32_t kPages = 4096;
  static constexpr size_t kMaxPins = 12;
  static constexpr size_t kMaxColumns = 150;
  struct Held {
    PrefixIndex::Pin pin;
    PageId page;  // -1: a root.
  };

  // Short texts over few tokens and images, often the beginning of another one.
  Text RandomText() {
    Text text;
    if (!texts_.empty() && random_() % 4 != 0) {
      const Text& old = texts_[random_() % texts_.size()];
      const int32_t size = 1 + random_() % old.size();
      text.ids.assign(old.ids.begin(), old.ids.begin() + size);
      for (MediaRun run : old.media) {
        run.num_rows = std::min(run.num_rows, size - run.row_begin);
        if (run.num_rows > 0) text.media.push_back(run);
      }
    }
    while (text.size() < 90 && (text.size() == 0 || random_() % 5 != 0)) {
      if (random_() % 4 == 0) {
        text.Image(random_() % 2, 1 + random_() % 30);
      } else {
        const int32_t count = 1 + random_() % 12;
        for (int32_t i = 0; i < count; ++i) text.ids.push_back(random_() % 2);
      }
    }
    if (texts_.size() < 40)
      texts_.push_back(text);
    else
      texts_[random_() % texts_.size()] = text;
    return text;
  }

  int RandomNamespace() {
    return random_() % 2 == 0 ? 0 : static_cast<int>(random_() % kNamespaces);
  }
  PrefixIndex::Pin Root(int name_space) {
    return index_.Root(roots_[name_space], name_space % kTenants);
  }

  void Publish() {
    const Text text = RandomText();
    const int name_space = RandomNamespace();
    const std::vector<ContentKey> keys = ColumnKeys(roots_[name_space], text.view());
    const SymbolList symbols = Symbols(text);
    const uint32_t cost = 1 + random_() % 3;
    PrefixIndex::Pin pin = Root(name_space);
    PageId page = -1;
    for (int32_t i = 0; i < text.num_columns() && model_.columns.size() < kMaxColumns; ++i) {
      const SymbolList path(symbols.begin(), symbols.begin() + (i + 1) * kSlotsPerPage);
      std::vector<PageRef> pages;
      for (int layer = 0; layer < kLayers; ++layer) pages.push_back(*pool_.Allocate());
      page = model_.Find(name_space, path);
      if (page < 0) {
        page = pages[0].id();
        model_.columns[page] = {name_space, path, cost};
      }
      model_.Use(page);
      pin = index_.Publish(pin, keys[i], text.view(), std::move(pages), cost);
      ASSERT_EQ(PageOf(pin), page);
    }
    Hold(std::move(pin), page);
  }

  void Find() {
    const Text text = RandomText();
    const int name_space = RandomNamespace();
    const std::vector<ContentKey> keys = ColumnKeys(roots_[name_space], text.view());
    const SymbolList symbols = Symbols(text);
    const int32_t limit = random_() % (text.size() + 1);
    const int32_t longest = model_.Longest(name_space, symbols, limit);
    ASSERT_EQ(index_.Peek(roots_[name_space], text.view(), keys, limit), longest);
    PrefixIndex::Match match = index_.Find(Root(name_space), text.view(), keys, limit);
    ASSERT_EQ(match.num_tokens(), longest);
    ASSERT_EQ(match.num_columns, longest / kSlotsPerPage);
    ASSERT_EQ(match.reason == MissReason::kNone, longest == limit);
    const SymbolList path(symbols.begin(), symbols.begin() + match.num_columns * kSlotsPerPage);
    const PageId page = match.num_columns == 0 ? -1 : model_.Find(name_space, path);
    ASSERT_EQ(PageOf(match.pin), page);
    // The order in which Find counts its uses: the whole columns, then the partial one. The root
    // is one of them when no column matched.
    if (page >= 0)
      model_.Use(page);
    else
      ++model_.num_uses;
    ASSERT_EQ(static_cast<bool>(match.partial), match.partial_tokens > 0);
    if (match.partial) {
      ++num_partial_;
      const PageId partial = PageOf(match.partial);
      const Column& column = model_.columns.at(partial);
      ASSERT_EQ(column.name_space, name_space);
      ASSERT_EQ(column.path.size(), path.size() + kSlotsPerPage);
      ASSERT_GE(CommonLength(column.path, symbols), longest);
      model_.Use(partial);
      Hold(std::move(match.partial), partial);
    }
    Hold(std::move(match.pin), page);
  }

  // Keeps the pin for a while, or not at all.
  void Hold(PrefixIndex::Pin pin, PageId page) {
    if (pins_.size() >= kMaxPins || random_() % 2 == 0) return;
    if (page >= 0) ++model_.columns.at(page).pins;
    pins_.push_back({std::move(pin), page});
  }

  void Unpin(size_t i) {
    if (pins_[i].page >= 0) --model_.columns.at(pins_[i].page).pins;
    pins_.erase(pins_.begin() + i);
  }

  void Clone() {
    if (pins_.size() >= kMaxPins) return;
    const Held& held = pins_[random_() % pins_.size()];
    if (held.page >= 0) ++model_.columns.at(held.page).pins;
    pins_.push_back({held.pin.Clone(), held.page});
  }

  void Evict(int64_t num_pages, int tenant) {
    int64_t expected = 0;
    while (expected < num_pages && model_.EvictOne(tenant)) expected += kLayers;
    ASSERT_EQ(index_.Evict(num_pages, tenant), expected);
  }

  void Check() {
    index_.CheckInvariants();
    pool_.CheckInvariants();
    for (int tenant = 0; tenant < kTenants; ++tenant) {
      ASSERT_EQ(index_.evictable_pages(tenant), model_.Evictable(tenant) * kLayers);
    }
    ASSERT_EQ(index_.evictable_pages(), model_.Evictable(-1) * kLayers);
    std::set<PageId> pages;
    index_.ForEachPage([&](PageId page, bool pinned) {
      pages.insert(page);
      const auto column = model_.columns.find(page);
      if (column != model_.columns.end()) {
        ASSERT_EQ(pinned, model_.Protected(column->second));
      }
    });
    ASSERT_EQ(pages.size(), model_.columns.size() * kLayers);
    for (const auto& [page, column] : model_.columns) ASSERT_TRUE(pages.contains(page));
    ASSERT_EQ(kPages - pool_.num_free(), index_.num_pages());
  }

  PageId PageOf(const PrefixIndex::Pin& pin) const {
    const absl::Span<const PageRef> pages = index_.pages(pin.node());
    return pages.empty() ? -1 : pages[0].id();
  }

  std::mt19937 random_;
  const std::vector<ContentKey> roots_ = NamespaceRoots();
  PagePool pool_{kPages};
  PrefixIndex index_;
  Model model_;
  std::vector<Text> texts_;
  std::vector<Held> pins_;
  int64_t num_partial_ = 0;
};

TEST(PrefixIndexProperty, AgreesWithAListThatIsSearchedFromEndToEnd) {
  for (const int key_bits : {256, 8}) {
    for (const uint32_t seed : {1u, 2u, 3u}) {
      SCOPED_TRACE(absl::StrCat("key_bits ", key_bits, " seed ", seed));
      Simulation simulation(seed, key_bits);
      for (int step = 0; step < kSteps; ++step) {
        simulation.Step();
        if (HasFatalFailure()) FAIL() << "step " << step;
      }
      EXPECT_GT(simulation.num_partial(), kSteps / 20);
      EXPECT_GT(simulation.index().counters().evicted, kSteps / 10u);
      EXPECT_GT(simulation.index().counters().duplicates, kSteps / 50u);
      EXPECT_EQ(simulation.index().counters().collisions > 0, key_bits == 8);
      simulation.Finish();
    }
  }
}

// Prompts that are all cached, and questions that nearly are.
class Adversary {
 public:
  Adversary(uint32_t seed, int key_bits)
      : random_(seed), index_({.num_layers = 1, .key_bits = key_bits}) {
    for (int i = 0; i < kPrompts; ++i) {
      prompts_.push_back({static_cast<int>(random_() % kNamespaces), BaseText(), {}});
      Prompt& prompt = prompts_.back();
      prompt.symbols = Symbols(prompt.text);
      const ContentKey& root = roots_[prompt.name_space];
      pins_.push_back(
          testing::PublishAll(&index_, &pool_, 1, root, prompt.name_space % kTenants, prompt.text));
      prompt.symbols.resize(prompt.text.num_columns() * kSlotsPerPage);
      for (const auto* node = pins_.back().node(); index_.depth(node) > 0;
           node = index_.parent(node)) {
        owners_[index_.pages(node)[0].id()] = {i, index_.depth(node)};
      }
    }
  }

  void Ask() {
    const Prompt& base = prompts_[random_() % kPrompts];
    int name_space = base.name_space;
    Text text = base.text;
    switch (random_() % 8) {
      case 0:  // One token.
        text.ids[random_() % text.size()] ^= 1;
        break;
      case 1:  // Another image of equal size, or of other dimensions and as many rows.
        Image(&text)->media_id = MediaId(random_() % 4);
        break;
      case 2:  // One row less of the image; its last row's place keeps the placeholder.
        --Image(&text)->num_rows;
        break;
      case 3:  // The image begins one token later.
        ++Image(&text)->row_begin;
        break;
      case 4: {  // Two columns change places.
        const int32_t a = random_() % text.num_columns(), b = random_() % text.num_columns();
        std::swap_ranges(text.ids.begin() + a * kSlotsPerPage,
                         text.ids.begin() + (a + 1) * kSlotsPerPage,
                         text.ids.begin() + b * kSlotsPerPage);
        break;
      }
      case 5: {  // Another parent: the first column is gone.
        text.ids.erase(text.ids.begin(), text.ids.begin() + kSlotsPerPage);
        for (MediaRun& run : text.media) run.row_begin -= kSlotsPerPage;
        break;
      }
      case 6:  // Another tenant or another salt.
        name_space = static_cast<int>(random_() % kNamespaces);
        break;
      default:  // The prompt itself.
        break;
    }
    Check(name_space, text);
  }

  const PrefixIndex& index() const { return index_; }
  int64_t num_whole() const { return num_whole_; }

 private:
  static constexpr int kPrompts = 180;
  static constexpr int32_t kPages = 4096;
  struct Prompt {
    int name_space;
    Text text;
    SymbolList symbols;  // Of whole columns.
  };

  // Begins with a column of text, has one image, ends with text; one of few beginnings.
  Text BaseText() {
    Text text = Text().Count(0, 14).Count(random_() % 2, 5 + random_() % 12);
    text.Image(random_() % 3, 20 + random_() % 3);
    return text.Count(random_() % 4 * 2, 30 + random_() % 10);
  }

  static MediaRun* Image(Text* text) { return &text->media[0]; }

  void Check(int name_space, const Text& text) {
    const SymbolList symbols = Symbols(text);
    const int32_t limit = text.size() - static_cast<int32_t>(random_() % 2);
    int32_t longest = 0;
    for (const Prompt& prompt : prompts_) {
      if (prompt.name_space != name_space) continue;
      longest = std::max(longest, std::min(limit, CommonLength(prompt.symbols, symbols)));
    }
    const ContentKey& root = roots_[name_space];
    const PrefixIndex::Match match = index_.Find(index_.Root(root, name_space % kTenants),
                                                 text.view(), ColumnKeys(root, text.view()), limit);
    ASSERT_EQ(match.num_tokens(), longest);
    if (match.num_columns > 0) {
      ++num_whole_;
      Verify(match.pin, name_space, symbols, match.num_columns * kSlotsPerPage);
    }
    if (match.partial) Verify(match.partial, name_space, symbols, match.num_tokens());
  }

  // The KV in the pages of `pin` was computed from the first `count` of `symbols`.
  void Verify(const PrefixIndex::Pin& pin, int name_space, const SymbolList& symbols,
              int32_t count) {
    const auto [owner, depth] = owners_.at(index_.pages(pin.node())[0].id());
    ASSERT_EQ(prompts_[owner].name_space, name_space);
    ASSERT_EQ(depth, (count + kSlotsPerPage - 1) / kSlotsPerPage);
    ASSERT_GE(CommonLength(prompts_[owner].symbols, symbols), count);
  }

  std::mt19937 random_;
  const std::vector<ContentKey> roots_ = NamespaceRoots();
  PagePool pool_{kPages};
  PrefixIndex index_;
  std::vector<Prompt> prompts_;
  std::vector<PrefixIndex::Pin> pins_;
  std::map<PageId, std::pair<int, int32_t>> owners_;  // Page -> one prompt of it, depth.
  int64_t num_whole_ = 0;
};

void AskOften(int key_bits, int count) {
  Adversary adversary(5, key_bits);
  for (int i = 0; i < count; ++i) {
    adversary.Ask();
    if (::testing::Test::HasFatalFailure()) FAIL() << "question " << i;
  }
  EXPECT_GT(adversary.num_whole(), count / 2);
  EXPECT_EQ(adversary.index().counters().collisions > 0, key_bits == 8);
  adversary.index().CheckInvariants();
}

TEST(PrefixIndexProperty, IsNeverFooledByWhatIsNearlyThere) { AskOften(256, kQuestions / 5); }

TEST(PrefixIndexProperty, IsNeverFooledWhenKeysCollide) { AskOften(8, kQuestions); }

}  // namespace
}  // namespace prefixd
