// The real loader on a driver and modules that only play them (fake_driver.cc, fake_module.cc).
#include "engine/backend/cuda_loader.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "engine/backend/cuda/module.h"

namespace prefixd {
namespace {

using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;

std::string Fake(absl::string_view name) { return absl::StrCat(FAKE_CUDA_DIR, "/", name); }

class CudaLoaderTest : public ::testing::Test {
 protected:
  ~CudaLoaderTest() override {
    for (const std::string& name : set_) unsetenv(name.c_str());
  }
  void Say(const std::string& what, const std::string& value) {
    set_.push_back("PREFIXD_FAKE_CUDA_" + what);
    setenv(set_.back().c_str(), value.c_str(), 1);
  }
  absl::StatusOr<std::unique_ptr<Backend>> Load(const std::string& module,
                                                BackendOptions options = {}) const {
    return LoadCudaBackend(options,
                           {.driver = Fake("driver/libcuda.so.1"), .modules = {Fake(module)}});
  }
  // The line of a failure that is FAILED_PRECONDITION.
  std::string Refusal(const std::string& module = "libfake_cuda_module.so",
                      BackendOptions options = {}) const {
    const absl::Status status = Load(module, options).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
    EXPECT_THAT(std::string(status.message()), ::testing::StartsWith("cuda: "));
    EXPECT_EQ(status.message().find('\n'), absl::string_view::npos);
    return std::string(status.message());
  }

 private:
  std::vector<std::string> set_;
};

TEST_F(CudaLoaderTest, WithoutADriverLibraryItIsNotFoundAndSoon) {
  const absl::Time begin = absl::Now();
  const auto backend = LoadCudaBackend({}, {.driver = "libcuda_of_nobody.so.1"});
  EXPECT_LT(absl::Now() - begin, absl::Milliseconds(100));
  EXPECT_EQ(backend.status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(backend.status().message(),
            "cuda: no NVIDIA driver on this machine (libcuda_of_nobody.so.1: cannot open shared "
            "object file: No such file or directory)");
}

TEST_F(CudaLoaderTest, ALibraryThatIsNoDriverIsRefused) {
  const auto status = LoadCudaBackend({}, {.driver = Fake("libfake_cuda_no_entry.so")}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("libfake_cuda_no_entry.so has no cuInit"));
}

TEST_F(CudaLoaderTest, AnOldDriverIsToldByItsVersion) {
  Say("VERSION", "12080");
  Say("INIT", "803");  // It would not start either; the version says more.
  EXPECT_EQ(Refusal(),
            "cuda: the NVIDIA driver serves CUDA 12.8, needed: 13.0 or later (driver release 580)");
}

TEST_F(CudaLoaderTest, ADriverThatDoesNotStartIsQuoted) {
  Say("INIT", "803");
  EXPECT_EQ(
      Refusal(),
      "cuda: the NVIDIA driver does not work: cuInit says 803 (system has unsupported display "
      "driver / cuda driver combination)");
  Say("INIT", "999");
  EXPECT_THAT(Refusal(), EndsWith("cuInit says 999 (unknown error)"));
}

TEST_F(CudaLoaderTest, NoCardIsSaidWhetherTheDriverStartsOrNot) {
  Say("INIT", "100");
  EXPECT_THAT(Refusal(), HasSubstr("the NVIDIA driver shows no card to this process"));
  Say("INIT", "0");
  Say("DEVICES", "0");
  EXPECT_THAT(Refusal(), HasSubstr("the NVIDIA driver shows no card to this process"));
}

TEST_F(CudaLoaderTest, ACardThatIsNotThereIsRefusedWithThoseThatAre) {
  EXPECT_EQ(Refusal("libfake_cuda_module.so", {.cuda_device = 1}),
            "cuda: there is no card 1; cuda_device may be 0");
  Say("DEVICES", "4");
  EXPECT_EQ(Refusal("libfake_cuda_module.so", {.cuda_device = 4}),
            "cuda: there is no card 4; cuda_device may be 0 to 3");
  EXPECT_THAT(Refusal("libfake_cuda_module.so", {.cuda_device = -1}), HasSubstr("no card -1"));
}

TEST_F(CudaLoaderTest, AnOldCardIsNamedWithWhatItLacks) {
  Say("DEVICES", "2");
  Say("CAPABILITY", "75");
  EXPECT_EQ(Refusal("libfake_cuda_module.so", {.cuda_device = 1}),
            "cuda: card 1 (Fake Card 1) has compute capability 7.5, needed: 8.0 or later");
}

TEST_F(CudaLoaderTest, TheLeastDriverAndCardWillDo) {
  Say("VERSION", "13000");
  Say("CAPABILITY", "80");
  EXPECT_TRUE(Load("libfake_cuda_module.so").ok());
  Say("CAPABILITY", "121");
  EXPECT_TRUE(Load("libfake_cuda_module.so").ok());
}

TEST_F(CudaLoaderTest, AMissingModuleIsLookedForInNamedPlaces) {
  EXPECT_EQ(Refusal("libnothing.so"),
            absl::StrCat("cuda: no module at ", Fake("libnothing.so"),
                         "; build it with PREFIXD_CUDA=ON or name it with cuda_module"));
  EXPECT_EQ(Refusal("libfake_cuda_module.so", {.cuda_module = "/nowhere/module.so"}),
            "cuda: cuda_module is /nowhere/module.so, no such file");
}

TEST_F(CudaLoaderTest, AModuleWithoutASlashIsAFileOfTheWorkingFolder) {
  // libm.so.6 is where the system looks, not here.
  EXPECT_EQ(Refusal("libfake_cuda_module.so", {.cuda_module = "libm.so.6"}),
            "cuda: cuda_module is libm.so.6, no such file");
}

TEST_F(CudaLoaderTest, ADefaultModuleLiesBesideTheProgram) {
  const std::vector<std::string> files = DefaultCudaModules();
  ASSERT_EQ(files.size(), 3u);
  EXPECT_EQ(files[0], PREFIXD_BINARY_DIR "/lib/prefixd/libprefixd_cuda.so");
  EXPECT_EQ(files[1], PREFIXD_BINARY_DIR "/lib64/prefixd/libprefixd_cuda.so");
  EXPECT_EQ(files[2], PREFIXD_BINARY_DIR "/tests/libprefixd_cuda.so");
}

TEST_F(CudaLoaderTest, AModuleThatLacksALibraryNamesIt) {
  EXPECT_THAT(Refusal("libfake_cuda_needs.so"),
              AllOf(HasSubstr("libfake_cuda_needs.so cannot be loaded: libfake_cuda_dependency.so: "
                              "cannot open shared object file"),
                    EndsWith("install that library (CUDA 13) or put it beside the module")));
}

TEST_F(CudaLoaderTest, AFileThatIsNoLibraryIsRefused) {
  const std::string file = absl::StrCat(::testing::TempDir(), "/no_module_", getpid(), ".so");
  std::ofstream(file) << "text";
  EXPECT_THAT(
      Refusal("", {.cuda_module = file}),
      AllOf(HasSubstr(file), HasSubstr("cannot be loaded"), ::testing::Not(HasSubstr("install"))));
  unlink(file.c_str());
}

TEST_F(CudaLoaderTest, AModuleWithoutTheEntryIsOfAnotherVersion) {
  EXPECT_THAT(Refusal("libfake_cuda_no_entry.so"),
              EndsWith("libfake_cuda_no_entry.so has no prefixd_cuda_module_v1; it is not a module "
                       "of this version of prefixd"));
}

TEST_F(CudaLoaderTest, AModuleOfAnotherBuildIsToldByItsNumber) {
  EXPECT_THAT(
      Refusal("libfake_cuda_other_abi.so"),
      EndsWith(absl::StrCat("has interface ", cuda::kModuleAbi + 1, ", needed: ", cuda::kModuleAbi,
                            "; program and module must come from one build")));
}

TEST_F(CudaLoaderTest, AModuleThatIsOfNoUseIsUnloaded) {
  Refusal("libfake_cuda_other_abi.so");
  EXPECT_EQ(dlopen(Fake("libfake_cuda_other_abi.so").c_str(), RTLD_NOW | RTLD_NOLOAD), nullptr);
}

// What the module makes works in the program: objects, virtual calls, buffers, errors and their
// details, the log.
TEST_F(CudaLoaderTest, TheBackendOfAModuleComputes) {
  Say("DEVICES", "3");
  auto loaded = Load("libfake_cuda_module.so", {.cuda_device = 2});
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  Backend& backend = **loaded;
  EXPECT_EQ(backend.info().name, "cuda");
  EXPECT_EQ(backend.info().device, "Fake Card 2");
  const OwnedTensor x = backend.NewTensor(1, 3).value(), y = backend.NewTensor(1, 3).value();
  const std::vector<float> values = {1, 2, 3};
  ASSERT_TRUE(backend.Upload(values, x.view).ok());
  ASSERT_TRUE(backend.Add(x.view, y.view).ok());
  ASSERT_TRUE(backend.Add(x.view, y.view).ok());
  std::vector<float> sums(3);
  ASSERT_TRUE(backend.Download(y.view, absl::MakeSpan(sums)).ok());
  EXPECT_EQ(sums, std::vector<float>({2, 4, 6}));
  EXPECT_EQ(backend.NewTensor(1, INT64_MAX).status().code(), absl::StatusCode::kResourceExhausted);
}

TEST_F(CudaLoaderTest, WhatTheModuleSaysIsPassedOnWithItsDetails) {
  const absl::Status status = Load("libfake_cuda_module.so", {.deterministic = true}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(status.message(), "no memory for that");
  const auto detail = GetErrorDetail(status);
  ASSERT_TRUE(detail.has_value());
  EXPECT_EQ(detail->reason, "FAKE");
}

TEST_F(CudaLoaderTest, TheModuleLogsAsTheProgramDoes) {
  ConfigureLog(LogLevel::kInfo, LogFormat::kJson);
  ::testing::internal::CaptureStderr();
  ASSERT_TRUE(Load("libfake_cuda_module.so").ok());
  EXPECT_THAT(::testing::internal::GetCapturedStderr(),
              HasSubstr(R"("level":"info","msg":"the fake module says \"hello\""})"));
  ConfigureLog(LogLevel::kError, LogFormat::kText);
  ::testing::internal::CaptureStderr();
  ASSERT_TRUE(Load("libfake_cuda_module.so").ok());
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
  ConfigureLog(LogLevel::kInfo, LogFormat::kText);
}

}  // namespace
}  // namespace prefixd
