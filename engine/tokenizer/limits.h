// What a tokenizer file may ask for; checked before anything is allocated for it.
#ifndef PREFIXD_ENGINE_TOKENIZER_LIMITS_H_
#define PREFIXD_ENGINE_TOKENIZER_LIMITS_H_

#include <cstddef>

namespace prefixd {

inline constexpr size_t kMaxTokenizerFileBytes = size_t{64} << 20;
inline constexpr size_t kMaxVocabSize = size_t{1} << 20;  // Ids are below it.
inline constexpr size_t kMaxUnusedIds = size_t{1} << 16;  // Beside four for every token.
inline constexpr size_t kMaxMerges = size_t{1} << 21;
inline constexpr size_t kMaxTokenBytes = 4096;
inline constexpr size_t kMaxAddedTokens = size_t{1} << 16;
inline constexpr size_t kMaxChatTemplateBytes = size_t{256} << 10;

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_TOKENIZER_LIMITS_H_
