// Adversarial lookups in bulk: what is nearly there must match exactly as far as it is there.
#include <algorithm>
#include <cstdint>
#include <map>
#include <random>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "cache/prefix_index.h"
#include "tests/cache/prefix_fixture.h"

namespace prefixd {
namespace {

using testing::CommonLength;
using testing::kNamespaces;
using testing::kTenants;
using testing::MediaId;
using testing::NamespaceRoots;
using testing::Symbols;
using testing::Text;
using SymbolList = std::vector<int64_t>;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kQuestions = 20000;
#else
constexpr int kQuestions = 1000000;
#endif

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

TEST(PrefixIndexAdversary, IsNeverFooledByWhatIsNearlyThere) { AskOften(256, kQuestions / 5); }

TEST(PrefixIndexAdversary, IsNeverFooledWhenKeysCollide) { AskOften(8, kQuestions); }

}  // namespace
}  // namespace prefixd
