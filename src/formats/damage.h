#pragma once
#include <string>

#include "core/check.h"

namespace lacuna {

/// A file whose content cannot be what was written: a checksum that does not match, a truncation, a
/// structure that contradicts itself. Everything else that keeps a file from being read (rights,
/// the disk, memory, a newer format version) is another Error: the file may be good.
struct DamagedFile : Error {
  explicit DamagedFile(const std::string& what, Where at = here()) : Error(what, at) {}
};

}  // namespace lacuna

/// CHECK_INTACT(condition, parts…): throws DamagedFile when the condition is false.
#define CHECK_INTACT(condition, ...)                           \
  do {                                                         \
    if (!(condition)) [[unlikely]]                             \
      throw ::lacuna::DamagedFile(::lacuna::str(__VA_ARGS__)); \
  } while (0)
