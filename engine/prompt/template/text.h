// A string that remembers, byte by byte, who wrote it: the template, or a user. Every operation
// that keeps bytes keeps their marks, so that nothing a user typed can pass for the template's own
// text. A value; not thread-safe while it changes.
#ifndef PREFIXD_ENGINE_PROMPT_TEMPLATE_TEXT_H_
#define PREFIXD_ENGINE_PROMPT_TEMPLATE_TEXT_H_

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"

namespace prefixd::jinja {

enum class Mark : char { kTemplate, kUser };

class Text {
 public:
  Text() = default;
  explicit Text(absl::string_view bytes, Mark mark = Mark::kTemplate) { Append(bytes, mark); }

  absl::string_view view() const { return bytes_; }
  size_t size() const { return bytes_.size(); }
  bool empty() const { return bytes_.empty(); }

  // Requires: position < size().
  Mark mark(size_t position) const {
    return marks_.empty() ? uniform_ : static_cast<Mark>(marks_[position]);
  }

  void Append(absl::string_view bytes, Mark mark = Mark::kTemplate);
  void Append(const Text& other) { Append(other, 0, other.size()); }
  // Appends the bytes [begin, end) of `other`. Requires: begin <= end <= other.size().
  void Append(const Text& other, size_t begin, size_t end);

  // Requires: begin <= end <= size().
  Text Slice(size_t begin, size_t end) const;

  // Where the run of equal marks that holds `position` ends. Requires: position < size().
  size_t RunEnd(size_t position) const;

  // Whether every byte of [begin, end) is the template's. Requires: begin <= end <= size().
  bool IsTemplates(size_t begin, size_t end) const;

 private:
  std::string bytes_;
  Mark uniform_ = Mark::kTemplate;  // Of every byte while `marks_` is empty.
  std::string marks_;               // One a byte, or empty.
};

}  // namespace prefixd::jinja

#endif  // PREFIXD_ENGINE_PROMPT_TEMPLATE_TEXT_H_
