// What a template may ask for. Bounds the time and memory of a render whatever the template does.
#ifndef PREFIXD_ENGINE_PROMPT_TEMPLATE_LIMITS_H_
#define PREFIXD_ENGINE_PROMPT_TEMPLATE_LIMITS_H_

#include <cstddef>
#include <cstdint>

namespace prefixd::jinja {

inline constexpr size_t kMaxTemplateBytes = size_t{256} << 10;
inline constexpr int kMaxNesting = 64;           // Of blocks, of an expression, of macro calls.
inline constexpr int kMaxEvaluationDepth = 512;  // Of expressions and blocks in all macro calls.
inline constexpr int kMaxValueDepth = 64;        // Of lists in lists when printed or compared.
inline constexpr uint64_t kMaxSteps = 2'000'000;
inline constexpr size_t kMaxItems = 100'000;     // Of a list, range or dict.
inline constexpr uint64_t kBytesPerStep = 64;    // Producing or searching text costs steps, too.
inline constexpr size_t kMaxSearchBytes = 4096;  // Of a set of characters to strip.
inline constexpr uint64_t kMaxTextBytes = uint64_t{32} << 20;
// All strings of a render together, in units of its greatest output.
inline constexpr uint64_t kMaxOutputsInMemory = 16;

}  // namespace prefixd::jinja

#endif  // PREFIXD_ENGINE_PROMPT_TEMPLATE_LIMITS_H_
