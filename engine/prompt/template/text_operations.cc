#include "engine/prompt/template/text_operations.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/prompt/template/characters.h"
#include "engine/prompt/template/limits.h"
#include "engine/tokenizer/unicode.h"

namespace prefixd::jinja {
namespace {

absl::Status CheckSearch(const Text& needle) {
  if (needle.size() <= kMaxSearchBytes) return absl::OkStatus();
  return Fail(absl::StrCat("a text of ", needle.size(), " bytes to search for, the limit is ",
                           kMaxSearchBytes));
}

absl::StatusOr<Value> ListOf(const std::vector<Text>& texts, Heap* heap) {
  PREFIXD_RETURN_IF_ERROR(heap->CheckItems(texts.size()));
  std::vector<Value> items;
  for (const Text& text : texts) {
    PREFIXD_ASSIGN_OR_RETURN(const Value item, heap->NewText(text));
    items.push_back(item);
  }
  return heap->NewList(std::move(items));
}

bool SpaceAt(absl::string_view text, size_t position) {
  return IsSpace(CharacterAt(text, position).code_point);
}

bool SpaceBefore(absl::string_view text, size_t position) {
  return IsSpace(CharacterBefore(text, position).code_point);
}

}  // namespace

absl::StatusOr<Value> StripText(const Text& text, const Text* chars, bool left, bool right,
                                Heap* heap) {
  absl::string_view set;
  PREFIXD_RETURN_IF_ERROR(heap->ChargeBytes(2 * text.size()));
  if (chars != nullptr) {
    PREFIXD_RETURN_IF_ERROR(CheckSearch(*chars));
    set = chars->view();
    PREFIXD_RETURN_IF_ERROR(heap->ChargeBytes(text.size() * (1 + set.size() / 16)));
  }
  const Bounds bounds = Strip(text.view(), chars != nullptr ? &set : nullptr, left, right);
  return heap->NewText(text.Slice(bounds.begin, bounds.end));
}

absl::StatusOr<Value> ReplaceText(const Text& text, const Text& from, const Text& to, int64_t count,
                                  Heap* heap) {
  PREFIXD_RETURN_IF_ERROR(CheckSearch(from));
  PREFIXD_RETURN_IF_ERROR(heap->ChargeBytes(4 * text.size()));
  const absl::string_view bytes = text.view();
  Text out;
  size_t done = 0;
  for (size_t at = 0; count != 0; --count) {
    const size_t found = bytes.find(from.view(), at);
    if (found == absl::string_view::npos) break;
    out.Append(text, done, found);
    out.Append(to);
    PREFIXD_RETURN_IF_ERROR(heap->CheckTextSize(out.size()));
    PREFIXD_RETURN_IF_ERROR(heap->ChargeBytes(64 + to.size()));
    done = found + from.size();
    at = done;
    if (!from.empty()) continue;
    // An empty text is found before every character and at the end.
    if (done == bytes.size()) break;
    at = done + CharacterAt(bytes, done).num_bytes;
  }
  out.Append(text, done, text.size());
  return heap->NewText(std::move(out));
}

absl::StatusOr<Value> SplitText(const Text& text, const Text* separator, int64_t count,
                                Heap* heap) {
  PREFIXD_RETURN_IF_ERROR(heap->ChargeBytes(4 * text.size()));
  const absl::string_view bytes = text.view();
  std::vector<Text> parts;
  size_t at = 0;
  if (separator != nullptr) {
    if (separator->empty()) return Fail("split: the separator is empty");
    PREFIXD_RETURN_IF_ERROR(CheckSearch(*separator));
    for (; count != 0; --count) {
      const size_t found = bytes.find(separator->view(), at);
      if (found == absl::string_view::npos) break;
      parts.push_back(text.Slice(at, found));
      PREFIXD_RETURN_IF_ERROR(heap->CheckItems(parts.size()));
      at = found + separator->size();
    }
    parts.push_back(text.Slice(at, text.size()));
    return ListOf(parts, heap);
  }
  const auto skip = [&] {
    while (at < bytes.size() && SpaceAt(bytes, at)) at += CharacterAt(bytes, at).num_bytes;
  };
  for (skip(); at < bytes.size() && count != 0; skip(), --count) {
    const size_t begin = at;
    while (at < bytes.size() && !SpaceAt(bytes, at)) at += CharacterAt(bytes, at).num_bytes;
    parts.push_back(text.Slice(begin, at));
    PREFIXD_RETURN_IF_ERROR(heap->CheckItems(parts.size()));
  }
  if (at < bytes.size()) parts.push_back(text.Slice(at, text.size()));
  return ListOf(parts, heap);
}

absl::StatusOr<Value> SplitTextFromRight(const Text& text, const Text* separator, int64_t count,
                                         Heap* heap) {
  PREFIXD_RETURN_IF_ERROR(heap->ChargeBytes(4 * text.size()));
  absl::string_view bytes = text.view();
  std::vector<Text> parts;
  if (separator != nullptr) {
    if (separator->empty()) return Fail("rsplit: the separator is empty");
    PREFIXD_RETURN_IF_ERROR(CheckSearch(*separator));
    for (; count != 0; --count) {
      const size_t found = bytes.rfind(separator->view());
      if (found == absl::string_view::npos) break;
      parts.push_back(text.Slice(found + separator->size(), bytes.size()));
      PREFIXD_RETURN_IF_ERROR(heap->CheckItems(parts.size()));
      bytes = bytes.substr(0, found);
    }
    parts.push_back(text.Slice(0, bytes.size()));
  } else {
    size_t at = bytes.size();
    const auto skip = [&] {
      while (at > 0 && SpaceBefore(bytes, at)) at -= CharacterBefore(bytes, at).num_bytes;
    };
    for (skip(); at > 0 && count != 0; skip(), --count) {
      const size_t end = at;
      while (at > 0 && !SpaceBefore(bytes, at)) at -= CharacterBefore(bytes, at).num_bytes;
      parts.push_back(text.Slice(at, end));
      PREFIXD_RETURN_IF_ERROR(heap->CheckItems(parts.size()));
    }
    if (at > 0) parts.push_back(text.Slice(0, at));
  }
  std::reverse(parts.begin(), parts.end());
  return ListOf(parts, heap);
}

std::vector<Text> SplitLines(const Text& text, bool keep_ends) {
  std::vector<Text> lines;
  const absl::string_view bytes = text.view();
  size_t begin = 0;
  for (size_t i = 0; i < bytes.size();) {
    const Character c = CharacterAt(bytes, i);
    size_t end = i + c.num_bytes;
    if (IsLineBreak(c.code_point)) {
      if (c.code_point == '\r' && end < bytes.size() && bytes[end] == '\n') ++end;
      lines.push_back(text.Slice(begin, keep_ends ? end : i));
      begin = end;
    }
    i = end;
  }
  if (begin < bytes.size()) lines.push_back(text.Slice(begin, bytes.size()));
  return lines;
}

}  // namespace prefixd::jinja
