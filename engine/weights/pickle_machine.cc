#include "engine/weights/pickle_machine.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/weights/pickle.h"

namespace prefixd {
namespace {

constexpr uint64_t kMaxStringBytes = 4096;

}  // namespace

absl::StatusOr<PickleId> PickleMachine::Run() {
  constexpr uint8_t kProto = 0x80, kStop = '.';
  constexpr int kFirstProtocol = 2, kLastProtocol = 5;
  if (pickle_.size() < 2 || static_cast<uint8_t>(pickle_[0]) != kProto ||
      pickle_[1] < kFirstProtocol || pickle_[1] > kLastProtocol) {
    return absl::InvalidArgumentError("the pickle does not begin with a protocol of 2 to 5");
  }
  at_ = 2;
  while (true) {
    opcode_at_ = at_;
    PREFIXD_ASSIGN_OR_RETURN(const absl::string_view opcode, Take(1));
    if (opcode[0] == kStop) break;
    PREFIXD_RETURN_IF_ERROR(Step(static_cast<uint8_t>(opcode[0])));
  }
  PREFIXD_ASSIGN_OR_RETURN(const PickleId result, Pop());
  if (!stack_.empty()) return Error("values are left on the stack");
  return result;
}

absl::Status PickleMachine::Step(uint8_t opcode) {
  switch (opcode) {
    case 0x95:  // FRAME
      return Take(8).status();
    case '(':
      return Push({.kind = PickleKind::kMark});
    case '0':
      return Pop().status();
    case 'N':
      return Push({.kind = PickleKind::kNone});
    case 0x88:  // NEWTRUE
    case 0x89:  // NEWFALSE
      return Push({.kind = PickleKind::kBool, .number = opcode == 0x88});
    case '}':
      return PushContainer(PickleKind::kDict, {});
    case ']':
      return PushContainer(PickleKind::kList, {});
    case 'a':
    case 'e':
      return Append(opcode == 'e');
    case 's':
    case 'u':
      return SetItems(opcode == 'u');
    case 'b':
      return Build();
    case 'R':
      return Reduce();
    case 'Q':  // BINPERSID
      return MakeStorage();
    case 'c':
    case 0x93:  // STACK_GLOBAL
      return StepGlobal(opcode);
    case ')':
    case 't':
    case 0x85:  // TUPLE1
    case 0x86:
    case 0x87:
      return StepTuple(opcode);
    case 'X':
    case 0x8c:  // SHORT_BINUNICODE
    case 0x8d:  // BINUNICODE8
      return StepString(opcode);
    case 'J':
    case 'K':
    case 'M':
    case 'G':
    case 0x8a:  // LONG1
      return StepNumber(opcode);
    case 'q':
    case 'r':
    case 'h':
    case 'j':
    case 0x94:  // MEMOIZE
      return StepMemo(opcode);
    default:
      return absl::UnimplementedError(absl::StrCat("opcode 0x", absl::Hex(opcode, absl::kZeroPad2),
                                                   " at byte ", opcode_at_,
                                                   " of the pickle is not one of a checkpoint"));
  }
}

absl::Status PickleMachine::StepString(uint8_t opcode) {
  PREFIXD_ASSIGN_OR_RETURN(const uint64_t size, TakeNumber(opcode == 'X'    ? 4
                                                           : opcode == 0x8c ? 1
                                                                            : 8));
  if (size > kMaxStringBytes) {
    return Error(absl::StrCat("a string has ", size, " bytes, the limit is ", kMaxStringBytes));
  }
  PREFIXD_ASSIGN_OR_RETURN(const absl::string_view text, Take(size));
  return Push({.kind = PickleKind::kString, .text = text});
}

absl::Status PickleMachine::StepNumber(uint8_t opcode) {
  if (opcode == 'G') {  // BINFLOAT
    PREFIXD_RETURN_IF_ERROR(Take(8).status());
    return Push({.kind = PickleKind::kFloat});
  }
  uint64_t size = opcode == 'J' ? 4 : opcode == 'K' ? 1 : 2;
  if (opcode == 0x8a) {
    PREFIXD_ASSIGN_OR_RETURN(size, TakeNumber(1));
    if (size > 8) return Error(absl::StrCat("an integer has ", size, " bytes, the limit is 8"));
  }
  PREFIXD_ASSIGN_OR_RETURN(uint64_t number, TakeNumber(size));
  const bool is_signed = opcode == 'J' || opcode == 0x8a;
  const bool is_negative = is_signed && size > 0 && (number >> (8 * size - 1) & 1) != 0;
  if (is_negative && size < 8) number |= ~uint64_t{0} << (8 * size);
  return Push({.kind = PickleKind::kInt, .number = static_cast<int64_t>(number)});
}

absl::Status PickleMachine::StepMemo(uint8_t opcode) {
  uint64_t key = memo_.size();
  if (opcode != 0x94) {
    PREFIXD_ASSIGN_OR_RETURN(key, TakeNumber(opcode == 'q' || opcode == 'h' ? 1 : 4));
  }
  if (opcode == 'h' || opcode == 'j') {
    const auto it = memo_.find(key);
    if (it == memo_.end()) return Error(absl::StrCat("nothing is remembered as ", key));
    return PushAgain(it->second);
  }
  PREFIXD_ASSIGN_OR_RETURN(const PickleId top, Top());
  memo_[key] = top;
  return absl::OkStatus();
}

absl::Status PickleMachine::StepTuple(uint8_t opcode) {
  if (opcode == ')') return PushContainer(PickleKind::kTuple, {});
  if (opcode == 't') {
    PREFIXD_ASSIGN_OR_RETURN(std::vector<PickleId> items, PopToMark());
    return PushContainer(PickleKind::kTuple, std::move(items));
  }
  std::vector<PickleId> items(opcode - 0x84);
  for (size_t i = items.size(); i > 0; --i) {
    PREFIXD_ASSIGN_OR_RETURN(items[i - 1], Pop());
  }
  return PushContainer(PickleKind::kTuple, std::move(items));
}

absl::Status PickleMachine::StepGlobal(uint8_t opcode) {
  if (opcode == 'c') {
    PREFIXD_ASSIGN_OR_RETURN(const absl::string_view module, TakeLine());
    PREFIXD_ASSIGN_OR_RETURN(const absl::string_view name, TakeLine());
    return PushGlobal(module, name);
  }
  PREFIXD_ASSIGN_OR_RETURN(const PickleId name, Pop());
  PREFIXD_ASSIGN_OR_RETURN(const PickleId module, Pop());
  if (value(name).kind != PickleKind::kString || value(module).kind != PickleKind::kString) {
    return Error("a global's name is not a string");
  }
  return PushGlobal(value(module).text, value(name).text);
}

absl::Status PickleMachine::Append(bool many) {
  std::vector<PickleId> items(1);
  if (many) {
    PREFIXD_ASSIGN_OR_RETURN(items, PopToMark());
  } else {
    PREFIXD_ASSIGN_OR_RETURN(items[0], Pop());
  }
  PREFIXD_ASSIGN_OR_RETURN(const PickleId list, Top());
  if (value(list).kind != PickleKind::kList) return Error("an item is put into what is no list");
  std::vector<PickleId>& out = lists_[value(list).items];
  out.insert(out.end(), items.begin(), items.end());
  return absl::OkStatus();
}

absl::Status PickleMachine::SetItems(bool many) {
  std::vector<PickleId> items(2);
  if (many) {
    PREFIXD_ASSIGN_OR_RETURN(items, PopToMark());
  } else {
    PREFIXD_ASSIGN_OR_RETURN(items[1], Pop());
    PREFIXD_ASSIGN_OR_RETURN(items[0], Pop());
  }
  PREFIXD_ASSIGN_OR_RETURN(const PickleId dict, Top());
  if (value(dict).kind != PickleKind::kDict || items.size() % 2 != 0) {
    return Error("an entry is put into what is no dictionary");
  }
  std::vector<PickleId>& out = lists_[value(dict).items];
  out.insert(out.end(), items.begin(), items.end());
  return absl::OkStatus();
}

// Attributes of a dictionary (_metadata of a state): of no interest.
absl::Status PickleMachine::Build() {
  PREFIXD_ASSIGN_OR_RETURN(const PickleId state, Pop());
  PREFIXD_ASSIGN_OR_RETURN(const PickleId object, Top());
  if (value(state).kind != PickleKind::kDict || value(object).kind != PickleKind::kDict) {
    return Error("attributes are given to what is no dictionary");
  }
  return absl::OkStatus();
}

absl::Status PickleMachine::Error(absl::string_view problem) const {
  return absl::InvalidArgumentError(
      absl::StrCat(problem, ", at byte ", opcode_at_, " of the pickle"));
}

absl::Status PickleMachine::Push(const PickleValue& value) {
  if (values_.size() >= kMaxPickleValues) {
    return Error(absl::StrCat("more than ", kMaxPickleValues, " values"));
  }
  values_.push_back(value);
  return PushAgain(static_cast<PickleId>(values_.size() - 1));
}

absl::Status PickleMachine::PushAgain(PickleId id) {
  if (stack_.size() >= kMaxPickleValues) {
    return Error(absl::StrCat("more than ", kMaxPickleValues, " values on the stack"));
  }
  stack_.push_back(id);
  return absl::OkStatus();
}

absl::Status PickleMachine::PushContainer(PickleKind kind, std::vector<PickleId> items) {
  const uint32_t list = static_cast<uint32_t>(lists_.size());
  lists_.push_back(std::move(items));
  return Push({.kind = kind, .items = list});
}

absl::StatusOr<PickleId> PickleMachine::Pop() {
  PREFIXD_ASSIGN_OR_RETURN(const PickleId top, Top());
  stack_.pop_back();
  return top;
}

absl::StatusOr<PickleId> PickleMachine::Top() const {
  if (stack_.empty() || value(stack_.back()).kind == PickleKind::kMark) {
    return Error("the stack is empty");
  }
  return stack_.back();
}

absl::StatusOr<std::vector<PickleId>> PickleMachine::PopToMark() {
  const auto mark = std::find_if(stack_.rbegin(), stack_.rend(), [this](PickleId id) {
    return value(id).kind == PickleKind::kMark;
  });
  if (mark == stack_.rend()) return Error("there is no mark on the stack");
  std::vector<PickleId> items(mark.base(), stack_.end());
  stack_.erase(mark.base() - 1, stack_.end());
  return items;
}

absl::StatusOr<absl::string_view> PickleMachine::Take(uint64_t size) {
  if (size > pickle_.size() - at_) return Error("the pickle is truncated");
  const absl::string_view bytes = pickle_.substr(at_, size);
  at_ += size;
  return bytes;
}

absl::StatusOr<uint64_t> PickleMachine::TakeNumber(size_t size) {
  PREFIXD_ASSIGN_OR_RETURN(const absl::string_view bytes, Take(size));
  uint64_t number = 0;
  for (size_t i = 0; i < size; ++i) number |= uint64_t{static_cast<uint8_t>(bytes[i])} << (8 * i);
  return number;
}

absl::StatusOr<absl::string_view> PickleMachine::TakeLine() {
  const absl::string_view rest = pickle_.substr(at_, kMaxStringBytes);
  const size_t end = rest.find('\n');
  if (end == absl::string_view::npos) return Error("a global's name has no end");
  at_ += end + 1;
  return rest.substr(0, end);
}

}  // namespace prefixd
