# Imported targets for the torch of the Python environment in use.
#
# find_package(Torch) is not used: for a CUDA build of torch it insists on a CUDA toolkit, which
# most users of the wheels do not have. The libraries and headers of the wheel are all that is
# needed, and its version is read from version.py without importing it.
#
# Defines: torch::cpu, torch::python (with pybind11 as torch bundles it),
#          TORCH_DIR, TORCH_VERSION, TORCH_CUDA, ZOODIP_TAG, Python_VERSION.

find_package(Python 3.10 REQUIRED COMPONENTS Interpreter Development.Module)

set(_isolated "")
if(SKBUILD) # pip builds a wheel
  set(_isolated "--isolated")
endif()
execute_process(
  COMMAND "${Python_EXECUTABLE}" "${CMAKE_SOURCE_DIR}/native/python/zoodip/_environment.py"
          ${_isolated}
  OUTPUT_VARIABLE _environment
  ERROR_VARIABLE _environment_error
  RESULT_VARIABLE _environment_result)
if(NOT _environment_result EQUAL 0)
  message(FATAL_ERROR "zoodip: ${Python_EXECUTABLE} cannot be asked for its torch: "
    "${_environment_error}")
endif()
string(JSON TORCH_DIR GET "${_environment}" torch_dir)
string(JSON TORCH_VERSION GET "${_environment}" torch)
string(JSON TORCH_CUDA GET "${_environment}" cuda)
string(JSON ZOODIP_TAG GET "${_environment}" tag) # of what is built for these
if(NOT TORCH_VERSION)
  message(FATAL_ERROR "zoodip: ${Python_EXECUTABLE} has no torch.\n"
    "Install it with `${Python_EXECUTABLE} -m pip install torch`, or run "
    "`python install.py --venv` for an environment of its own. Where pip builds in isolation "
    "and torch lies elsewhere, give it --no-build-isolation.")
endif()
if(NOT EXISTS "${TORCH_DIR}/include/ATen/ATen.h")
  message(FATAL_ERROR "zoodip: ${TORCH_DIR} holds no C++ headers (include/ATen); "
    "install torch from its wheels.")
endif()
message(STATUS "torch ${TORCH_VERSION} (CUDA: ${TORCH_CUDA}) at ${TORCH_DIR}")

set(TORCH_LIB_DIR "${TORCH_DIR}/lib")
function(_torch_import name)
  add_library(torch::${name} SHARED IMPORTED GLOBAL)
  set_target_properties(torch::${name} PROPERTIES
    IMPORTED_LOCATION
      "${TORCH_LIB_DIR}/${CMAKE_SHARED_LIBRARY_PREFIX}${name}${CMAKE_SHARED_LIBRARY_SUFFIX}"
    IMPORTED_IMPLIB "${TORCH_LIB_DIR}/${name}.lib")
endfunction()

_torch_import(c10)
_torch_import(torch_cpu)
_torch_import(torch_python)

add_library(torch_headers INTERFACE)
target_include_directories(torch_headers SYSTEM INTERFACE
  "${TORCH_DIR}/include" "${TORCH_DIR}/include/torch/csrc/api/include")
# With the second, a header of torch brings the operators that it needs and not all two thousand.
target_compile_definitions(torch_headers INTERFACE
  _GLIBCXX_USE_CXX11_ABI=1 AT_PER_OPERATOR_HEADERS)

add_library(torch_cpu_only INTERFACE)
target_link_libraries(torch_cpu_only INTERFACE torch_headers torch::torch_cpu torch::c10)
# at::parallel_for is a template over OpenMP and runs on one thread without it. The runtime is the
# wheel's own: a second one would have threads of its own, which wait for work by spinning.
file(GLOB _gomp "${TORCH_LIB_DIR}/libgomp*.so*" "${TORCH_DIR}/../torch.libs/libgomp*.so*")
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND _gomp)
  list(GET _gomp 0 _gomp)
  target_compile_options(torch_headers INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-fopenmp>)
  target_link_libraries(torch_cpu_only INTERFACE "${_gomp}")
endif()
# An older library of the system found first (libnccl, libcudart) must not fail our link:
# the wheel's own RPATH finds the right one at run time.
if(UNIX AND NOT APPLE)
  target_link_options(torch_cpu_only INTERFACE "-Wl,--allow-shlib-undefined")
endif()
add_library(torch::cpu ALIAS torch_cpu_only)

add_library(torch_and_python INTERFACE)
target_link_libraries(torch_and_python INTERFACE torch_cpu_only torch::torch_python)
target_include_directories(torch_and_python SYSTEM INTERFACE "${Python_INCLUDE_DIRS}")
add_library(torch::python ALIAS torch_and_python)
