#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

#include "core/byte_reader.h"

namespace lacuna {

/// The records of a JSON file, one after another, unparsed: its lines (JSONL) or, when the first
/// character is "[", the elements of the array that it is. Memory is bounded by the longest record.
class JsonRecords {
 public:
  /// Borrows `input`, of which nothing was taken. A byte order mark is passed over.
  explicit JsonRecords(ByteReader& input);

  struct Record {
    std::string json;
    std::int64_t line = 0;     // where it begins, from 1
    std::int64_t element = 0;  // its number in the array, from 1; 0 of JSONL
  };
  /// The next one; false at the end. Lines of white space are passed over. Throws Error, naming the
  /// line, for what is no array of values between commas. An element that has no end is given out
  /// as it is, to be refused as JSON.
  bool next(Record& record);

 private:
  bool next_line(Record& record);
  bool next_element(Record& record);
  /// The next byte that is no white space, not taken; -1 at the end.
  int next_byte();
  /// Of the next element; where it has no end, the rest.
  std::size_t element_length();
  [[noreturn]] void refuse(const char* what) const;

  ByteReader& input_;
  std::int64_t line_ = 1, element_ = 0;
  bool array_ = false, ended_ = false;
};

}  // namespace lacuna
