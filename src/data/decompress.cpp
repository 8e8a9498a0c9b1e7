#include "data/decompress.h"

#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include "core/check.h"

namespace lacuna {
namespace {

using namespace std::string_view_literals;

constexpr std::size_t kReadBytes = std::size_t{1} << 17;
constexpr std::string_view kGzip = "\x1f\x8b"sv, kZstd = "\x28\xb5\x2f\xfd"sv;
constexpr int kAnyGzip = 15 + 16;  // zlib: the largest window, with gzip's header and checksum

[[noreturn]] void refuse_cut_short(const std::string& name, const char* kind) {
  fail(str(name, ": its ", kind, " data end before they are complete: the file was cut short"));
}

class GzipSource final : public ByteSource {
 public:
  explicit GzipSource(std::shared_ptr<ByteReader> in) : in_(std::move(in)) {
    CHECK(inflateInit2(&stream_, kAnyGzip) == Z_OK, in_->name(), ": no memory to unpack it");
  }
  ~GzipSource() override { inflateEnd(&stream_); }
  GzipSource(const GzipSource&) = delete;
  GzipSource& operator=(const GzipSource&) = delete;

  std::size_t read(char* to, std::size_t most) override {
    std::size_t got = 0;
    while (got == 0) {
      const std::string_view from = in_->ahead(1);
      if (from.empty()) {
        if (!between_members_) refuse_cut_short(in_->name(), "gzip");
        return 0;
      }
      if (between_members_ && !begin_member()) return 0;
      stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(from.data()));
      stream_.avail_in = uInt(std::min(from.size(), kReadBytes));
      stream_.next_out = reinterpret_cast<Bytef*>(to);
      stream_.avail_out = uInt(std::min(most, kReadBytes));
      const uInt had = stream_.avail_in, room = stream_.avail_out;
      const int result = inflate(&stream_, Z_NO_FLUSH);
      CHECK(result == Z_OK || result == Z_STREAM_END || result == Z_BUF_ERROR, in_->name(),
            ": its gzip data are damaged", stream_.msg ? str(" (", stream_.msg, ")") : "",
            ", near byte ", in_->position());
      in_->skip(had - stream_.avail_in);
      got = room - stream_.avail_out;
      between_members_ = result == Z_STREAM_END;
    }
    return got;
  }

 private:
  /// After a member: another one, or zeros that fill up a block of a tape, as gzip has it.
  bool begin_member() {
    const std::string_view head = in_->ahead(kGzip.size());
    if (head.front() == '\0') return false;
    CHECK(head.starts_with(kGzip), in_->name(), ": other data follow its gzip data, at byte ",
          in_->position());
    CHECK(inflateReset(&stream_) == Z_OK, in_->name(), ": cannot unpack it");
    between_members_ = false;
    return true;
  }

  std::shared_ptr<ByteReader> in_;
  z_stream stream_{};
  bool between_members_ = false;  // the first has begun: its first bytes told that it is gzip
};

class ZstdSource final : public ByteSource {
 public:
  explicit ZstdSource(std::shared_ptr<ByteReader> in)
      : in_(std::move(in)), stream_(ZSTD_createDCtx()) {
    CHECK(stream_, in_->name(), ": no memory to unpack it");
  }
  ~ZstdSource() override { ZSTD_freeDCtx(stream_); }
  ZstdSource(const ZstdSource&) = delete;
  ZstdSource& operator=(const ZstdSource&) = delete;

  std::size_t read(char* to, std::size_t most) override {
    ZSTD_outBuffer out{to, most, 0};
    while (out.pos == 0) {
      const std::string_view from = in_->ahead(1);
      if (from.empty() && between_frames_) return 0;
      ZSTD_inBuffer in{from.data(), std::min(from.size(), kReadBytes), 0};
      const std::size_t result = ZSTD_decompressStream(stream_, &out, &in);
      CHECK(!ZSTD_isError(result), in_->name(), ": its zstd data cannot be unpacked (",
            ZSTD_getErrorName(result), "), near byte ", in_->position());
      in_->skip(in.pos);
      between_frames_ = result == 0;
      if (from.empty() && out.pos == 0) refuse_cut_short(in_->name(), "zstd");
    }
    return out.pos;
  }

 private:
  std::shared_ptr<ByteReader> in_;
  ZSTD_DCtx* stream_;
  bool between_frames_ = true;
};

/// zstd's skippable frames, which pzstd and seekable files begin with.
bool begins_with_skippable_frame(std::string_view head) {
  return head.size() >= 4 && (static_cast<unsigned char>(head[0]) & 0xf0) == 0x50 &&
         head.substr(1, 3) == "\x2a\x4d\x18"sv;
}

}  // namespace

TextInput::TextInput(const std::string& path) : text_(std::make_unique<ByteReader>(path)) {
  const std::string_view head = text_->ahead(kZstd.size());
  const bool gzip = head.starts_with(kGzip),
             zstd = head.starts_with(kZstd) || begins_with_skippable_frame(head);
  if (!gzip && !zstd) return;
  raw_ = std::move(text_);
  std::unique_ptr<ByteSource> source;
  if (gzip)
    source = std::make_unique<GzipSource>(raw_);
  else
    source = std::make_unique<ZstdSource>(raw_);
  text_ = std::make_unique<ByteReader>(std::move(source), path);
}

std::int64_t TextInput::consumed() const { return (raw_ ? *raw_ : *text_).position(); }

}  // namespace lacuna
