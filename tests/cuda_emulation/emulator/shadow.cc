#include "tests/cuda_emulation/emulator/shadow.h"

#include <algorithm>
#include <utility>

namespace prefixd::emu {

Shadow::Page* Shadow::FindOrMakePage(uintptr_t number) {
  std::unique_ptr<Page>& page = pages_[number];
  if (page == nullptr) {
    page = std::make_unique<Page>();
    page->number = number;
    page->cells.resize(kPageBytes / page->unit);
  }
  return page.get();
}

void Shadow::Split(Page* page, size_t unit) {
  std::vector<ShadowCell> cells(kPageBytes / unit);
  for (size_t i = 0; i < cells.size(); ++i) cells[i] = page->cells[i * unit / page->unit];
  page->unit = unit;
  page->cells = std::move(cells);
}

void Shadow::Clear() {
  std::fill(std::begin(recent_), std::end(recent_), nullptr);
  pages_.clear();
}

}  // namespace prefixd::emu
