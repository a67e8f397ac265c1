// The machine behind pickle.h: a stack, a memo and values that only hold data. Not thread-safe.
#ifndef PREFIXD_ENGINE_WEIGHTS_PICKLE_MACHINE_H_
#define PREFIXD_ENGINE_WEIGHTS_PICKLE_MACHINE_H_

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace prefixd {

enum class PickleKind : uint8_t {
  kMark,
  kNone,
  kBool,
  kInt,
  kFloat,  // Its value is of no interest.
  kString,
  kTuple,
  kList,
  kDict,    // `items`: key, value, key, value.
  kGlobal,  // `number`: a PickleGlobal or the index of a storage type.
  kStorage,
  kTensor,
};

// What a pickle may name, besides the storage types.
enum class PickleGlobal : int64_t { kOrderedDict = 1000, kRebuildTensor, kRebuildParameter };

using PickleId = uint32_t;

struct PickleValue {
  PickleKind kind = PickleKind::kNone;
  int64_t number = 0;      // Of a number, a global; of a storage its elements.
  absl::string_view text;  // A part of the pickle: of a string; of a storage its key.
  uint32_t items = 0;      // Of a container: index of its list. Of a storage: its global.
};

class PickleMachine {
 public:
  // `pickle` must outlive the machine.
  explicit PickleMachine(absl::string_view pickle) : pickle_(pickle) {}

  // Runs to STOP and returns the value on top.
  absl::StatusOr<PickleId> Run();

  const PickleValue& value(PickleId id) const { return values_[id]; }
  // Of a tuple, list, dictionary, or a tensor (what it was made of: storage, offset, size, stride).
  absl::Span<const PickleId> items(PickleId id) const { return lists_[values_[id].items]; }

 private:
  absl::Status Step(uint8_t opcode);
  absl::Status StepString(uint8_t opcode);
  absl::Status StepNumber(uint8_t opcode);
  absl::Status StepMemo(uint8_t opcode);
  absl::Status StepTuple(uint8_t opcode);
  absl::Status StepGlobal(uint8_t opcode);
  absl::Status Append(bool many);
  absl::Status SetItems(bool many);
  absl::Status Build();
  absl::Status Reduce();
  absl::Status MakeStorage();
  absl::Status PushGlobal(absl::string_view module, absl::string_view name);

  absl::Status Error(absl::string_view problem) const;
  absl::Status Push(const PickleValue& value);
  absl::Status PushAgain(PickleId id);
  absl::Status PushContainer(PickleKind kind, std::vector<PickleId> items);
  absl::StatusOr<PickleId> Pop();
  absl::StatusOr<PickleId> Top() const;
  // The values above the last mark; removes them and it.
  absl::StatusOr<std::vector<PickleId>> PopToMark();
  absl::StatusOr<absl::string_view> Take(uint64_t size);
  absl::StatusOr<uint64_t> TakeNumber(size_t bytes);
  absl::StatusOr<absl::string_view> TakeLine();

  const absl::string_view pickle_;
  size_t at_ = 0;         // Of the next byte.
  size_t opcode_at_ = 0;  // Of the opcode that runs.
  std::vector<PickleValue> values_;
  std::vector<std::vector<PickleId>> lists_;
  std::vector<PickleId> stack_;
  std::unordered_map<uint64_t, PickleId> memo_;
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_WEIGHTS_PICKLE_MACHINE_H_
