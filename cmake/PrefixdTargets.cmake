# prefixd_in_batches(NAME): compiles the files of the target NAME several at a time, which reads their
# headers and instantiates their templates once. What they hold in anonymous namespaces must have
# different names. Only for what the release build also compiles file by file, which is where a
# missing include shows.
function(prefixd_in_batches NAME)
  set_target_properties(${NAME} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 8)
endfunction()

# prefixd_module(NAME [BATCHES] SOURCES a.cc ... DEPS lib ...): one static library per module. BATCHES:
# in batches where they are sanitized, which makes each file long to compile.
function(prefixd_module NAME)
  cmake_parse_arguments(ARG "BATCHES" "" "SOURCES;DEPS" ${ARGN})
  if(NOT ARG_SOURCES)
    add_library(${NAME} INTERFACE)
    target_link_libraries(${NAME} INTERFACE prefixd_flags ${ARG_DEPS})
    return()
  endif()
  add_library(${NAME} STATIC ${ARG_SOURCES})
  target_link_libraries(${NAME} PUBLIC prefixd_flags ${ARG_DEPS})
  if(ARG_BATCHES AND PREFIXD_SANITIZE)
    prefixd_in_batches(${NAME})
  endif()
endfunction()

# prefixd_binary(NAME SOURCES a.cc ... DEPS lib ...): an executable in bin/.
function(prefixd_binary NAME)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  add_executable(${NAME} ${ARG_SOURCES})
  target_link_libraries(${NAME} PRIVATE prefixd_flags ${ARG_DEPS})
endfunction()

# prefixd_read_test_headers(NAME lib ...): the files of NAME, which links the libraries, read precompiled
# headers (tests/CMakeLists.txt).
function(prefixd_read_test_headers NAME)
  if(PREFIXD_PRECOMPILED_HEADERS)
    set(headers prefixd_test_headers)
    if("${ARGN}" MATCHES "_server|_client|_e2e|prefixctl")
      set(headers prefixd_rpc_test_headers)
    endif()
    target_precompile_headers(${NAME} REUSE_FROM ${headers})
    target_compile_options(${NAME} PRIVATE -fpch-preprocess)
  endif()
endfunction()

# prefixd_test(NAME [BATCHES] SOURCES a_test.cc ... DEPS lib ... [TIMEOUT s] [LABELS l ...]): one gtest
# binary, one ctest entry. BATCHES: as of a module. Tests that may take long start first, so that none is
# left to run on its own. PREFIXD_SOURCE_DIR names the checkout, where goldens and models/demo lie.
function(prefixd_test NAME)
  cmake_parse_arguments(ARG "BATCHES" "TIMEOUT" "SOURCES;DEPS;LABELS" ${ARGN})
  add_executable(${NAME} ${ARG_SOURCES})
  if(ARG_BATCHES AND PREFIXD_SANITIZE)
    prefixd_in_batches(${NAME})
  endif()
  target_link_libraries(${NAME} PRIVATE prefixd_flags ${ARG_DEPS} GTest::gtest GTest::gmock
                        GTest::gtest_main)
  prefixd_read_test_headers(${NAME} ${ARG_DEPS})
  target_compile_definitions(${NAME} PRIVATE PREFIXD_SOURCE_DIR="${CMAKE_SOURCE_DIR}"
                             PREFIXD_BINARY_DIR="${CMAKE_BINARY_DIR}")
  set_target_properties(${NAME} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  add_test(NAME ${NAME} COMMAND ${NAME} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  if(PREFIXD_SANITIZE)
    math(EXPR ARG_TIMEOUT "${ARG_TIMEOUT} * 10")
  endif()
  set_tests_properties(${NAME} PROPERTIES TIMEOUT ${ARG_TIMEOUT} COST ${ARG_TIMEOUT})
  if(ARG_LABELS)
    set_tests_properties(${NAME} PROPERTIES LABELS "${ARG_LABELS}")
  endif()
endfunction()
