#include "formats/parquet_metadata.h"

#include <map>

#include "core/text.h"
#include "formats/damage.h"
#include "formats/thrift_compact.h"

namespace lacuna::parquet {
namespace {

using Field = ThriftReader::Field;

constexpr std::int32_t kByteArray = 6;  // the physical type
constexpr std::int32_t kOptional = 1, kRepeated = 2;
// Converted types that are text; what has none may be.
constexpr std::int32_t kUtf8 = 0, kEnum = 4, kJson = 19;

struct SchemaElement {
  std::string name;
  std::int32_t type = -1, repetition = 0, children = 0, converted = -1;
};
struct ColumnChunk {
  std::string path;  // with dots
  std::int32_t codec = 0;
  std::int64_t values = 0, bytes = 0, data_page = -1, dictionary_page = -1;
  bool elsewhere = false, encrypted = false;
};
struct RowGroup {
  std::vector<ColumnChunk> columns;
  std::int64_t rows = 0;
};
struct FileMetadata {
  std::vector<SchemaElement> schema;
  std::vector<RowGroup> groups;
  std::int64_t rows = 0;
};

SchemaElement schema_element(ThriftReader& in) {
  SchemaElement e;
  in.fields([&](Field f) {
    switch (f.id) {
      case 1:
        e.type = in.integer32(f);
        break;
      case 3:
        e.repetition = in.integer32(f);
        break;
      case 4:
        e.name = in.text(f);
        break;
      case 5:
        e.children = in.integer32(f);
        break;
      case 6:
        e.converted = in.integer32(f);
        break;
      default:
        in.skip(f);
    }
  });
  return e;
}

ColumnChunk column_chunk(ThriftReader& in) {
  ColumnChunk c;
  const auto metadata = [&](Field f) {
    switch (f.id) {
      case 3:
        in.elements(f, ThriftReader::binary, [&] {
          if (!c.path.empty()) c.path += '.';
          c.path += in.text();
        });
        break;
      case 4:
        c.codec = in.integer32(f);
        break;
      case 5:
        c.values = in.integer(f);
        break;
      case 7:
        c.bytes = in.integer(f);
        break;
      case 9:
        c.data_page = in.integer(f);
        break;
      case 11:
        c.dictionary_page = in.integer(f);
        break;
      default:
        in.skip(f);
    }
  };
  in.fields([&](Field f) {
    c.elsewhere |= f.id == 1;
    c.encrypted |= f.id == 8;
    if (f.id == 3 && f.type == ThriftReader::structure)
      in.fields(metadata);
    else
      in.skip(f);
  });
  return c;
}

RowGroup row_group(ThriftReader& in) {
  RowGroup g;
  in.fields([&](Field f) {
    if (f.id == 1)
      in.elements(f, ThriftReader::structure, [&] { g.columns.push_back(column_chunk(in)); });
    else if (f.id == 3)
      g.rows = in.integer(f);
    else
      in.skip(f);
  });
  return g;
}

FileMetadata file_metadata(ThriftReader& in) {
  FileMetadata m;
  in.fields([&](Field f) {
    if (f.id == 2)
      in.elements(f, ThriftReader::structure, [&] { m.schema.push_back(schema_element(in)); });
    else if (f.id == 3)
      m.rows = in.integer(f);
    else if (f.id == 4)
      in.elements(f, ThriftReader::structure, [&] { m.groups.push_back(row_group(in)); });
    else
      in.skip(f);
  });
  return m;
}

/// A leaf of the schema, by its path.
struct Leaf {
  SchemaElement element;
  int optional_levels = 0;
  bool repeated = false;

  bool is_text() const {
    return element.type == kByteArray && (element.converted == -1 || element.converted == kUtf8 ||
                                          element.converted == kEnum || element.converted == kJson);
  }
};

class Schema {
 public:
  Schema(const std::vector<SchemaElement>& elements, const std::string& file)
      : elements_(elements), file_(file) {
    CHECK_INTACT(!elements_.empty(), file_, ": damaged: it has no schema");
    at_ = 1;
    add(elements_[0].children, "", 0, false, 0);
  }
  const std::map<std::string, Leaf>& leaves() const { return leaves_; }

 private:
  static constexpr int kDeepest = 64;

  void add(std::int32_t children, const std::string& path, int optional, bool repeated, int depth) {
    CHECK_INTACT(depth <= kDeepest, file_, ": damaged: its schema nests too deeply");
    for (std::int32_t i = 0; i < children; ++i) {
      CHECK_INTACT(at_ < elements_.size(), file_, ": damaged: its schema ends too early");
      const SchemaElement& e = elements_[at_++];
      const std::string name = path.empty() ? e.name : path + "." + e.name;
      const int levels = optional + (e.repetition == kOptional);
      const bool several = repeated || e.repetition == kRepeated;
      if (e.children > 0)
        add(e.children, name, levels, several, depth + 1);
      else
        leaves_[name] = {e, levels, several};
    }
  }

  const std::vector<SchemaElement>& elements_;
  const std::string& file_;
  std::size_t at_ = 0;
  std::map<std::string, Leaf> leaves_;
};

const Leaf& find_leaf(const Schema& schema, const std::string& name, const std::string& file) {
  const auto found = schema.leaves().find(name);
  if (found == schema.leaves().end()) {
    std::vector<std::string> texts;
    for (const auto& [path, leaf] : schema.leaves())
      if (leaf.is_text() && !leaf.repeated) texts.push_back(path);
    fail(str(file, ": has no column \"", name, "\"; ",
             texts.empty() ? "none of its columns is of texts"
                           : "its columns of texts: " + listed(texts, "and")));
  }
  const Leaf& leaf = found->second;
  CHECK(!leaf.repeated, file, ": column \"", name, "\" has several values in a row");
  CHECK(leaf.is_text(), file, ": column \"", name, "\" is not of texts");
  return leaf;
}

Chunk chunk_of(const ColumnChunk& c, std::int64_t file_bytes, const std::string& file) {
  CHECK(!c.encrypted, file, ": is encrypted");
  CHECK(!c.elsewhere, file, ": keeps column ", c.path, " in another file");
  Chunk chunk;
  // A file of some writers names a dictionary at 0 where there is none.
  chunk.begin = c.dictionary_page > 0 ? std::min(c.dictionary_page, c.data_page) : c.data_page;
  chunk.bytes = c.bytes;
  chunk.values = c.values;
  chunk.codec = Codec(c.codec);
  CHECK_INTACT(chunk.begin >= 4 && chunk.bytes >= 0 && chunk.values >= 0 &&
                   chunk.begin <= file_bytes && chunk.bytes <= file_bytes - chunk.begin,
               file, ": damaged: column ", c.path, " lies outside of the file");
  return chunk;
}

}  // namespace

Column find_column(std::string_view footer, std::int64_t file_bytes, const std::string& name,
                   const std::string& file) {
  ThriftReader in(footer, file);
  const FileMetadata metadata = file_metadata(in);
  const Schema schema(metadata.schema, file);
  Column column;
  column.optional_levels = find_leaf(schema, name, file).optional_levels;
  for (const RowGroup& group : metadata.groups) {
    bool found = false;
    for (const ColumnChunk& c : group.columns) {
      if (c.path != name) continue;
      CHECK_INTACT(!found, file, ": damaged: a row group has column ", name, " twice");
      found = true;
      if (c.values == 0 && group.rows == 0) continue;  // which may lie nowhere
      column.chunks.push_back(chunk_of(c, file_bytes, file));
      CHECK_INTACT(c.values == group.rows, file, ": damaged: column ", name, " has ", c.values,
                   " values in a group of ", group.rows, " rows");
      column.rows += c.values;
    }
    CHECK_INTACT(found, file, ": damaged: a row group lacks column ", name);
  }
  CHECK_INTACT(column.rows == metadata.rows, file, ": damaged: its row groups have ", column.rows,
               " rows, and the file ", metadata.rows);
  return column;
}

PageHeader parse_page_header(std::string_view bytes, const std::string& file) {
  ThriftReader in(bytes, file);
  PageHeader h;
  std::int32_t kind = -1, described = -1, nulls = 0;
  const auto data = [&](Field f) {
    switch (f.id) {
      case 1:
        h.values = in.integer32(f);
        break;
      case 2:
        h.encoding = Encoding(in.integer32(f));
        break;
      case 3:
        h.levels_encoding = Encoding(in.integer32(f));
        break;
      default:
        in.skip(f);
    }
  };
  const auto dictionary = [&](Field f) {  // its third field is another one
    if (f.id < 3)
      data(f);
    else
      in.skip(f);
  };
  const auto data_v2 = [&](Field f) {
    switch (f.id) {
      case 1:
        h.values = in.integer32(f);
        break;
      case 2:
        nulls = in.integer32(f);
        break;
      case 4:
        h.encoding = Encoding(in.integer32(f));
        break;
      case 5:
        h.definition_bytes = in.integer32(f);
        break;
      case 6:
        h.repetition_bytes = in.integer32(f);
        break;
      case 7:
        h.packed = in.boolean(f);
        break;
      default:
        in.skip(f);
    }
  };
  const auto describe = [&](PageKind of, const auto& visit) {
    described = std::int32_t(of);
    in.fields(visit);
  };
  in.fields([&](Field f) {
    if (f.type == ThriftReader::structure) {
      if (f.id == 5) return describe(PageKind::data, data);
      if (f.id == 7) return describe(PageKind::dictionary, dictionary);
      if (f.id == 8) return describe(PageKind::data_v2, data_v2);
    }
    switch (f.id) {
      case 1:
        kind = in.integer32(f);
        break;
      case 2:
        h.unpacked_bytes = in.integer32(f);
        break;
      case 3:
        h.bytes = in.integer32(f);
        break;
      case 4:
        h.crc = std::uint32_t(in.integer32(f));
        break;
      default:
        in.skip(f);
    }
  });
  CHECK_INTACT(kind >= 0 && kind <= 3 && h.bytes >= 0 && h.unpacked_bytes >= 0 && h.values >= 0 &&
                   (PageKind(kind) == PageKind::index || kind == described) && nulls >= 0 &&
                   nulls <= h.values,
               file, ": damaged: a page's header contradicts itself");
  h.kind = PageKind(kind);
  if (h.kind == PageKind::data_v2)
    CHECK_INTACT(h.definition_bytes >= 0 && h.repetition_bytes >= 0 &&
                     std::int64_t(h.definition_bytes) + h.repetition_bytes <=
                         std::min(h.bytes, h.unpacked_bytes),
                 file, ": damaged: a page's levels are larger than the page");
  h.header_bytes = in.position();
  return h;
}

}  // namespace lacuna::parquet
