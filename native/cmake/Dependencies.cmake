# Third-party libraries: found as packages of the system first. The header-only ones come by
# FetchContent, pinned to a commit, where there is no package; the others are named with the
# command that installs them. None is copied into this repository.
#
#   nlohmann/json  JSON with exact round trips and clear errors
#   CLI11          command lines with typed, validated options
#   libjpeg-turbo, libpng, libwebp  the decoders that browsers use
#   zlib           checksums of kept curves; libpng stands on it, so that it is there already
#   lcms2          colours of a camera's or a screen's profile as sRGB; what Pillow has
#   libheif (1.12), giflib (5), stb_image  HEIC and AVIF, GIF, BMP. A build without one of them says
#                  so when such a picture comes
#   Asio           sockets on every system, headers only, no Boost needed; docs/HTTP.md says why no
#                  HTTP library stands above it
#   utf8proc       Unicode categories, case and NFC in 300 KB
#   jemalloc       the program's allocator where it is there: between activations of many sizes
#                  glibc's heap keeps 150 MB more

include(FetchContent)
set(FETCHCONTENT_QUIET OFF)

# Headers of a pinned commit as an INTERFACE target; the project's own CMakeLists is not run.
function(_fetch_headers name url commit target)
  FetchContent_Declare(${name}
    GIT_REPOSITORY ${url} GIT_TAG ${commit} SOURCE_SUBDIR "headers-only")
  FetchContent_MakeAvailable(${name})
  string(TOLOWER ${name} lower_name) # FetchContent names its variables in lower case
  add_library(${name}_headers INTERFACE)
  target_include_directories(${name}_headers SYSTEM INTERFACE
    "${${lower_name}_SOURCE_DIR}/include")
  add_library(${target} ALIAS ${name}_headers)
endfunction()

find_package(nlohmann_json 3.10 QUIET)
if(NOT nlohmann_json_FOUND)
  _fetch_headers(nlohmann_json https://github.com/nlohmann/json.git
    9cca280a4d0ccf0c08f47a99aa71d1b0e52f8d03 nlohmann_json::nlohmann_json) # v3.11.3
endif()

find_package(CLI11 2.1 QUIET)
if(NOT CLI11_FOUND)
  _fetch_headers(CLI11 https://github.com/CLIUtils/CLI11.git
    6c7b07a878ad834957b98d0f9ce1dbe0cb204fc9 CLI11::CLI11) # v2.4.2
endif()

find_path(ASIO_INCLUDE asio.hpp)
if(ASIO_INCLUDE)
  add_library(asio_headers INTERFACE)
  target_include_directories(asio_headers SYSTEM INTERFACE "${ASIO_INCLUDE}")
  add_library(asio::asio ALIAS asio_headers)
else()
  _fetch_headers(asio https://github.com/chriskohlhoff/asio.git
    8806a6803cde7054c3049d3666d3ec36786568c5 asio::asio) # v1.38.2
endif()

set(_missing "")

find_package(JPEG QUIET)
if(NOT JPEG_FOUND)
  list(APPEND _missing "libjpeg-dev")
endif()

find_package(PNG QUIET)
if(NOT PNG_FOUND)
  list(APPEND _missing "libpng-dev")
endif()

# Found by file, not by pkg-config: a bare machine need not have that.
function(_find_plain target header library package)
  find_path(${library}_INCLUDE ${header})
  find_library(${library}_LIBRARY ${library})
  if(${library}_INCLUDE AND ${library}_LIBRARY)
    add_library(${target} UNKNOWN IMPORTED GLOBAL)
    set_target_properties(${target} PROPERTIES
      IMPORTED_LOCATION "${${library}_LIBRARY}"
      INTERFACE_INCLUDE_DIRECTORIES "${${library}_INCLUDE}")
  else()
    set(_missing ${_missing} ${package} PARENT_SCOPE)
  endif()
endfunction()
_find_plain(webp::webp webp/decode.h webp libwebp-dev)
_find_plain(webp::demux webp/demux.h webpdemux libwebp-dev)
_find_plain(lcms::lcms lcms2.h lcms2 liblcms2-dev)
_find_plain(utf8proc::utf8proc utf8proc.h utf8proc libutf8proc-dev)

# Where the library is not there, native/io/decode_absent.cpp stands for the decoder.
function(_find_codec name header library package)
  find_path(ZOODIP_${name}_INCLUDE ${header} PATH_SUFFIXES stb)
  set(_found ${ZOODIP_${name}_INCLUDE})
  if(library)
    find_library(ZOODIP_${name}_LIBRARY ${library})
    set(_found ${_found} ${ZOODIP_${name}_LIBRARY})
  endif()
  if("${_found}" MATCHES "NOTFOUND")
    message(STATUS "zoodip: built without ${ARGN}; ${package} brings it")
    return()
  endif()
  add_library(codec::${name} INTERFACE IMPORTED GLOBAL)
  target_include_directories(codec::${name} SYSTEM INTERFACE "${ZOODIP_${name}_INCLUDE}")
  target_compile_definitions(codec::${name} INTERFACE ZOODIP_HAVE_${name})
  if(library)
    target_link_libraries(codec::${name} INTERFACE "${ZOODIP_${name}_LIBRARY}")
  endif()
endfunction()
_find_codec(GIF gif_lib.h gif libgif-dev "GIF")
_find_codec(STB stb_image.h "" libstb-dev "BMP")
_find_codec(HEIF libheif/heif.h heif libheif-dev "HEIC and AVIF")

# Sanitizers bring an allocator of their own.
if(CMAKE_SYSTEM_NAME STREQUAL "Linux" AND NOT ZOODIP_SANITIZE)
  find_library(JEMALLOC_LIBRARY jemalloc)
endif()

if(ZOODIP_TESTS)
  find_package(GTest 1.10 QUIET)
  if(NOT GTest_FOUND)
    list(APPEND _missing "libgtest-dev")
  endif()
endif()

find_package(Threads REQUIRED)

if(_missing)
  list(REMOVE_DUPLICATES _missing)
  list(JOIN _missing " " _packages)
  message(FATAL_ERROR "zoodip: libraries are missing.\n"
    "  Debian, Ubuntu: apt-get install ${_packages}\n"
    "  Fedora: dnf install libjpeg-turbo-devel libpng-devel libwebp-devel lcms2-devel "
    "utf8proc-devel gtest-devel\n"
    "  conda: conda install -c conda-forge libjpeg-turbo libpng libwebp lcms2 libutf8proc gtest")
endif()
