#include "data/file_kind.h"

#include <algorithm>
#include <cstdint>

#include "core/check.h"

namespace lacuna {
namespace {

using namespace std::string_view_literals;

struct Magic {
  std::size_t offset;
  std::string_view bytes;
  std::string_view kind;
  std::string_view unpack;  // a program that writes the contents to standard output, if any
};

constexpr Magic kCompressed[] = {
    {0, "\x1f\x8b"sv, "gzip", "zcat"},
    {0, "\x1f\x9d"sv, "compress", "zcat"},
    {0, "\x28\xb5\x2f\xfd"sv, "zstd", "zstd -dc"},
    {0, "\xfd\x37zXZ\0"sv, "xz", "xz -dc"},
    {0, "\x5d\0\0"sv, "lzma", "xz -dc --format=lzma"},
    {0, "LZIP\1"sv, "lzip", "lzip -dc"},
    {4, "1AY&SY"sv, "bzip2", "bzip2 -dc"},
    {0, "\x04\x22\x4d\x18"sv, "lz4", "lz4 -dc"},
    {0, "\xff\x06\0\0sNaPpY"sv, "snappy", ""},
    {0, "x\x9c"sv, "zlib", ""},
    {0, "x\xda"sv, "zlib", ""},
    {0, "PK\3\4"sv, "zip", "unzip -p"},
    {0, "PK\5\6"sv, "zip", ""},
    {0, "7z\xbc\xaf\x27\x1c"sv, "7z", "7z x -so"},
    {0, "Rar!\x1a\x07"sv, "rar", ""},
};

constexpr std::string_view kRows =
    "write its rows as JSON lines first, for example with to_json() of Python's datasets or pandas";
constexpr std::string_view kText = "extract its text first";

/// `unpack` is here the advice.
constexpr Magic kOthers[] = {
    {257, "ustar"sv, "a tar archive", "unpack it, and name the files in it"},
    {0, "PAR1"sv, "a Parquet file",
     "read its column of texts with --format parquet --text-field NAME"},
    {0, "ARROW1"sv, "an Arrow file", kRows},
    {0, "\xff\xff\xff\xff"sv, "an Arrow stream", kRows},
    {0, "FEA1"sv, "a Feather file", kRows},
    {0, "ORC\x0a"sv, "an ORC file", kRows},
    {0, "ORC\x08"sv, "an ORC file", kRows},
    {0, "Obj\1"sv, "an Avro file", kRows},
    {0, "SQLite format 3\0"sv, "an SQLite database",
     "write its rows as JSON lines first, for example with sqlite3 -json"},
    {0, "\x89HDF\r\n\x1a\n"sv, "an HDF5 file",
     "a token file, which is one, is named in data.train and needs no preparation"},
    {0, "GGUF"sv, "a GGUF file", "the text to prepare is wanted, not a model"},
    {0, "\x93NUMPY"sv, "a NumPy array", "the text is wanted, not ids"},
    {0, "%PDF-"sv, "a PDF document", kText},
    {0, "{\\rtf"sv, "an RTF document", kText},
    {0, "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"sv, "an Office document", kText},
    {0,
     "\x7f"
     "ELF"sv,
     "a program", kText},
    {0, "\x89PNG"sv, "a PNG image", kText},
    {0, "\xff\xd8\xff"sv, "a JPEG image", kText},
    {0, "GIF8"sv, "a GIF image", kText},
    {0, "RIFF"sv, "a RIFF file (WAV, WebP or AVI)", kText},
    {0, "OggS"sv, "an Ogg file", kText},
    {0, "fLaC"sv, "a FLAC file", kText},
    {0, "ID3"sv, "an MP3 file", kText},
    {4, "ftyp"sv, "an MP4 file", kText},
    {0, "version https://git-lfs.github.com/"sv, "a pointer of Git LFS, not the file itself",
     "fetch that with git lfs pull"},
    {0, "\xff\xfe\0\0"sv, "UTF-32 text", "convert it: iconv -f UTF-32 -t UTF-8"},
    {0, "\0\0\xfe\xff"sv, "UTF-32 text", "convert it: iconv -f UTF-32 -t UTF-8"},
    {0, "\xff\xfe"sv, "UTF-16 text", "convert it: iconv -f UTF-16 -t UTF-8"},
    {0, "\xfe\xff"sv, "UTF-16 text", "convert it: iconv -f UTF-16 -t UTF-8"},
};

bool has(std::string_view head, const Magic& magic) {
  return head.size() >= magic.offset && head.substr(magic.offset).starts_with(magic.bytes);
}

/// A length of 8 bytes, little-endian, and as many bytes of JSON.
bool is_safetensors(std::string_view head) {
  if (head.size() < 10 || head.substr(8, 2) != "{\"") return false;
  return head.substr(4, 4) == "\0\0\0\0"sv;
}

/// Pickles of protocols 2 to 5, as torch.save once wrote.
bool is_pickle(std::string_view head) {
  return head.size() >= 2 && head[0] == '\x80' && head[1] >= 2 && head[1] <= 5;
}

/// Text in UTF-16 without a byte order mark: every other byte is NUL, or nearly.
std::string_view utf16_form(std::string_view head) {
  std::size_t at[2] = {};
  for (std::size_t i = 0; i < head.size(); ++i) at[i % 2] += head[i] == '\0';
  const std::size_t half = head.size() / 2;
  if (half < 4) return "";
  if (at[1] * 10 > half * 7 && at[0] * 10 < half) return "UTF-16LE";
  return at[0] * 10 > half * 7 && at[1] * 10 < half ? "UTF-16BE" : "";
}

/// Bytes that no text has, but for a stray one: control characters other than white space,
/// backspace and escape.
std::size_t control_characters(std::string_view head) {
  return std::size_t(std::count_if(head.begin(), head.end(), [](char c) {
    return static_cast<unsigned char>(c) < 0x20 && !(c >= '\b' && c <= '\r') && c != '\x1b';
  }));
}

}  // namespace

std::string not_text(std::string_view head, const std::string& name) {
  const auto compressed = [&](std::string_view kind, std::string_view unpack) {
    std::string text = str("is compressed (", kind, "); unpack it");
    // A pipe has no name of its own.
    if (!unpack.empty() && !name.starts_with("/dev/"))
      text += str(", or give it as <(", unpack, ' ', name, ")");
    return text;
  };
  for (const Magic& magic : kCompressed)
    if (has(head, magic)) return compressed(magic.kind, magic.unpack);
  for (const Magic& magic : kOthers)
    if (has(head, magic)) return str("is ", magic.kind, "; ", magic.unpack);
  if (is_safetensors(head))
    return "is a safetensors file; the text to prepare is wanted, not a model";
  if (is_pickle(head)) return "is a Python pickle; write its texts as JSON lines first";
  if (const std::string_view form = utf16_form(head); !form.empty())
    return str("is ", form, " text; convert it: iconv -f ", form, " -t UTF-8");
  if (const std::size_t nul = head.find('\0'); nul != std::string_view::npos)
    return str("is binary: byte ", nul, " is NUL; UTF-8 text is wanted");
  const std::size_t controls = control_characters(head);
  if (controls >= 2 && controls * 20 > head.size())
    return str("is binary: ", controls, " of the first ", head.size(),
               " bytes are control characters; UTF-8 text is wanted");
  return "";
}

}  // namespace lacuna
