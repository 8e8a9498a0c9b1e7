#include "formats/hdf5_attributes.h"

namespace lacuna::h5 {

std::uint32_t checksum_of(const std::map<std::string, Attribute>& attributes) {
  std::uint32_t crc = 0;
  for (const auto& [name, value] : attributes) {
    crc = crc32c(name.c_str(), name.size() + 1, crc);
    if (const auto* text = std::get_if<std::string>(&value))
      crc = crc32c(text->c_str(), text->size() + 1, crc);
    else if (const auto* number = std::get_if<std::int64_t>(&value))
      crc = crc32c(number, sizeof *number, crc);
    else
      crc = crc32c(&std::get<double>(value), sizeof(double), crc);
  }
  return crc;
}

}  // namespace lacuna::h5
