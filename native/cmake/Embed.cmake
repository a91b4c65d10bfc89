# cmake -DINPUT=file -DOUTPUT=file.cpp -DNAME=symbol -P Embed.cmake
# Writes the bytes of a file as zoodip::embedded::NAME (unsigned char[]) and NAME_size.
file(READ "${INPUT}" hex HEX)
string(LENGTH "${hex}" digits)
math(EXPR size "${digits} / 2")
string(REGEX REPLACE "(................................)" "\\1\n" hex "${hex}")
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
file(WRITE "${OUTPUT}"
  "#include <cstddef>\nnamespace zoodip::embedded {\n"
  "extern const unsigned char ${NAME}[];\nextern const std::size_t ${NAME}_size;\n"
  "const unsigned char ${NAME}[] = {\n${bytes}};\n"
  "const std::size_t ${NAME}_size = ${size};\n}\n")
