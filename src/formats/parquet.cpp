#include "formats/parquet.h"

#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <vector>

#include "formats/damage.h"
#include "formats/parquet_codec.h"
#include "formats/parquet_encoding.h"
#include "formats/parquet_metadata.h"

namespace lacuna {
namespace {

using namespace parquet;

constexpr std::int64_t kTail = 8;  // the footer's length, and "PAR1"
constexpr std::int64_t kMostFooter = std::int64_t{1} << 28;
constexpr std::int64_t kHeaderBytes = 1 << 12;  // of a page's, at first

std::int64_t little_endian(std::string_view bytes) {
  std::int64_t n = 0;
  for (std::size_t i = 4; i-- > 0;) n = n << 8 | static_cast<unsigned char>(bytes[i]);
  return n;
}

std::string read_at(const InputFile& file, std::int64_t at, std::int64_t bytes) {
  std::string content(std::size_t(bytes), '\0');
  std::size_t done = 0;
  while (done < content.size()) {
    const ssize_t got = ::pread(file.descriptor(), content.data() + done, content.size() - done,
                                off_t(at + std::int64_t(done)));
    if (got < 0 && errno == EINTR) continue;
    CHECK(got >= 0, file.name(), ": cannot read: ", std::strerror(errno));
    CHECK_INTACT(got > 0, file.name(), ": damaged: became shorter while it was read");
    done += std::size_t(got);
  }
  return content;
}

Column column_of(const InputFile& file, const std::string& name) {
  const std::string& path = file.name();
  CHECK_INTACT(file.bytes() >= 4 + kTail, path, ": damaged: is too short for a Parquet file");
  const std::string tail = read_at(file, file.bytes() - kTail, kTail);
  CHECK(!tail.ends_with("PARE"), path, ": is encrypted");
  CHECK_INTACT(tail.ends_with(ParquetTexts::kMagic), path,
               ": damaged: does not end as a Parquet file does; it may have been cut short");
  const std::int64_t footer = little_endian(tail);
  CHECK_INTACT(footer <= kMostFooter && footer <= file.bytes() - 4 - kTail, path,
               ": damaged: its footer is larger than the file");
  return find_column(read_at(file, file.bytes() - kTail - footer, footer), file.bytes(), name,
                     path);
}

}  // namespace

struct ParquetTexts::State {
  InputFile file;
  const Column column;
  std::size_t next_chunk = 0;
  Chunk chunk;                   // the present one
  std::int64_t at = 0, end = 0;  // its pages still to come, in the file
  std::int64_t values_left = 0;  // of the chunk, in pages still to come
  std::int64_t consumed = 0;

  std::string dictionary_bytes, page;
  std::vector<std::string_view> dictionary;
  std::int64_t left = 0;  // rows of the present page
  std::optional<HybridReader> levels;
  std::unique_ptr<TextReader> texts;

  State(const std::string& path, const std::string& name)
      : file(path), column(column_of(file, name)) {}

  const std::string& name() const { return file.name(); }

  bool begin_chunk() {
    if (next_chunk == column.chunks.size()) return false;
    chunk = column.chunks[next_chunk++];
    at = chunk.begin;
    end = chunk.begin + chunk.bytes;
    values_left = chunk.values;
    dictionary.clear();
    return true;
  }

  PageHeader read_header() const {
    for (std::int64_t bytes = std::min(kHeaderBytes, end - at);;
         bytes = std::min(4 * bytes, end - at))
      try {
        return parse_page_header(read_at(file, at, bytes), name());
      } catch (const DamagedFile&) {
        if (bytes == end - at || bytes > (1 << 24)) throw;  // statistics may be long
      }
  }

  /// The page that begins at `at`, into `page` or the dictionary.
  void read_page() {
    CHECK_INTACT(at < end, name(), ": damaged: a column's pages end before its values");
    const PageHeader h = read_header();
    at += std::int64_t(h.header_bytes);
    CHECK_INTACT(h.bytes <= end - at, name(), ": damaged: a page is larger than its column");
    std::string stored = read_at(file, at, h.bytes);
    at += h.bytes;
    consumed += std::int64_t(h.header_bytes) + h.bytes;
    CHECK_INTACT(!h.crc || *h.crc == crc32_of(stored), name(),
                 ": damaged: a page does not match its checksum");
    if (h.kind == PageKind::dictionary) return read_dictionary(h, stored);
    if (h.kind == PageKind::index) return;
    CHECK_INTACT(h.values <= values_left, name(), ": damaged: a page has too many values");
    values_left -= h.values;
    left = h.values;
    if (h.kind == PageKind::data)
      begin_page(h, unpack(chunk.codec, stored, std::size_t(h.unpacked_bytes), name()));
    else
      begin_page_v2(h, std::move(stored));
  }

  void read_dictionary(const PageHeader& h, std::string_view stored) {
    dictionary_bytes = unpack(chunk.codec, stored, std::size_t(h.unpacked_bytes), name());
    // Each text has a length of four bytes.
    CHECK_INTACT(std::size_t(h.values) <= dictionary_bytes.size() / 4, name(),
                 ": damaged: a dictionary has too many values");
    const auto all = read_texts(Encoding::plain, dictionary_bytes, name());
    dictionary.clear();
    for (std::int32_t i = 0; i < h.values; ++i) dictionary.push_back(all->next());
  }

  int level_width() const { return int(std::bit_width(unsigned(column.optional_levels))); }

  void begin_page(const PageHeader& h, std::string unpacked) {
    page = std::move(unpacked);
    std::string_view rest = page;
    levels.reset();
    if (column.optional_levels > 0) {
      CHECK(h.levels_encoding == Encoding::rle, name(),
            ": has levels in an encoding that is not read (number ", int(h.levels_encoding), ")");
      CHECK_INTACT(rest.size() >= 4 && little_endian(rest) <= std::int64_t(rest.size()) - 4, name(),
                   ": damaged: a page's levels are larger than the page");
      const auto bytes = std::size_t(little_endian(rest));
      levels.emplace(rest.substr(4, bytes), level_width(), name());
      rest.remove_prefix(4 + bytes);
    }
    begin_texts(h, rest);
  }

  void begin_page_v2(const PageHeader& h, std::string stored) {
    const auto before = std::size_t(h.repetition_bytes) + std::size_t(h.definition_bytes);
    page = std::move(stored);
    if (h.packed)
      page = page.substr(0, before) + unpack(chunk.codec, std::string_view(page).substr(before),
                                             std::size_t(h.unpacked_bytes) - before, name());
    levels.reset();
    const std::string_view whole = page;
    if (column.optional_levels > 0)
      levels.emplace(whole.substr(std::size_t(h.repetition_bytes), std::size_t(h.definition_bytes)),
                     level_width(), name());
    begin_texts(h, whole.substr(before));
  }

  void begin_texts(const PageHeader& h, std::string_view values) {
    texts.reset();
    if (values.empty()) return;  // of a page of nulls nothing is stored
    if (h.encoding != Encoding::plain_dictionary && h.encoding != Encoding::rle_dictionary)
      texts = read_texts(h.encoding, values, name());
    else
      texts = read_indexed_texts(values, dictionary, name());
  }

  bool is_null() {
    if (!levels) return false;
    const auto level = std::int64_t(levels->next());
    CHECK_INTACT(level <= column.optional_levels, name(), ": damaged: a level is too high");
    return level < column.optional_levels;
  }
};

ParquetTexts::ParquetTexts(const std::string& path, const std::string& column)
    : state_(std::make_unique<State>(path, column)) {}
ParquetTexts::~ParquetTexts() = default;

std::int64_t ParquetTexts::rows() const { return state_->column.rows; }
std::int64_t ParquetTexts::consumed() const { return state_->consumed; }

bool ParquetTexts::next(std::optional<std::string_view>& text) {
  State& s = *state_;
  while (s.left == 0) {
    if (s.values_left > 0)
      s.read_page();
    else if (!s.begin_chunk())
      return false;
  }
  --s.left;
  ++row_;
  text.reset();
  if (s.is_null()) return true;
  CHECK_INTACT(s.texts, s.name(), ": damaged: a page has no values");
  text = s.texts->next();
  return true;
}

}  // namespace lacuna
