// Tokens that each layer of LLaVA-1.5-7B forgets of a prompt of 640, after the published offline
// profiles (THU-MIG/PrefixKV, MIT licence): RoundHalfEven(ratio * 640).
#ifndef PREFIXD_TESTS_CACHE_PROFILE_COUNTS_H_
#define PREFIXD_TESTS_CACHE_PROFILE_COUNTS_H_

#include <array>
#include <cstdint>

namespace prefixd::testing {

constexpr int32_t kProfilePrompt = 640;
constexpr int kProfileLayers = 32;
using ProfileCounts = std::array<int32_t, kProfileLayers>;

// Half of everything.
constexpr ProfileCounts kForgotten50 = {73,  154, 221, 369, 364, 449, 313, 286, 290, 242, 219,
                                        188, 274, 300, 316, 283, 334, 341, 362, 407, 322, 489,
                                        412, 433, 428, 390, 433, 412, 308, 384, 247, 179};
// Four fifths of everything. One layer keeps six tokens.
constexpr ProfileCounts kForgotten80 = {179, 278, 415, 582, 596, 625, 540, 502, 486, 430, 398,
                                        367, 432, 475, 513, 457, 538, 548, 565, 598, 557, 634,
                                        622, 621, 628, 614, 630, 629, 514, 603, 456, 337};

}  // namespace prefixd::testing

#endif  // PREFIXD_TESTS_CACHE_PROFILE_COUNTS_H_
