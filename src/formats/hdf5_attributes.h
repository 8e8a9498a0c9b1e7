#pragma once
// For the .cpp files behind formats/hdf5.h alone: what those who write and those who read share.
#include <map>
#include <string>

#include "formats/hdf5.h"

namespace lacuna::h5 {

inline constexpr const char* kChecksum = "crc32c";
inline constexpr const char* kAttributesChecksum = "attributes_crc32c";

/// "/tokens" for "tokens".
inline std::string absolute(const std::string& object) {
  return object.empty() || object[0] != '/' ? "/" + object : object;
}

/// As docs/formats.md says: each as name, NUL, value, in the byte order of the names.
std::uint32_t checksum_of(const std::map<std::string, Attribute>& attributes);

}  // namespace lacuna::h5
