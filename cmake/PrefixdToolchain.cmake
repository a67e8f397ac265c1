# Compiler flags and libraries that every target of the project shares.
find_program(PREFIXD_CCACHE ccache)
if(PREFIXD_CCACHE)
  # What ccache asks for before it takes files that read a precompiled header.
  set(CMAKE_CXX_COMPILER_LAUNCHER env CCACHE_SLOPPINESS=pch_defines,time_macros ${PREFIXD_CCACHE})
endif()

find_package(Threads REQUIRED)
find_package(absl REQUIRED)
find_package(spdlog REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(Protobuf REQUIRED)
find_package(gRPC CONFIG REQUIRED)

add_library(prefixd_flags INTERFACE)
target_include_directories(prefixd_flags INTERFACE ${CMAKE_SOURCE_DIR})
# Kernel objects contract products explicitly; everywhere else a fused product would make the bits
# depend on the compiler (docs/decisions.md, rule 3).
target_compile_options(prefixd_flags INTERFACE
  "$<$<COMPILE_LANGUAGE:C,CXX>:-Wall;-Wextra;-Wno-missing-field-initializers>"
  "$<$<COMPILE_LANGUAGE:C,CXX>:-ffp-contract=off;-fstack-protector-strong>")
target_compile_definitions(prefixd_flags INTERFACE PREFIXD_VERSION="${PROJECT_VERSION}")
if(NOT PREFIXD_SANITIZE STREQUAL "")
  target_compile_options(prefixd_flags INTERFACE -fsanitize=${PREFIXD_SANITIZE}
                         -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(prefixd_flags INTERFACE -fsanitize=${PREFIXD_SANITIZE})
endif()
