#include "bench/bars.h"

#include <cstdio>

namespace prefixd {

void Bars::AtMost(const std::string& what, double value, double bar) {
  Print(what, value, "<=", bar, value <= bar);
}

void Bars::AtLeast(const std::string& what, double value, double bar) {
  Print(what, value, ">=", bar, value >= bar);
}

void Bars::Print(const std::string& what, double value, const char* relation, double bar,
                 bool kept) {
  std::printf("%-64s %10.4g  (%s %.4g)%s\n", what.c_str(), value, relation, bar,
              kept ? "" : "  MISSED");
  std::fflush(stdout);
  missed_ = missed_ || !kept;
}

}  // namespace prefixd
