#include "engine/memory.h"

#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

namespace prefixd {
namespace {

class MemoryTest : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = ::testing::TempDir() + "prefixd_memory";
    std::filesystem::remove_all(root_);
    Write("/proc/meminfo", "MemTotal:  4000 kB\nMemFree:  100 kB\nMemAvailable:  3000 kB\n");
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  void Write(const std::string& path, const std::string& text) {
    std::filesystem::create_directories((root_ + path).substr(0, (root_ + path).rfind('/')));
    std::ofstream(root_ + path) << text;
  }

  std::string root_;
};

TEST_F(MemoryTest, TakesWhatTheMachineHasAvailable) {
  EXPECT_EQ(AvailableMemoryBytes(root_), 3000u * 1024);
}

TEST_F(MemoryTest, ACgroupLeavesItsLimitLessItsUsage) {
  Write("/proc/self/cgroup", "0::/pod/box\n");
  Write("/sys/fs/cgroup/pod/box/memory.max", "1000000\n");
  Write("/sys/fs/cgroup/pod/box/memory.current", "400000\n");
  EXPECT_EQ(AvailableMemoryBytes(root_), 600000u);
}

TEST_F(MemoryTest, AnAncestorCgroupBindsToo) {
  Write("/proc/self/cgroup", "0::/pod/box\n");
  Write("/sys/fs/cgroup/pod/box/memory.max", "max\n");
  Write("/sys/fs/cgroup/pod/box/memory.current", "400000\n");
  Write("/sys/fs/cgroup/pod/memory.max", "500000\n");
  Write("/sys/fs/cgroup/pod/memory.current", "450000\n");
  EXPECT_EQ(AvailableMemoryBytes(root_), 50000u);
}

TEST_F(MemoryTest, ReadsTheOldCgroupHierarchy) {
  Write("/proc/self/cgroup", "5:cpu:/a\n4:memory:/a\n");
  Write("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "800000\n");
  Write("/sys/fs/cgroup/memory/a/memory.usage_in_bytes", "300000\n");
  EXPECT_EQ(AvailableMemoryBytes(root_), 500000u);
}

TEST_F(MemoryTest, AFullCgroupLeavesNothing) {
  Write("/proc/self/cgroup", "0::/\n");
  Write("/sys/fs/cgroup/memory.max", "1000\n");
  Write("/sys/fs/cgroup/memory.current", "2000\n");
  EXPECT_EQ(AvailableMemoryBytes(root_), 0u);
}

}  // namespace
}  // namespace prefixd
