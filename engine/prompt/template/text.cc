#include "engine/prompt/template/text.h"

namespace prefixd::jinja {

void Text::Append(absl::string_view bytes, Mark mark) {
  if (bytes.empty()) return;
  if (bytes_.empty()) {
    uniform_ = mark;
  } else if (marks_.empty() && mark != uniform_) {
    marks_.assign(bytes_.size(), static_cast<char>(uniform_));
  }
  bytes_.append(bytes.data(), bytes.size());
  if (!marks_.empty()) marks_.append(bytes.size(), static_cast<char>(mark));
}

void Text::Append(const Text& other, size_t begin, size_t end) {
  while (begin < end) {
    size_t run = other.marks_.empty() ? end : other.RunEnd(begin);
    if (run > end) run = end;
    Append(other.view().substr(begin, run - begin), other.mark(begin));
    begin = run;
  }
}

Text Text::Slice(size_t begin, size_t end) const {
  Text slice;
  slice.Append(*this, begin, end);
  return slice;
}

size_t Text::RunEnd(size_t position) const {
  if (marks_.empty()) return size();
  const size_t end = marks_.find_first_not_of(marks_[position], position);
  return end == std::string::npos ? size() : end;
}

bool Text::IsTemplates(size_t begin, size_t end) const {
  for (; begin < end; begin = RunEnd(begin)) {
    if (mark(begin) != Mark::kTemplate) return false;
  }
  return true;
}

}  // namespace prefixd::jinja
