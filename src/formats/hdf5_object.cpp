#include "formats/hdf5_object.h"

#include <algorithm>
#include <cstring>

namespace lacuna::h5 {
namespace {

constexpr const char* kHeader = "the object header";

struct Headers {
  FileBytes& file;
  std::vector<Message> messages;
  struct Part {
    std::uint64_t address, bytes;
  };
  std::vector<Part> continuations;

  void add(std::uint16_t type, std::uint8_t flags, View data, std::uint64_t address) {
    if (type == kContinuation) {
      Cursor cursor(file, data, address, kHeader);
      const std::uint64_t begin = cursor.u64();
      continuations.push_back({begin, cursor.u64()});
      return;
    }
    messages.push_back({type, (flags & 2) != 0, Block(data.begin(), data.end()), address});
  }

  void messages_1(Cursor& cursor) {
    while (cursor.left() >= 8) {
      const std::uint16_t type = cursor.u16();
      const std::uint64_t bytes = cursor.u16();
      const std::uint8_t flags = cursor.u8();
      cursor.skip(3);
      const std::uint64_t address = cursor.address();
      add(type, flags, cursor.take(bytes), address);
    }
  }
  void messages_2(Cursor& cursor, bool ordered) {
    const std::uint64_t head = ordered ? 6 : 4;
    while (cursor.left() >= head) {
      const std::uint16_t type = cursor.u8();
      const std::uint64_t bytes = cursor.u16();
      const std::uint8_t flags = cursor.u8();
      if (ordered) cursor.skip(2);
      const std::uint64_t address = cursor.address();
      add(type, flags, cursor.take(bytes), address);
    }
  }

  void version_1(std::uint64_t address) {
    const Block head = file.metadata(address, 16, kHeader);
    Cursor start(file, head, address, kHeader);
    start.expect_version(1);
    start.skip(7);
    continuations.push_back({address + 16, start.u32()});
    for (std::size_t i = 0; i < continuations.size(); ++i) {
      const Part part = continuations[i];
      const Block body = file.metadata(part.address, part.bytes, kHeader);
      Cursor cursor(file, body, part.address, kHeader);
      messages_1(cursor);
    }
  }
  void version_2(std::uint64_t address) {
    constexpr std::uint64_t least = 4 + 1 + 1 + 1;
    const Block prefix = file.metadata(address, least, kHeader);
    const std::uint8_t flags = prefix[5];
    const std::uint64_t before =
                            std::uint64_t{6} + (flags & 0x20 ? 16 : 0) + (flags & 0x10 ? 4 : 0),
                        width = std::uint64_t{1} << (flags & 3);
    const Block head = file.metadata(address, before + width, kHeader);
    Cursor start(file, head, address, kHeader);
    start.expect("OHDR");
    start.expect_version(2);
    start.skip(before - 5);
    const std::uint64_t bytes = start.uint(width);
    if (bytes > file.size()) start.damaged("is longer than the file");
    const Block whole = file.checksummed(address, before + width + bytes + 4, kHeader);
    Cursor cursor(file, whole, address, kHeader);
    cursor.skip(before + width);
    const bool ordered = flags & 4;
    messages_2(cursor, ordered);
    for (std::size_t i = 0; i < continuations.size(); ++i) {
      const Part part = continuations[i];
      const Block body = file.checksummed(part.address, part.bytes, kHeader);
      Cursor rest(file, body, part.address, kHeader);
      rest.expect("OCHK");
      messages_2(rest, ordered);
    }
  }
};

bool is_link_name(const std::string& name) {
  return !name.empty() && name.find('/') == std::string::npos &&
         name.find('\0') == std::string::npos;
}

Link read_link(Cursor& cursor) {
  cursor.expect_version(1);
  const int flags = cursor.u8();
  const int kind = flags & 8 ? cursor.u8() : 0;
  if (flags & 4) cursor.skip(8);
  if (flags & 16) cursor.skip(1);
  const View name = cursor.take(cursor.uint(std::uint64_t{1} << (flags & 3)));
  Link link{std::string(name.begin(), name.end()), std::nullopt};
  if (kind == 0) link.object = cursor.u64();
  return link;
}

void read_symbols(FileBytes& file, LocalHeap& names, std::uint64_t address,
                  std::vector<Link>& links) {
  constexpr const char* what = "the table of symbols";
  const Block head = file.metadata(address, 8, what);
  Cursor start(file, head, address, what);
  start.expect("SNOD");
  start.expect_version(1);
  start.skip(1);
  const std::uint64_t symbols = start.u16();
  constexpr std::uint64_t symbol_bytes = 40;
  const Block body = file.metadata(address + 8, symbols * symbol_bytes, what);
  Cursor cursor(file, body, address + 8, what);
  for (std::uint64_t i = 0; i < symbols; ++i) {
    const std::uint64_t name = cursor.u64(), object = cursor.u64();
    const bool by_name = cursor.u32() == 2;
    cursor.skip(20);
    links.push_back({names.text(name), by_name ? std::nullopt : std::optional(object)});
  }
}

}  // namespace

std::vector<Message> read_header(FileBytes& file, std::uint64_t address) {
  Headers headers{file, {}, {}};
  const Block start = file.metadata(address, 4, kHeader);
  if (std::memcmp(start.data(), "OHDR", 4) == 0)
    headers.version_2(address);
  else
    headers.version_1(address);
  return std::move(headers.messages);
}

std::optional<std::vector<Link>> read_links(FileBytes& file, const std::vector<Message>& header) {
  std::vector<Link> links;
  bool group = false;
  for (const Message& m : header) {
    Cursor cursor(file, m.data, m.address, "the group's message");
    switch (m.type) {
      case kLink:
        links.push_back(read_link(cursor));
        group = true;
        break;
      case kLinkInfo: {
        group = true;
        cursor.expect_version(0);
        if (cursor.u8() & 1) cursor.skip(8);
        const std::uint64_t heap_at = cursor.u64(), tree = cursor.u64();
        if (heap_at == kNowhere) break;
        FractalHeap heap(file, heap_at);
        for_each_record(file, tree, 5, [&](Cursor& record) {
          record.skip(4);  // of the name, hashed
          const Block data = heap.object(record.take(heap.id_bytes()));
          Cursor link(file, data, record.address(), "the link");
          links.push_back(read_link(link));
        });
        break;
      }
      case kSymbolTable: {
        group = true;
        const std::uint64_t tree = cursor.u64();
        LocalHeap names(file, cursor.u64());
        for_each_child(file, tree, 0, 8, [&](Cursor&, std::uint64_t table) {
          read_symbols(file, names, table, links);
        });
        break;
      }
      default:
        break;
    }
  }
  if (!group) return std::nullopt;
  std::sort(links.begin(), links.end(),
            [](const Link& a, const Link& b) { return a.name < b.name; });
  for (std::size_t i = 0; i < links.size(); ++i) {
    if (!is_link_name(links[i].name)) file.damaged("a group has a link without a proper name");
    if (i > 0 && links[i].name == links[i - 1].name)
      file.damaged("a group has two links of the same name");
  }
  return links;
}

}  // namespace lacuna::h5
